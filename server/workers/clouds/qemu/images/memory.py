"""Memory images: the saved memory of a booted machine, from which clones start in a fraction of a boot's time.

Owns their format, how one is taken and whether it fits a machine. One image per snapshot and shape, in
``<snapshot>/memory/<shape>/``: ``ram`` (the guest's memory, which clones map privately), ``state`` (the devices),
``disk.qcow2`` (as it was at that moment; clones lay their own disk over it) and ``fingerprint.json``. While it is being
made the folder ends in ``.new`` and its file ``worker`` names the machine whose memory it will hold. ``on-demand``: it
was made because a job could have used it, and is removed when none can any more; ``used`` changes with each use.

QEMU checks little of this itself: a state that lost its end may pass as complete, a memory file of another boot is
noticed after the restore began. So nothing is used that does not match its fingerprint.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from server.errors import InfrastructureError
from server.home.files import clear, own_folder, read_own, read_own_text, remove_own, write_own
from server.workers.clouds.qemu.accelerator import Accel
from server.workers.clouds.qemu.command import Shape, devices_hash
from server.workers.clouds.qemu.images.images import Image
from server.workers.clouds.qemu.images.integrity import Content, first_changed, read_again
from server.workers.clouds.qemu.qmp import Qmp

POLL_S = 0.01
STATE_RESERVE = 64 << 20
LEFT_FREE = 1 << 30  # bytes of the disk that an image made on demand leaves to the machines of jobs
BLOCK = 512  # bytes, the unit of st_blocks
# Machines of 1, 2 and 16 GB had written to 232, 246 and 588 MB when they were saved.
TOUCHED = 384 << 20
TOUCHED_SHARE = 32
# Called with what is being done, the bytes done so far and all there are.
Saving = Callable[[str, int, int], None]
FindChanged = Callable[[Mapping[Path, Content], Path], Path | None]
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

    @property
    def record(self) -> Path:
        """That the files' checksums were right, and when that need not be believed any more."""
        return self.folder / "checked.json"

    @property
    def on_demand(self) -> bool:
        """Whether it was, or is being, made beside the jobs and not with the snapshot."""
        return (self.folder / "on-demand").exists()

    def note_use(self) -> None:
        """A machine was made of it; not worth an error where that cannot be written down."""
        with suppress(OSError):
            (self.folder / "used").touch()

    def last_use(self) -> float:
        """Unix seconds, also of its making."""
        times = [path.stat().st_mtime for path in (self.folder / "used", self.fingerprint) if path.exists()]
        return max(times, default=0.0)

    def allocated(self) -> int:
        """Bytes that it takes on the disk, which are far fewer than its files' sizes."""
        entries = self.folder.iterdir() if self.folder.is_dir() else ()
        return sum(entry.stat().st_blocks for entry in entries) * BLOCK


@dataclass(frozen=True)
class _Fingerprint:
    """What an image was made of, and what its files, and the snapshot's disk below them, held then."""

    origin: Origin
    ram: Content
    disk: Content
    snapshot: Content
    state: Content

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises OSError, ValueError, KeyError, TypeError."""
        known = json.loads(read_own(path))
        files = known["files"]
        ram, disk, snapshot, state = (Content(**files[name]) for name in ("ram", "disk", "snapshot", "state"))
        return cls(Origin(**known["origin"]), ram, disk, snapshot, state)

    def write(self, path: Path) -> None:
        files = {name: asdict(getattr(self, name)) for name in ("ram", "disk", "snapshot", "state")}
        write_own(path, json.dumps({"origin": asdict(self.origin), "files": files}, indent=1) + "\n", 0o644)
        _sync(path)


def origin(accel: Accel, shape: Shape, image: Image) -> Origin:
    """What a machine of this shape would be made of, here and now."""
    return Origin(accel.qemu, accel.argument, accel.cpu, accel.host, str(shape), devices_hash(), image.sha256)


def memory_image(image: Image, shape: Shape) -> MemoryImage:
    """Where the memory image of machines of this shape is."""
    return MemoryImage(image.memory / str(shape))


def unfit(found: MemoryImage, wanted: Origin, image: Image) -> str:
    """Why the memory image cannot be used for such a machine; "" if it can."""
    try:
        known = _Fingerprint.read(found.fingerprint)
    except FileNotFoundError:
        return f"no memory image for {wanted.shape}"
    except (OSError, ValueError, KeyError, TypeError):
        return "the memory image's fingerprint cannot be read"
    if different := [text for name, text in DIFFERENCES.items() if getattr(known.origin, name) != getattr(wanted, name)]:
        return f"the memory image was made with {different[0]}"
    return _damage(found, known, image, first_changed)


def damage(found: MemoryImage, image: Image, read: Callable[[Path], Content]) -> str:
    """What is wrong with the files of an image that has a fingerprint, "" for nothing; every byte is read, by ``read``."""
    try:
        known = _Fingerprint.read(found.fingerprint)
    except (OSError, ValueError, KeyError, TypeError):
        return "the memory image's fingerprint cannot be read"
    return _damage(found, known, image, lambda files, record: read_again(files, record, read))


def withdraw(found: MemoryImage) -> None:
    """Let no machine start from it any more; those that did go on. Needs no room on the disk."""
    remove_own(found.fingerprint)


def expected_bytes(shape: Shape) -> int:
    """About how much of the memory a machine has written to when it is saved: the system, and its list of all pages."""
    memory = shape.memory_mb << 20
    return min(memory, TOUCHED + memory // TOUCHED_SHARE)


def reserve(image: Image, shape: Shape, worker: str, *, on_demand: bool = False) -> MemoryImage:
    """Say that the memory of ``worker``, which is yet to boot, will be kept; an older attempt of it is dropped.

    Raises InfrastructureError where the disk could not hold it: a full disk would end the machine without a message.
    """
    place = MemoryImage(image.memory / f"{shape}.new")
    clear(place.folder)
    own_folder(image.memory)
    free, needed = shutil.disk_usage(image.memory).free, expected_bytes(shape) + STATE_RESERVE + (LEFT_FREE if on_demand else 0)
    if free < needed:
        raise InfrastructureError(f"a memory image needs {needed >> 20} MB free on the disk, there are {free >> 20} MB")
    place.folder.mkdir()
    if on_demand:
        (place.folder / "on-demand").touch()
    (place.folder / "worker").write_text(worker)
    return place


def reserved_for(image: Image, shape: Shape, worker: str) -> MemoryImage | None:
    """Where the memory of ``worker`` will be kept; None for most."""
    place = MemoryImage(image.memory / f"{shape}.new")
    try:
        return place if read_own_text(place.folder / "worker") == worker else None
    except (OSError, ValueError):
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


def publish(
    place: MemoryImage, wanted: Origin, image: Image, disk: Path, saving: Saving = lambda _text, _done, _total: None
) -> MemoryImage:
    """Make the saved memory available to clones, together with the disk of the machine (which has ended).

    Only whole images ever carry the final name, also after a power cut. ``saving`` is called with the progress.
    """
    disk.rename(place.disk)
    total = place.allocated()
    for name, path in (("memory", place.ram), ("disk", place.disk)):
        saving(f"flushing its {name}", 0, total)
        _sync(path)
    files = {"memory": place.ram, "disk": place.disk, "devices' state": place.state, "snapshot's disk": image.disk}
    done, contents = 0, []
    for name, path in files.items():
        saving(f"reading its {name} for the checksum", done, total)
        contents.append(Content.of(path))
        done = min(total, done + path.stat().st_blocks * BLOCK)
    saving("", total, total)
    ram, saved, state, below = contents
    _Fingerprint(wanted, ram, saved, below, state).write(place.fingerprint)
    _sync(place.folder)
    final = MemoryImage(place.folder.with_name(wanted.shape))
    clear(final.folder)
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


def _damage(found: MemoryImage, known: _Fingerprint, image: Image, find_changed: FindChanged) -> str:
    files = {found.ram: known.ram, found.disk: known.disk, image.disk: known.snapshot}
    try:
        changed = find_changed(files, found.record)
        if changed is None and Content.of(found.state) != known.state:  # half a MB: read at each use
            changed = found.state
    except InfrastructureError as problem:  # somebody else is still reading them
        return problem.message
    except OSError as problem:
        return f"the memory image is incomplete: {problem}"
    if changed == image.disk:
        return "the snapshot's disk is not as it was written"
    return f"the memory image's {changed.stem} is not as it was written" if changed else ""


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
