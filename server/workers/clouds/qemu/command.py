"""QEMU's command line. Owns which devices a machine has; a change here makes every saved memory image unfit, by hash.

All values that may hold a comma (paths) go in as JSON, which needs no quoting of its own.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from server.workers.clouds.qemu.accelerator import QEMU, Accel
from server.workers.clouds.qemu.images.images import Image
from server.workers.clouds.qemu.process import GuestName

HOST_SEEN_BY_GUEST = "10.0.2.2"
# On a busy computer an emulated timer comes too late for the kernel's test of it: it would panic (seen: "timer doesn't work").
# Notices and what systemd starts appear on the console: some kB, for those who wait for a boot or look for why one failed.
KERNEL_ARGUMENTS = "root=/dev/vda rw console=ttyS0 loglevel=6 net.ifnames=0 panic=5 no_timer_check"
# Only relative names: the process starts in the machine's folder, so that no socket's address is too long.
DEVICES = (
    *("-device", "virtio-blk-pci,drive=disk"),
    *("-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:0-:22"),  # port 0: the system chooses a free one
    *("-device", "virtio-net-pci,netdev=net,mac=52:54:00:12:34:56,romfile="),
    *("-device", "virtio-rng-pci"),
    *("-device", "vmgenid,guid=auto"),
    *("-device", "virtio-serial-pci"),
    *("-chardev", "socket,id=identity,path=identity,server=on,wait=off"),
    *("-device", "virtserialport,chardev=identity,name=identity"),
    *("-serial", "file:console.log"),
    *("-qmp", "unix:qmp,server=on,wait=off"),
)
FRAME = ("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35,memory-backend=ram")
# A guest that breaks out of QEMU finds no way to start a program or to gain rights.
SANDBOX = ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")


@dataclass(frozen=True)
class Shape:
    """The size of a machine: processors, memory (MB) and virtual size of its disk (GB)."""

    cpus: int
    memory_mb: int
    disk_gb: int

    def __str__(self) -> str:
        return f"{self.cpus}c-{self.memory_mb}m-{self.disk_gb}g"


@dataclass(frozen=True)
class Memory:
    """Where the machine's memory lies: nowhere (``path`` None), in a file that it shares, or as a private copy of one."""

    path: Path | None = None
    shared: bool = False


def qemu_command(
    name: GuestName, accel: Accel, shape: Shape, image: Image, disk: Path, memory: Memory, incoming: bool
) -> list[str]:
    """The argument list of one machine that runs on ``disk`` with the image's kernel.

    ``incoming``: it waits for a saved state instead of booting.
    """
    storage = {"driver": "qcow2", "node-name": "disk", "file": {"driver": "file", "filename": str(disk)}}
    return [
        QEMU,
        *("-name", name.argument),
        *FRAME,
        *("-accel", accel.argument, "-cpu", accel.cpu, "-smp", str(shape.cpus), "-m", str(shape.memory_mb)),
        *("-object", json.dumps(_memory_object(shape, memory))),
        *("-blockdev", json.dumps(storage)),
        *DEVICES,
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", KERNEL_ARGUMENTS),
        *SANDBOX,
        *("-pidfile", "pid"),
        *(("-incoming", "defer") if incoming else ()),
    ]


def devices_hash() -> str:
    """Changes whenever a machine is built of other devices than those of an older memory image."""
    return hashlib.sha256(json.dumps([FRAME, DEVICES, KERNEL_ARGUMENTS]).encode()).hexdigest()


def _memory_object(shape: Shape, memory: Memory) -> dict[str, object]:
    size = {"id": "ram", "size": shape.memory_mb << 20}
    if memory.path is None:
        return {"qom-type": "memory-backend-ram", **size}
    return {"qom-type": "memory-backend-file", **size, "mem-path": str(memory.path), "share": memory.shared}
