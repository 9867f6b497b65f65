"""Memory images: the saved memory of a booted machine, from which clones start in a fraction of a boot's time.

Owns their format, how one is taken and whether it fits a machine. One image per snapshot and shape, in
``<snapshot>/memory/<shape>/``: ``ram`` (the guest's memory, which clones map privately), ``state`` (the devices),
``disk.qcow2`` (as it was at that moment; clones lay their own disk over it) and ``fingerprint.json``. While it is being
made the folder ends in ``.new`` and its file ``worker`` names the machine whose memory is to be kept in it.

QEMU checks little of this itself: a state that lost its end may pass as complete, a memory file of another boot is
noticed after the restore began. So nothing is used that does not match its fingerprint.
"""

import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from server.errors import InfrastructureError
from server.workers.clouds.qemu.accel import Accel
from server.workers.clouds.qemu.command import Shape, devices_hash
from server.workers.clouds.qemu.images import FileStamp, Image, checksum
from server.workers.clouds.qemu.qmp import Qmp

POLL_S = 0.01
STATE_RESERVE = 64 << 20
DIFFERENCES = {
    "qemu": "another QEMU version",
    "accel": "another accelerator",
    "cpu": "another CPU model",
    "host": "another processor",
    "shape": "another size",
    "devices": "other devices",
    "image": "another disk image",
}


@dataclass(frozen=True)
class Origin:
    """What a memory image and a machine must have in common: QEMU, accelerator, processor, devices and disk image."""

    qemu: str
    accel: str
    cpu: str
    host: str
    shape: str
    devices: str
    image: str


@dataclass(frozen=True)
class MemoryImage:
    """The files of one image; ``folder`` need not exist."""

    folder: Path

    @property
    def ram(self) -> Path:
        """The guest's memory."""
        return self.folder / "ram"

    @property
    def state(self) -> Path:
        """The devices' state."""
        return self.folder / "state"

    @property
    def disk(self) -> Path:
        """The disk as it was when the memory was saved."""
        return self.folder / "disk.qcow2"

    @property
    def fingerprint(self) -> Path:
        """What all this must be to be used."""
        return self.folder / "fingerprint.json"


def origin(accel: Accel, shape: Shape, image: Image) -> Origin:
    """What a machine of this shape would be made of, here and now."""
    return Origin(accel.qemu, accel.argument, accel.cpu, accel.host, str(shape), devices_hash(), image.sha256)


def memory_image(image: Image, shape: Shape) -> MemoryImage:
    """Where the memory image of machines of this shape is."""
    return MemoryImage(image.memory / str(shape))


def unfit(found: MemoryImage, wanted: Origin, image: Image) -> str:
    """Why the memory image cannot be used for such a machine; "" if it can."""
    try:
        known = json.loads(found.fingerprint.read_text())
        made_of, files = Origin(**known["origin"]), known["files"]
    except FileNotFoundError:
        return f"no memory image for {wanted.shape}"
    except (OSError, ValueError, KeyError, TypeError):
        return "the memory image's fingerprint cannot be read"
    if different := [text for name, text in DIFFERENCES.items() if getattr(made_of, name) != getattr(wanted, name)]:
        return f"the memory image was made with {different[0]}"
    try:
        return _changed(found, image, files)
    except OSError as problem:
        return f"the memory image is incomplete: {problem}"


def reserve(image: Image, shape: Shape, worker: str) -> MemoryImage:
    """Say that the memory of ``worker``, which is yet to boot, will be kept; an older attempt of it is dropped.

    Raises InfrastructureError where the disk could not hold it: a full disk would end the machine without a message.
    """
    place = MemoryImage(image.memory / f"{shape}.new")
    shutil.rmtree(place.folder, ignore_errors=True)
    place.folder.mkdir(parents=True)
    free, needed = shutil.disk_usage(place.folder).free, (shape.memory_mb << 20) + STATE_RESERVE
    if free < needed:
        raise InfrastructureError(f"a memory image needs {needed >> 20} MB on the disk, {free >> 20} MB are free")
    (place.folder / "worker").write_text(worker)
    return place


def reserved_for(image: Image, shape: Shape, worker: str) -> MemoryImage | None:
    """Where the memory of ``worker`` is to be kept; None for most."""
    place = MemoryImage(image.memory / f"{shape}.new")
    try:
        return place if (place.folder / "worker").read_text() == worker else None
    except OSError:
        return None


def save_state(qmp: Qmp, place: MemoryImage, limit_s: float) -> None:
    """Pause the machine for good, write its devices' state and end it. Its memory is in the reserved file already."""
    with place.state.open("wb") as file:
        ignore_shared(qmp)
        qmp.pass_file("state", file.fileno())
        qmp.run("migrate", uri="fd:state")
        wait_migration(qmp, limit_s)
        qmp.run("quit")
        os.fsync(file.fileno())


def publish(place: MemoryImage, wanted: Origin, disk: Path) -> MemoryImage:
    """Make the saved memory available to clones, together with the disk of the machine (which has ended)."""
    disk.rename(place.disk)
    _sync(place.ram)
    files = {
        "ram": asdict(FileStamp.of(place.ram)),
        "disk": asdict(FileStamp.of(place.disk)),
        "state": {"size": place.state.stat().st_size, "sha256": checksum(place.state)},
    }
    place.fingerprint.write_text(json.dumps({"origin": asdict(wanted), "files": files}, indent=1) + "\n")
    final = MemoryImage(place.folder.with_name(wanted.shape))
    shutil.rmtree(final.folder, ignore_errors=True)
    place.folder.rename(final.folder)
    return final


def ignore_shared(qmp: Qmp) -> None:
    """Leave the memory out of the stream: it is in a file already. Both ends must say so."""
    qmp.run("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])


def wait_migration(qmp: Qmp, limit_s: float) -> None:
    """Return when the stream is through; raises InfrastructureError where it fails or takes longer."""
    until = time.monotonic() + limit_s
    while (state := qmp.run("query-migrate").get("status")) != "completed":
        if state in ("failed", "cancelled") or time.monotonic() > until:
            raise InfrastructureError(f"QEMU could not move the machine's state ({state})")
        time.sleep(POLL_S)


def _changed(found: MemoryImage, image: Image, files: dict[str, dict[str, int | str]]) -> str:
    if FileStamp.of(image.disk) != image.stamp:
        return "the snapshot's disk was written to"
    for name, path in (("ram", found.ram), ("disk", found.disk)):
        if asdict(FileStamp.of(path)) != files[name]:
            return f"the memory image's {name} is not as it was written"
    if found.state.stat().st_size != files["state"]["size"] or checksum(found.state) != files["state"]["sha256"]:
        return "the memory image's state is not as it was written"
    return ""


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
