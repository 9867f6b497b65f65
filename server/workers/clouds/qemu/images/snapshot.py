"""Snapshots: numbered copies of the template's disk that workers start from, and how one becomes the promoted one.

Owns ``$CUMULUS_HOME/qemu/snapshots/``: a folder per number and the link ``current``. A new one counts only after a
machine of it has booted, each app has said its version there, and the memory of that machine is saved for the workers to
come.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from server.catalog.flavors import Flavor
from server.errors import InfrastructureError, TemplateMissing
from server.home.files import put_in_place, remove_own, set_aside
from server.progress import Progress, growing, megabytes
from server.workers.clouds.images import SmokeTest, Snapshot
from server.workers.clouds.machine_locks import exclusive, is_held
from server.workers.clouds.qemu.images import prewarming
from server.workers.clouds.qemu.images.canary import Canaries
from server.workers.clouds.qemu.images.images import Image, describe_image, is_image, read_image
from server.workers.clouds.qemu.images.prewarming import SNAPSHOT
from server.workers.clouds.qemu.machine import Machines
from server.workers.clouds.qemu.paths import QemuHome

PROMOTED = "promoted"  # a file in the folder of each snapshot that workers were ever made from
LOCK_LIMIT_S = 1.0
log = structlog.get_logger()


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of one installation. Only one process at a time may change them; the caller sees to that."""

    home: QemuHome
    canaries: Canaries
    now: Callable[[], float] = time.time

    def take(self, flavor: Flavor, trial: SmokeTest, progress: Progress) -> Snapshot:
        """Copy the template, try it on a machine of ``flavor``, promote it and drop all but the one before.

        Raises CumulusError; the new snapshot is gone then and the old one still promoted.
        """
        template = read_image(self.home.template)
        self.canaries.clear(progress)
        self.prune()
        image = self._copy(template, progress)
        try:
            self.canaries.keep_memory(image, flavor, trial, progress)
        except BaseException:
            shutil.rmtree(image.folder, ignore_errors=True)
            raise
        self.promote(image.folder.name)
        self.prune()
        progress.say(f"Snapshot {image.folder.name} is promoted")
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
        _point(self.home, name)

    def prune(self, keep: int = 0) -> None:
        """Remove what a broken attempt left, all but the promoted one and the one before it, and what that has on demand.

        The newest ``keep`` that were promoted stay, too, and a snapshot that a machine still runs on.
        """
        current = int(self.current() or 0)
        promoted = [name for name in self._numbers() if (self.home.snapshots / name / PROMOTED).exists()]
        older = [name for name in self._numbers() if int(name) < current]
        kept = {str(current), *older[-1:], *(promoted[-keep:] if keep else ()), *self._in_use()}
        for name in self._numbers(whole=False):
            if name not in kept:
                shutil.rmtree(self.home.snapshots / name, ignore_errors=True)
        prewarming.prune(self.home, unused_since=0.0)

    def _copy(self, template: Image, progress: Progress) -> Image:
        """A folder of its own that depends on no other file: the template may change afterwards."""
        self.home.snapshots.mkdir(parents=True, exist_ok=True)
        number = max([0, *map(int, self._numbers(whole=False))]) + 1
        folder = self.home.snapshots / str(number)
        folder.mkdir()
        try:
            with progress.step(f"Copying the template's disk to snapshot {number}", "MB") as step:
                with growing(step, folder / "disk.qcow2", megabytes(template.disk)):
                    copy_disk(template.disk, folder / "disk.qcow2")
                step.note("reading it back for its checksum")
                shutil.copy(template.kernel, folder)
                shutil.copy(template.initrd, folder)
                return describe_image(folder, self.now(), template.build_hash)
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


def restore_current(home: QemuHome) -> None:
    """Where the link to the promoted snapshot is lost, it leads again to the one that was promoted last. Raises InTheWay."""
    if home.current.is_symlink() and home.current.is_dir():
        return
    promoted = [mark for mark in home.snapshots.glob(f"[0-9]*/{PROMOTED}") if is_image(mark.parent)]
    if promoted:
        last = max(promoted, key=lambda mark: mark.stat().st_mtime).parent.name
        if os.path.lexists(home.current) and not home.current.is_symlink():
            set_aside(home.current, "it must be a link to the promoted snapshot")
        _point(home, last)
        log.warning("the link to the promoted snapshot was lost; it is made again", file=str(home.current), snapshot=last)


def _point(home: QemuHome, name: str) -> None:
    """One step: there is always a promoted one."""
    beside = home.snapshots / "current.new"
    remove_own(beside)
    beside.symlink_to(name)
    put_in_place(beside, home.current)


def half_made(home: QemuHome) -> list[Path]:
    """The folders of attempts that ended before their promotion; none while an attempt is being made."""
    return [] if is_held(home.snapshot_lock, SNAPSHOT) else _half_made(home)


def remove_half_made(home: QemuHome, folder: Path) -> None:
    """Remove it if it still is such a one. Raises InfrastructureError where an attempt is being made."""
    with exclusive(home.snapshot_lock, SNAPSHOT, LOCK_LIMIT_S):
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


def copy_disk(source: Path, target: Path) -> None:
    """A flat copy of a qcow2 file, flushed. Raises InfrastructureError (disk full, or a machine runs on it)."""
    command = ["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", str(source), str(target)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise InfrastructureError(f"the disk {source} could not be copied: {done.stderr.strip()}")
    with target.open("rb") as file:
        os.fsync(file.fileno())
