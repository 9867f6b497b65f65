"""Snapshots: numbered copies of the template's disk that workers start from, and how one becomes the promoted one.

Owns ``$CUMULUS_HOME/qemu/snapshots/``: a folder per number and the link ``current``. A new one counts only after a
machine of it has booted, each app has said its version there, and the memory of that machine is saved for the workers to
come.
"""

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.catalog.flavors import Flavor
from server.errors import CumulusError, InfrastructureError, TemplateMissing
from server.workers.clouds.base import Progress, Snapshot, Trial
from server.workers.clouds.qemu import memory
from server.workers.clouds.qemu.accel import find_accel
from server.workers.clouds.qemu.command import HOST_SEEN_BY_GUEST, Shape
from server.workers.clouds.qemu.images import Image, describe_image, is_image, read_image
from server.workers.clouds.qemu.locks import exclusive, is_held
from server.workers.clouds.qemu.machine import Machine, Machines
from server.workers.clouds.qemu.places import QemuHome
from server.workers.clouds.qemu.qmp import Qmp
from server.workers.clouds.qemu.ssh import CommandFailed, Login, run_over_ssh
from server.workers.terraform import Module

CANARY = "canary-"
PROMOTED = "promoted"  # a file in the folder of each snapshot that workers were ever made from
BOOT_LIMIT_S = 600.0
CHECK_LIMIT_S = 180.0
WARM_LIMIT_S = 180.0
SAVE_LIMIT_S = 120.0
DELETE_LIMIT_S = 120.0
LOCK_LIMIT_S = 1.0
# What the first job needs shall be in the memory already: the service that waits for it, and the NFS client. The unmount gives
# the client's identity back to the server; nothing may be left unwritten, since clones share this disk.
WARM = """\
set -e
tries=0
until [ -p /run/cumulus-job/answers ]; do
  tries=$((tries + 1))
  [ $tries -le 60 ] || {{ echo 'the service cumulus-job does not wait for a job' >&2; exit 1; }}
  sleep 1
done
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
    """How a machine of a snapshot that is not promoted yet is made: like any worker, through Terraform."""

    module: Module
    variables: Callable[[str, Flavor, str], dict[str, object]]
    nfs_port: Callable[[], int]


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of one installation. Only one process at a time may change them; the caller sees to that."""

    home: QemuHome
    canaries: Canaries
    now: Callable[[], float] = time.time

    def take(self, flavor: Flavor, trial: Trial, progress: Progress) -> Snapshot:
        """Copy the template, try it on a machine of ``flavor``, promote it and drop all but the one before.

        Raises CumulusError; the new snapshot is gone then and the old one still promoted.
        """
        template = read_image(self.home.template)
        self.clear_canaries()
        self.prune()
        image = self._copy(template, progress)
        try:
            self.warm_up(image, flavor, trial, progress)
        except BaseException:
            shutil.rmtree(image.folder, ignore_errors=True)
            raise
        self.promote(image.folder.name)
        self.prune()
        progress(f"Snapshot {image.folder.name} is promoted")
        return Snapshot(image.folder.name, promoted=True, created=image.created)

    def listed(self) -> list[Snapshot]:
        """All that were promoted once, oldest first."""
        current = self.current()
        return [
            Snapshot(name, name == current, self._image(name).created)
            for name in self._numbers()
            if int(name) <= int(current or 0)
        ]

    def current(self) -> str | None:
        """The number of the promoted one."""
        return _current(self.home)

    def roll_back(self) -> str:
        """Promote the one before the promoted one; returns its number. Raises TemplateMissing."""
        older = [name for name in self._numbers() if int(name) < int(self.current() or 0)]
        if not older:
            raise TemplateMissing("there is no older snapshot to go back to")
        self.promote(older[-1])
        return older[-1]

    def promote(self, name: str) -> None:
        """New workers start from this one; running ones keep theirs. One step: there is always a promoted one."""
        (self.home.snapshots / name / PROMOTED).touch()
        beside = self.home.snapshots / "current.new"
        beside.unlink(missing_ok=True)
        beside.symlink_to(name)
        beside.rename(self.home.current)

    def prune(self) -> None:
        """Remove what a broken attempt left, and all but the promoted one and the one before it.

        A snapshot that a machine still runs on stays.
        """
        current = int(self.current() or 0)
        older = [name for name in self._numbers() if int(name) < current]
        kept = {str(current), *older[-1:], *self._in_use()}
        for name in self._numbers(whole=False):
            if name not in kept:
                shutil.rmtree(self.home.snapshots / name, ignore_errors=True)

    def warm_up(self, image: Image, flavor: Flavor, trial: Trial, progress: Progress) -> None:
        """Boot a machine of the image, try it and keep its memory for all workers of that flavor."""
        worker = f"{CANARY}{image.folder.name}"
        variables = self.canaries.variables(worker, flavor, image.folder.name)
        machines = Machines(self.home)
        try:
            shape = memory_shape(variables)
            place = memory.reserve(image, shape, worker)
            progress(f"Booting a machine of snapshot {image.folder.name} as {flavor.name}")
            self.canaries.module.apply(worker, variables, BOOT_LIMIT_S)
            machine = _running(machines, worker)
            login = Login(machine.port, self.home.key, machine.host_key)
            try_apps(login, image, trial, progress)
            progress("Saving the machine's memory")
            run_over_ssh(login, WARM.format(port=self.canaries.nfs_port(), host=HOST_SEEN_BY_GUEST), WARM_LIMIT_S)
            self._save(machines, machine, image, place)
        finally:
            shutil.rmtree(image.memory / f"{memory_shape(variables)}.new", ignore_errors=True)
            self._clear_canary(machines, worker)

    def clear_canaries(self) -> None:
        """Remove the machines of attempts that were killed."""
        machines = Machines(self.home)
        for worker in {*self.canaries.module.workspaces(), *machines.folders()}:
            if worker.startswith(CANARY):
                self._clear_canary(machines, worker)

    def _clear_canary(self, machines: Machines, worker: str) -> None:
        """End the process first: after a Ctrl-C a boot may still be in progress, and the destruction would wait for it."""
        record = machines.record(worker)
        if record:
            machines.end(record.spec.guest)
        with suppress(CumulusError):
            self.canaries.module.destroy(worker, DELETE_LIMIT_S)
        if record:
            machines.remove(record.spec.guest)

    def _save(self, machines: Machines, machine: Machine, image: Image, place: memory.MemoryImage) -> None:
        spec = machine.spec
        with Qmp.open(machines.folder(spec.worker) / "qmp") as qmp:
            memory.save_state(qmp, place, SAVE_LIMIT_S)
        machines.end(spec.guest)
        made_of = memory.origin(find_accel(self.home.accel), spec.shape, image)
        memory.publish(place, made_of, image, machines.folder(spec.worker) / "disk.qcow2")

    def _copy(self, template: Image, progress: Progress) -> Image:
        """A folder of its own that depends on no other file: the template may change afterwards."""
        self.home.snapshots.mkdir(parents=True, exist_ok=True)
        number = max([0, *map(int, self._numbers(whole=False))]) + 1
        progress(f"Copying the template's disk to snapshot {number}")
        folder = self.home.snapshots / str(number)
        folder.mkdir()
        try:
            copy_disk(template.disk, folder / "disk.qcow2")
            shutil.copy(template.kernel, folder)
            shutil.copy(template.initrd, folder)
            return describe_image(folder, self.now(), template.recipe)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _image(self, name: str) -> Image:
        return read_image(self.home.snapshots / name)

    def _numbers(self, *, whole: bool = True) -> list[str]:
        if not self.home.snapshots.is_dir():
            return []
        found = [entry for entry in self.home.snapshots.iterdir() if entry.name.isdigit()]
        return sorted((entry.name for entry in found if not whole or is_image(entry)), key=int)

    def _in_use(self) -> set[str]:
        machines = Machines(self.home)
        records = [machines.find(worker) for worker in machines.folders()]
        return {machine.spec.snapshot for machine in records if machine}


def half_made(home: QemuHome) -> list[Path]:
    """The folders of attempts that ended before their promotion; none while an attempt is being made."""
    return [] if is_held(home.snapshot_lock, "snapshot") else _half_made(home)


def remove_half_made(home: QemuHome, folder: Path) -> None:
    """Remove it if it still is such a one. Raises InfrastructureError where an attempt is being made."""
    with exclusive(home.snapshot_lock, "snapshot", LOCK_LIMIT_S):
        if folder in _half_made(home):
            shutil.rmtree(folder, ignore_errors=True)


def _half_made(home: QemuHome) -> list[Path]:
    current = int(_current(home) or 0)
    entries = home.snapshots.iterdir() if home.snapshots.is_dir() else ()
    folders = [entry for entry in entries if entry.name.isdigit() and int(entry.name) > current]
    return sorted(folder for folder in folders if not (folder / PROMOTED).exists())


def _current(home: QemuHome) -> str | None:
    try:
        return home.current.readlink().name
    except OSError:
        return None


def memory_shape(variables: dict[str, object]) -> Shape:
    """The machine's size as the worker module makes it of its variables."""
    cpus, memory_gb, disk_gb = (float(str(variables[name])) for name in ("cpus", "memory_gb", "disk_gb"))
    return Shape(int(cpus), int(memory_gb * 1024), int(disk_gb))


def copy_disk(source: Path, target: Path) -> None:
    """A flat copy of a qcow2 file, flushed. Raises InfrastructureError (disk full, or a machine runs on it)."""
    command = ["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", str(source), str(target)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise InfrastructureError(f"the disk {source} could not be copied: {done.stderr.strip()}")
    with target.open("rb") as file:
        os.fsync(file.fileno())


def try_apps(login: Login, image: Image, trial: Trial, progress: Progress) -> None:
    """Let every app say its version on the machine, and write down what of the rest it has. Raises InfrastructureError."""
    found = _found(login, trial.programs)
    for app, command in trial.versions:
        program = trial.optional.get(app)
        progress(f"{app}: {_version(login, app, command) if program is None or program in found else 'not installed'}")
    if trial.programs:
        image.write_programs(found)


def _version(login: Login, app: str, command: str) -> str:
    try:
        lines = run_over_ssh(login, command, CHECK_LIMIT_S).strip().splitlines()
    except CommandFailed as problem:
        raise InfrastructureError(f"the app {app} does not run in the new snapshot: {problem.message}") from None
    return lines[0].strip() if lines else "it runs"


def _found(login: Login, programs: Sequence[str]) -> list[str]:
    """Which of the programs the machine has."""
    script = "\n".join(f"command -v {shlex.quote(name)} > /dev/null && echo {shlex.quote(name)}" for name in programs)
    told = run_over_ssh(login, f"{script}\ntrue", CHECK_LIMIT_S).split("\n")
    return [name for name in programs if name in told]


def _running(machines: Machines, worker: str) -> Machine:
    if not (machine := machines.find(worker)):
        raise InfrastructureError(f"the machine {worker} ended at once: {machines.console(worker)[-500:]}")
    return machine
