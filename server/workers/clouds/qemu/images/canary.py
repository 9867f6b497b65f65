"""Canaries: machines of a snapshot that run no job. One tries a new snapshot; the memory of each is kept for clones.

Owns such a machine from its boot to its end. Only who holds the lock of the snapshots makes one.
"""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from server.catalog.flavors import Flavor
from server.errors import CumulusError, InfrastructureError
from server.progress import MB, Progress, Step
from server.workers.clouds.images import SmokeTest
from server.workers.clouds.qemu.accelerator import find_accel
from server.workers.clouds.qemu.command import HOST_SEEN_BY_GUEST, Shape
from server.workers.clouds.qemu.console import MachineConsole
from server.workers.clouds.qemu.dial import dial_command
from server.workers.clouds.qemu.images import memory
from server.workers.clouds.qemu.images.images import Image
from server.workers.clouds.qemu.machine import Machine, Machines
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.process import GuestName
from server.workers.clouds.qemu.qmp import Qmp
from server.workers.clouds.smoke_test import once_ready, run_smoke_test
from server.workers.clouds.ssh import Login, run_over_ssh
from server.workers.terraform.module import TerraformModule

CANARY = "canary-"
BOOT_LIMIT_S = 600.0
CHECK_LIMIT_S = 180.0
WARM_LIMIT_S = 180.0
SAVE_LIMIT_S = 120.0
DELETE_LIMIT_S = 120.0
POLL_S = 0.2
# What the first job needs shall be in the memory already: the service that waits for it, and the NFS client. The unmount gives
# the client's identity back to the server; nothing may be left unwritten, since clones share this disk.
WARM = """\
modprobe nfsv4
mkdir -p /run/cumulus/warm
mount -t nfs4 -o port={port},vers=4.2,sec=sys {host}:/ /run/cumulus/warm
ls /run/cumulus/warm/data /run/cumulus/warm/jobs > /dev/null
umount -R /run/cumulus/warm
rmdir /run/cumulus/warm
/usr/local/sbin/cumulus-worker --help > /dev/null
sync
"""


@dataclass(frozen=True)
class Canaries:
    """Makes them like any worker, through Terraform. ``nfs_port()``: the port of the NFS server, which runs afterwards."""

    home: QemuHome
    module: TerraformModule
    variables: Callable[[str, Flavor, str], dict[str, object]]
    nfs_port: Callable[[], int]

    def keep_memory(
        self, image: Image, flavor: Flavor, test: SmokeTest, progress: Progress, unwanted: Callable[[], bool] | None = None
    ) -> None:
        """Boot a machine of the image, try it and keep its memory for all workers of that flavor.

        With ``unwanted`` it is made on demand: beside the jobs, slower than they, and only until that says so.
        Raises CumulusError; nothing is left then.
        """
        worker = f"{CANARY}{image.folder.name}"
        variables = self.variables(worker, flavor, image.folder.name)
        shape = shape_of(variables)
        try:
            place = memory.reserve(image, shape, worker, on_demand=unwanted is not None)
            with self._ended_when(unwanted, GuestName(str(variables["server_id"]), worker)):
                text = f"Booting a machine of snapshot {image.folder.name} as {flavor.name}"
                with progress.step(text) as step, MachineConsole(self.home).followed(worker, step):
                    self.module.apply(worker, variables, BOOT_LIMIT_S)
                machine = _running(Machines(self.home), worker)
                if machine.note:
                    progress.say(machine.note)
                self._run_test(machine, image, test, progress)
                with progress.step("Saving the machine's memory", "MB") as step:
                    self._save(machine, image, place, step)
        finally:
            shutil.rmtree(image.memory / f"{shape}.new", ignore_errors=True)
            with progress.step("Removing the machine that was tried"):
                self._remove(worker)

    def clear(self, progress: Progress) -> None:
        """Remove the machines of attempts that were killed."""
        for worker in sorted({*self.module.store.workspaces(), *Machines(self.home).folders()}):
            if worker.startswith(CANARY):
                with progress.step(f"Removing {worker}, which an earlier attempt has left"):
                    self._remove(worker)

    def _run_test(self, machine: Machine, image: Image, test: SmokeTest, progress: Progress) -> None:
        dial = dial_command(Machines(self.home).folder(machine.spec.worker))
        login = Login(machine.port, self.home.key, machine.host_key, proxy=dial)
        found = run_smoke_test(lambda script: run_over_ssh(login, script, CHECK_LIMIT_S), test, progress)
        if test.programs:
            image.write_programs(found.programs)
            image.write_apps(found.apps)
        script = once_ready(WARM.format(port=self.nfs_port(), host=HOST_SEEN_BY_GUEST))
        with progress.step("Mounting the storage there once"):
            run_over_ssh(login, script, WARM_LIMIT_S)

    def _save(self, machine: Machine, image: Image, place: memory.MemoryImage, step: Step) -> None:
        machines, spec = Machines(self.home), machine.spec
        step.note("stopping it")
        with Qmp.open(machines.folder(spec.worker) / "qmp") as qmp:
            memory.save_state(qmp, place, SAVE_LIMIT_S)
        machines.end(spec.guest)
        made_of = memory.origin(machine.accel or find_accel(self.home), spec.shape, image)
        memory.publish(place, made_of, image, machines.folder(spec.worker) / "disk.qcow2", _reporter(step))

    def _remove(self, worker: str) -> None:
        """End the process first: after a Ctrl-C a boot may still be in progress, and the destruction would wait for it."""
        machines = Machines(self.home)
        record = machines.record(worker)
        if record:
            machines.end(record.spec.guest)
        with suppress(CumulusError):
            self.module.destroy(worker, DELETE_LIMIT_S)
        if record:
            machines.remove(record.spec.guest)

    @contextmanager
    def _ended_when(self, unwanted: Callable[[], bool] | None, guest: GuestName) -> Iterator[None]:
        """Within the block, the machine ends as soon as it is unwanted; what is being done with it fails then."""
        done, machines = threading.Event(), Machines(self.home)

        def watch() -> None:
            while not done.wait(POLL_S):
                if unwanted and unwanted():
                    machines.give_up(guest)
                    machines.end(guest)

        watcher = threading.Thread(target=watch, name="canary", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def shape_of(variables: dict[str, object]) -> Shape:
    """The machine's size as the worker module makes it of its variables."""
    cpus, memory_gb, disk_gb = (float(str(variables[name])) for name in ("cpus", "memory_gb", "disk_gb"))
    return Shape(int(cpus), int(memory_gb * 1024), int(disk_gb))


def _reporter(step: Step) -> memory.Saving:
    """Notes in the step what is being saved, and how much of it, MB."""

    def saving(text: str, done: int, total: int) -> None:
        step.note(text)
        step.advance(done / MB, total / MB)

    return saving


def _running(machines: Machines, worker: str) -> Machine:
    if not (machine := machines.find(worker)):
        raise InfrastructureError(f"the machine {worker} ended at once: {MachineConsole(machines.home).log(worker)[-500:]}")
    return machine
