"""Which machines an installation has on this computer, what they take and say, and removing them."""

from dataclasses import dataclass
from pathlib import Path

import psutil

from server.workers.clouds.base import Resource
from server.workers.clouds.capabilities import MemoryUse
from server.workers.clouds.machine_locks import is_held
from server.workers.clouds.qemu.images.canary import CANARY
from server.workers.clouds.qemu.images.prewarming import SNAPSHOT
from server.workers.clouds.qemu.images.snapshot import half_made, remove_half_made
from server.workers.clouds.qemu.machine import TEMPLATE, Machines
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.process import GuestName, find_process, guests_of


@dataclass(frozen=True)
class MachineInventory:
    """Those of one installation."""

    home: QemuHome
    server_id: str

    def listed(self, worker: str = "") -> list[Resource]:
        """Machines that run, what dead ones left, and snapshots that were never finished.

        But not the template's machine, nor a canary that is being tested.
        """
        running, machines = guests_of(self.server_id), Machines(self.home)
        living = [Resource("machine", name, str(pid), True) for name, pid in running.items()]
        dead = [Resource("disk", name, str(machines.folder(name)), False) for name in machines.folders() if name not in running]
        found = [one for one in living + dead if worker in ("", one.worker) and not self._is_kept(one.worker)]
        snapshots = [] if worker else half_made(self.home)
        return found + [Resource("snapshot", "", str(folder), False) for folder in snapshots]

    def alive(self, worker: str) -> bool:
        """Whether the worker's process lives."""
        return self.pid(worker) is not None

    def pid(self, worker: str) -> int | None:
        """The worker's process; None where it does not run."""
        return find_process(GuestName(self.server_id, worker).mark)

    def delete(self, resource: Resource) -> None:
        """End the machine if it runs, and delete what it owned; or remove the snapshot that was never finished."""
        if resource.kind == "snapshot":
            return remove_half_made(self.home, Path(resource.identifier))
        Machines(self.home).remove(GuestName(self.server_id, resource.worker))

    def _is_kept(self, worker: str) -> bool:
        """Whether it is no worker's machine, and somebody still needs it."""
        if worker.startswith(CANARY):
            return is_held(self.home.snapshot_lock, SNAPSHOT)
        record = Machines(self.home).record(worker)
        if record is None:  # its record is lost, and with it how it was made
            return worker == TEMPLATE and self.alive(worker)
        return record.spec.persistent


@dataclass(frozen=True)
class MachineConsole:
    """What the machines write on their consoles."""

    home: QemuHome

    def log(self, worker: str) -> str:
        """The last lines of the machine's console and of QEMU's own log."""
        return Machines(self.home).console(worker)

    def fault(self, worker: str) -> str:  # noqa: ARG002
        """Nothing more than Terraform has said."""
        return ""


@dataclass(frozen=True)
class MachineMemory:
    """The memory of this computer that the machines take."""

    inventory: MachineInventory

    def use(self, worker: str) -> MemoryUse | None:
        """The kernel's own sums over the pages of the machine's process; clones share those that they have not written to."""
        pid = self.inventory.pid(worker)
        try:
            use = psutil.Process(pid).memory_full_info() if pid else None
        except psutil.Error:  # it ended, or is another user's
            return None
        return MemoryUse(use.rss, use.pss) if use else None
