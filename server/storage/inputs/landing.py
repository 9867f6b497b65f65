"""An upload that is whole gets its place in the storage, by the rules of :mod:`server.storage.inputs.delivery`.

What ``data/`` has under a name is never replaced: the same content is shared, another one is kept with the job. A place is given
in one step, and each function may be called again after a crash at any of its points.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from server.storage.data import find
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.arrivals import UPLOAD, Arrival
from server.storage.inputs.checksums import content_sha256
from server.storage.inputs.copying import SHA256
from server.storage.inputs.placing import publish, replace

TRIES = 3  # where somebody else takes the name meanwhile
SHARED_MODE = 0o644  # the controller may be another user


@dataclass(frozen=True)
class Whole:
    """A file that has come: where it lies, its bytes, its SHA-256."""

    path: Path
    size: int
    sha256: str


def share(storage: Storage, whole: Whole, name: str) -> Arrival | None:
    """Put it into ``data/``, or use what is there already; None where that has another content. Raises OSError."""
    for _ in range(TRIES):
        found = find(storage.data, name)
        if found is not None:
            if not _is_same(found, whole):
                return None
            _forget(whole.path)
            return _arrival(f"data/{found.name}", found, whole)
        if _given(whole, storage.data, name, publish):
            return _arrival(f"data/{name}", storage.data / name, whole)
    raise OSError(errno.EBUSY, "others send files of that name", name)


def keep(folder: JobFolder, whole: Whole, name: str) -> Arrival:
    """Put it into the job's own ``input/``, in place of whatever is there. Raises OSError."""
    target = folder.input / name
    if whole.path.exists() or not _is_same(target, whole):
        _given(whole, folder.input, name, _replaced)
    return _arrival(f"jobs/{folder.name}/input/{name}", target, whole)


def _given(whole: Whole, folder: Path, name: str, give: Callable[[Path, Path], bool]) -> bool:
    """Whether it has its place now. Where that is on another file system, a copy is made there first."""
    whole.path.chmod(SHARED_MODE)
    try:
        is_given = give(whole.path, folder / name)
    except OSError as problem:
        if problem.errno != errno.EXDEV:
            raise
        is_given = _copied(whole, folder, name, give)
    if is_given:
        _sync_folder(folder)
    return is_given


def _copied(whole: Whole, folder: Path, name: str, give: Callable[[Path, Path], bool]) -> bool:
    beside = folder / f"{UPLOAD}{token_hex(3)}"
    try:
        with whole.path.open("rb") as source, beside.open("xb") as made:
            shutil.copyfileobj(source, made, 1 << 20)
            made.flush()
            os.fsync(made.fileno())
        beside.chmod(SHARED_MODE)
        is_given = give(beside, folder / name)
    finally:
        beside.unlink(missing_ok=True)
    if is_given:
        _forget(whole.path)
    return is_given


def _replaced(made: Path, target: Path) -> bool:
    replace(made, target)
    return True


def _is_same(found: Path, whole: Whole) -> bool:
    """Whether a file in the storage has the content that has come. Raises OSError."""
    try:
        status = found.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != whole.size:
            return False
        if whole.path.exists() and found.samefile(whole.path):  # killed between two names
            return True
        return content_sha256(found) == whole.sha256
    except FileNotFoundError:
        return False


def _arrival(path: str, place: Path, whole: Whole) -> Arrival:
    return Arrival(path, whole.size, place.lstat().st_mtime_ns, f"{SHA256}{whole.sha256}")


def _forget(path: Path) -> None:
    with suppress(OSError):  # upkeep finds it
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # not every file system can
            os.fsync(handle)
    finally:
        os.close(handle)
