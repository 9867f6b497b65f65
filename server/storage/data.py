"""The shared data and what is beside it: what is there, how large it is, and its safe removal.

Nothing here follows a symbolic link. What is removed is renamed first, so that it disappears in one step for everybody else.
"""

import errno
import os
import shutil
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog

from server.catalog.files import one_form
from server.storage.paths import PRIVATE_PREFIX, base_name

REMOVING = ".cumulus.removing-"
log = structlog.get_logger()


@dataclass(frozen=True)
class Entry:
    """One name at the top of a folder: a file or a folder with all below it.

    ``changed``: when the newest of it arrived or was written, Unix seconds; ``known``: of a kind that Cumulus itself puts there.
    """

    name: str
    bytes: int
    changed: float
    known: bool


def entries(folder: Path) -> Iterator[Entry]:
    """What is in a folder, without hidden names; what disappears meanwhile is left out."""
    with os.scandir(folder) as found:
        names = sorted(entry.name for entry in found if not entry.name.startswith("."))
    for name in names:
        try:
            yield entry_of(folder / name)
        except OSError:
            continue


def listing(folder: Path, awaited: Iterable[str]) -> list[tuple[str, int]]:
    """Name and bytes of everything in the shared data, and of what jobs still wait for (0 where nothing is there yet)."""
    found = {entry.name: entry.bytes for entry in entries(folder) if entry.known}
    return sorted({**dict.fromkeys(awaited, 0), **found}.items())


def each_behind(folder: Path, name: str) -> Iterator[str]:
    """The files that one name at the top of the shared data stands for, relative to it, as they are found.

    Raises InvalidInput at once for what is no name there.
    """
    return _regular_files(folder / base_name(name), name)


def _regular_files(top: Path, relative: str) -> Iterator[str]:
    """The files below a path, and the path itself where it is one; as texts, since there may be a hundred thousand."""
    with suppress(OSError):
        if stat.S_ISREG(top.lstat().st_mode):
            yield relative
        places = [(str(top), relative)] if stat.S_ISDIR(top.lstat().st_mode) else []
        while places:
            place, below = places.pop()
            for entry in _scanned(place):
                if entry.name.startswith(PRIVATE_PREFIX):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    places.append((entry.path, f"{below}/{entry.name}"))
                elif entry.is_file(follow_symlinks=False):
                    yield f"{below}/{entry.name}"


def _scanned(folder: str) -> "Iterator[os.DirEntry[str]]":
    with suppress(OSError), os.scandir(folder) as found:
        yield from found


def find(folder: Path, name: str) -> Path | None:
    """What a folder has under a name, also where it is spelt in another Unicode form there (NFC, NFD); None for nothing.

    It may be a link. Raises OSError where the folder cannot be listed.
    """
    spellings = dict.fromkeys((name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))))
    found = next((folder / spelt for spelt in spellings if _is_there(folder / spelt)), None)
    if found or name.isascii() or not _is_there(folder):
        return found
    return next((folder / other for other in os.listdir(folder) if same_name(other, name)), None)  # noqa: PTH208


def same_name(one: str, other: str) -> bool:
    """Whether two names are one for people: the same letters, in whatever Unicode form."""
    return one_form(one) == one_form(other)


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except OSError as problem:
        if problem.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return False
        raise
    return True


class Freeing:
    """The bytes that removals give back, in the order in which they are asked about.

    What jobs have pinned has several names, and is gone with the last of them.
    """

    def __init__(self) -> None:
        self._gone: Counter[tuple[int, int]] = Counter()

    def by(self, path: Path) -> int:
        """What the removal of a file or folder gives back, after those before."""
        try:
            found = path.lstat()
        except OSError:
            return 0
        return sum(map(self._by_one, _files(path) if stat.S_ISDIR(found.st_mode) else (found,)))

    def _by_one(self, found: os.stat_result) -> int:
        if found.st_nlink > 1:
            inode = found.st_dev, found.st_ino
            self._gone[inode] += 1
            if self._gone[inode] < found.st_nlink:
                return 0
        return found.st_size


def usage(root: Path) -> tuple[int, int, int]:
    """Bytes of the storage: in all, used, free."""
    found = shutil.disk_usage(root)
    return found.total, found.used, found.free


def set_aside(path: Path) -> Path | None:
    """Take a file or folder out of everybody's sight, in one step; None where it is gone. :func:`remove` ends it."""
    beside = path.with_name(f"{REMOVING}{uuid4().hex}")
    try:
        path.rename(beside)
    except FileNotFoundError:
        return None
    return beside


def remove(path: Path) -> None:
    """Remove what was set aside. Raises OSError where it cannot be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def discard(path: Path) -> bool:
    """The same where it may fail: whether it is gone. What is left is removed another time."""
    try:
        remove(path)
    except OSError as error:
        log.warning("something could not be removed", path=str(path), detail=str(error))
        return False
    return True


def set_aside_before(folder: Path) -> list[Path]:
    """What somebody who was interrupted had set aside."""
    return sorted(folder.glob(f"{REMOVING}*"))


def entry_of(path: Path) -> Entry:
    """What is at a path, which is not followed where it is a link. Raises OSError."""
    found = path.lstat()
    if stat.S_ISDIR(found.st_mode):
        sizes = [(0, _changed(found)), *((one.st_size, _changed(one)) for one in _files(path))]
        return Entry(path.name, sum(size for size, _ in sizes), max(changed for _, changed in sizes), known=True)
    return Entry(path.name, found.st_size, _changed(found), known=stat.S_ISREG(found.st_mode))


def _files(folder: Path) -> Iterator[os.stat_result]:
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                yield Path(place, name).lstat()
            except OSError:
                continue


def _changed(found: os.stat_result) -> float:
    """A copy may carry its source's modification time, so the inode's own counts, too; but of what jobs have pinned (and nobody
    may write since), that is when the last of them took or left it.
    """
    is_pinned = stat.S_ISREG(found.st_mode) and not found.st_mode & 0o222
    return found.st_mtime if is_pinned else max(found.st_mtime, found.st_ctime)
