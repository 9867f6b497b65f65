"""Memory images made on demand: for flavors whose machines had to boot, beside the jobs, and removed when they are of no use.

Owns when one may be made and which go. How one is made is in canary.py, what one is in memory.py.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import structlog

from server.catalog.flavors import Flavor
from server.errors import InfrastructureError
from server.home.files import clear
from server.progress import Lines
from server.workers.clouds.images import SmokeTest
from server.workers.clouds.qemu.accelerator import find_accel
from server.workers.clouds.qemu.command import Shape
from server.workers.clouds.qemu.images import memory
from server.workers.clouds.qemu.images.canary import Canaries
from server.workers.clouds.qemu.images.images import Image, read_image
from server.workers.clouds.qemu.images.integrity import Reader
from server.workers.clouds.qemu.machine import Machines
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.machine_locks import exclusive, is_held

LOCK_LIMIT_S = 1.0
SNAPSHOT = "snapshot"  # the lock of who changes the snapshots, or makes a memory image of one
NEXT = "another snapshot"  # the lock of who waits for that one on a person's order: what is made on demand gives way
MB = 1 << 20
log = structlog.get_logger()


@dataclass(frozen=True)
class Room:
    """Memory of this computer, bytes."""

    total: int
    available: int


def room() -> Room:
    """What there is now."""
    now = psutil.virtual_memory()
    return Room(now.total, now.available)


@dataclass(frozen=True)
class Prewarming:
    """What is made on demand for one installation. ``room``: looks at this computer's memory."""

    home: QemuHome
    canaries: Canaries
    room: Callable[[], Room] = room

    def make(self, flavor: Flavor, shape: Shape, unwanted: Callable[[], bool]) -> None:
        """Make the memory image of that flavor's machines if there is none that fits; it may take minutes.

        Gives up soon after ``unwanted`` says so, or somebody wants to take a snapshot. Raises CumulusError.
        """
        if not missing(self.home, shape):
            return
        require_room(shape, self.room())
        with exclusive(self.home.snapshot_lock, SNAPSHOT, LOCK_LIMIT_S):
            image, began = read_image(self.home.current), time.monotonic()
            self.canaries.clear(Lines(_log))
            prune(self.home, unused_since=0.0)
            self._make(image, flavor, unwanted)
        made = memory.memory_image(image, shape)
        spent, size = time.monotonic() - began, made.allocated() // MB
        log.info("a memory image was made", flavor=flavor.name, snapshot=image.folder.name, seconds=round(spent), mb=size)

    def _make(self, image: Image, flavor: Flavor, unwanted: Callable[[], bool]) -> None:
        reasons: list[str] = []

        def in_the_way() -> bool:
            reasons.extend(filter(None, [self._why_give_way(image)]))
            return bool(reasons) or unwanted()

        try:
            self.canaries.keep_memory(image, flavor, SmokeTest(), Lines(_log), in_the_way)
        except InfrastructureError:
            if reasons:  # all that followed is only what an end in the midst of it looks like
                raise InfrastructureError(reasons[0]) from None
            raise

    def _why_give_way(self, image: Image) -> str:
        """Why others go before what is being made; "" while none do."""
        if is_held(self.home.snapshot_lock, NEXT):
            return "it gave way to a new snapshot"
        if shutil.disk_usage(image.memory).free < memory.LEFT_FREE // 2:
            return "the disk is getting full, and jobs need it"
        return ""

    def prune(self, unused_since: float) -> None:
        """Read all images of the promoted snapshot and let none that is damaged be used; then remove what is of no use.

        Does nothing where a snapshot is being made, or there is none. ``unused_since``: Unix seconds. Raises CumulusError.
        """
        lock = self.home.snapshot_lock
        if is_held(lock, SNAPSHOT) or not self.home.current.exists():
            return
        with exclusive(lock, SNAPSHOT, LOCK_LIMIT_S):
            withdraw_damaged(read_image(self.home.current))
            self.canaries.clear(Lines(_log))
            prune(self.home, unused_since)


def missing(home: QemuHome, shape: Shape) -> str:
    """Why a machine of that shape, made now, would have to boot; "" if it would not. Raises TemplateMissing, SetupMissing."""
    image = read_image(home.current)
    return memory.unfit(memory.memory_image(image, shape), memory.origin(find_accel(home), shape, image), image)


def require_room(shape: Shape, room: Room) -> None:
    """Raises InfrastructureError where this computer has not the memory to boot such a machine beside its jobs."""
    needed = memory.expected_bytes(shape)
    if shape.memory_mb * MB > room.total:
        larger = f"a machine with {shape.memory_mb} MB is larger than this computer with {room.total // MB} MB"
        raise InfrastructureError(f"{larger}: no memory image is made of it")
    if needed > room.available:
        raise InfrastructureError(f"a memory image needs {needed // MB} MB of memory, {room.available // MB} MB are free")


def withdraw_damaged(image: Image) -> None:
    """Read the memory images of a snapshot; machines boot where one is damaged, until it is made anew."""
    read = Reader()  # all have the snapshot's disk in common
    for found in _images(image.folder):
        if found.fingerprint.exists() and (damage := memory.damage(found, image, read)):
            memory.withdraw(found)
            log.warning("a memory image is not used any more", snapshot=image.folder.name, shape=found.folder.name, detail=damage)


def prune(home: QemuHome, unused_since: float) -> None:
    """Remove what was left half-made, and what was made on demand for a former snapshot or has not been used for long.

    One that a machine runs on stays. Only for who holds the lock of the snapshots.
    """
    current, busy = home.current.resolve().name, _in_use(home)
    for snapshot in sorted(home.snapshots.glob("[0-9]*")):
        for found in _images(snapshot):
            useless = found.on_demand and (snapshot.name != current or found.last_use() < unused_since)
            if found.folder.suffix == ".new" or (useless and (snapshot.name, found.folder.name) not in busy):
                memory.withdraw(found)
                clear(found.folder)


def _images(snapshot: Path) -> list[memory.MemoryImage]:
    return [memory.MemoryImage(folder) for folder in sorted(snapshot.glob("memory/*"))]


def _in_use(home: QemuHome) -> set[tuple[str, str]]:
    """Snapshot and shape of the machines that live."""
    machines = Machines(home)
    living = [machine.spec for worker in machines.folders() if (machine := machines.find(worker))]
    return {(spec.snapshot, str(spec.shape)) for spec in living}


def _log(text: str) -> None:
    log.info("memory images", step=text)
