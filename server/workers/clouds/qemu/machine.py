"""Machines: what one is made of on this computer, and how it is looked at and ended.

A machine is a folder ``$CUMULUS_HOME/qemu/machines/<worker>/`` (its disk, the sockets ``qmp`` and ``identity``,
``console.log``, ``qemu.log``, ``pid`` and ``machine.json``) and a QEMU process that carries the worker's name. Starting
one is in boot.py.
"""

import os
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.home.files import clear, read_own, write_own
from server.workers.clouds.qemu.accelerator import Accel
from server.workers.clouds.qemu.channel import ChannelError, run_in_guest
from server.workers.clouds.qemu.command import Shape
from server.workers.clouds.qemu.images.images import Image, read_image
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.process import GuestName, carries, end_process, find_process, wait_gone
from server.workers.machine_locks import exclusive

NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
SNAPSHOT = r"^([0-9]+|template)$"
PUBLIC_KEY = r"^(ssh|ecdsa|sk)-[^\n]+$"
POWER_OFF_ANSWER_S = 20.0
POWER_OFF_REPEAT_S = 2.0
POWER_OFF_LIMIT_S = 60.0
REMOVE_LIMIT_S = 120.0
TEMPLATE = "template"


class MachineSpec(BaseModel):
    """What is asked for. ``persistent``: the machine runs on the image's own disk, which stays when the machine is removed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    server_id: str = Field(pattern=NAME)
    worker: str = Field(pattern=NAME)
    snapshot: str = Field(pattern=SNAPSHOT)
    cpus: int = Field(gt=0, le=255)
    memory_mb: int = Field(ge=128)
    disk_gb: int = Field(gt=0)
    ssh_public_key: str = Field(pattern=PUBLIC_KEY)
    persistent: bool = False

    @property
    def shape(self) -> Shape:
        """The machine's size."""
        return Shape(self.cpus, self.memory_mb, self.disk_gb)

    @property
    def guest(self) -> GuestName:
        """The name of its process."""
        return GuestName(self.server_id, self.worker)


class Machine(BaseModel):
    """What is known of a machine, as written to ``machine.json``. ``ready``: it has its identity and takes logins.

    ``accel``: what it runs with; ``note``: what a person should know of that.
    """

    spec: MachineSpec
    host_key: str
    pid: int = 0
    port: int = 0
    boot: str = ""
    ready: bool = False
    accel: Accel | None = None
    note: str = ""


def read_machine(folder: Path) -> Machine | None:
    """What is written of the machine whose folder that is, dead or alive."""
    try:
        return Machine.model_validate_json(read_own(folder / "machine.json"))
    except (OSError, ValidationError):
        return None


class Machines:
    """All machines below one home."""

    def __init__(self, home: QemuHome) -> None:
        self.home = home

    def find(self, worker: str) -> Machine | None:
        """The machine, if its process lives."""
        machine = self.record(worker)
        return machine if machine and carries(machine.pid, machine.spec.guest.mark) else None

    def record(self, worker: str) -> Machine | None:
        """What is written of the machine, dead or alive."""
        return read_machine(self.folder(worker))

    def write(self, machine: Machine) -> None:
        """Write ``machine.json``."""
        path = self.folder(machine.spec.worker) / "machine.json"
        write_own(path, machine.model_dump_json(indent=1) + "\n")

    def remove(self, guest: GuestName, limit_s: float = REMOVE_LIMIT_S) -> None:
        """End the machine and delete all that it owned; returns when it is gone. Not an error where it is already.

        A creation in progress gives up.
        """
        self.give_up(guest)
        with self.lock(guest.worker, limit_s):
            self.remove_locked(guest)

    def give_up(self, guest: GuestName) -> None:
        """Make who still makes the machine stop, and end what there is of it; its folder stays."""
        machine = self.record(guest.worker)
        if self.folder(guest.worker).is_dir() and not (machine and machine.ready):
            self.unwanted(guest.worker).touch()
            self.end(guest)

    def remove_locked(self, guest: GuestName) -> None:
        """The same for who holds the lock."""
        machine = self.find(guest.worker)
        if machine and machine.spec.persistent:
            _power_off(machine.pid, self.identity(guest.worker))
        self.drop(guest)

    def drop(self, guest: GuestName) -> None:
        """The same for a machine that never came up: nothing on its disk is worth an end in order."""
        self.end(guest)
        clear(self.folder(guest.worker))

    def end(self, guest: GuestName) -> None:
        """End the process and keep the folder."""
        while (pid := find_process(guest.mark)) is not None:  # more than one of a name: one was leaked
            end_process(pid, guest.mark)

    def unwanted(self, worker: str) -> Path:
        """A file that is there when the machine is to go: who still makes it shall stop."""
        return self.folder(worker) / "unwanted"

    def folders(self) -> list[str]:
        """Names of all machines that have a folder, dead or alive; or of which something else has the place."""
        if not self.home.machines.is_dir():
            return []
        return sorted(entry.name for entry in self.home.machines.iterdir())

    def folder(self, worker: str) -> Path:
        """The machine's folder."""
        return self.home.machines / worker

    def identity(self, worker: str) -> Path:
        """The socket over which the machine gets its identity and commands."""
        return self.folder(worker) / "identity"

    def image(self, snapshot: str) -> Image:
        """The image of a snapshot, or the template's own. Raises TemplateMissing."""
        return read_image(self.home.template if snapshot == TEMPLATE else self.home.snapshots / snapshot)

    def lock(self, worker: str, limit_s: float) -> AbstractContextManager[None]:
        """Held by who makes or removes the machine; raises InfrastructureError after ``limit_s`` seconds."""
        return exclusive(self.home.root / "machines.lock", worker, limit_s)


def _power_off(pid: int, identity: Path) -> None:
    """A disk that stays must be left in order; a worker's need not."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with suppress(ChannelError):  # it may be gone before it has answered
            run_in_guest(identity, "systemctl --no-block poweroff", POWER_OFF_ANSWER_S, POWER_OFF_REPEAT_S)
        wait_gone(handle, POWER_OFF_LIMIT_S)
    finally:
        os.close(handle)
