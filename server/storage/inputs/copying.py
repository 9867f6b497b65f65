"""Reading a file or folder of this computer from beginning to end: to copy it, or to compare it with what the storage has.

Owns what is read of a folder: files, however deep, as the agent does (``agent/sources/skipping.py`` says why). Left out and named
are links, devices, pipes, what SQLite keeps beside a database, and names of Cumulus' own. Nothing in a folder is opened through a
link, also where one is put there meanwhile.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

from server.errors import CumulusError
from server.storage.paths import PRIVATE_PREFIX
from server.storage.regular import open_regular

CHUNK_BYTES = 1024 * 1024
SHA256 = "sha256:"
SIDE_FILES = ("-wal", "-shm")
T = TypeVar("T")
Heard = Callable[[int], None]  # is called with each number of bytes that was read


class SourceChanged(CumulusError):
    """Somebody writes to the file while it is sent."""

    code = "source_changed"


@dataclass(frozen=True)
class Content:
    """One file: its path in the folder that was read ("" for the file itself), bytes, SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Contents:
    """All of a file or folder, with its folders, and what was left out."""

    files: tuple[Content, ...]
    folders: frozenset[str]
    left_out: tuple[str, ...]


@dataclass
class _Entry:
    """Something in a source; ``open`` for files only."""

    path: str
    open: Callable[[], BinaryIO] | None


@dataclass
class Source:
    """A file or folder of this computer; where the path itself is a link, what it leads to."""

    path: Path
    _left_out: list[str] = field(default_factory=list)

    def state(self) -> object:
        """Equal as long as nobody writes there. Raises OSError."""
        return _State(tuple(_states(self.path))) if self.path.is_dir() else _State((_state("", self.path.stat()),))

    def size(self) -> int:
        """Bytes of all files; 0 where it cannot be read."""
        with suppress(OSError):
            if not self.path.is_dir():
                return self.path.stat().st_size
            return sum(status.st_size for _, status in _walk(self.path) if stat.S_ISREG(status.st_mode))
        return 0

    def read(self, heard: Heard) -> Contents:
        """Its contents. Raises OSError, SourceChanged."""
        return self._unchanged(lambda: self._contents(lambda entry: _hashed(entry, None, heard)))

    def copy(self, target: Path, heard: Heard) -> Contents:
        """Make ``target``, which is not there yet, as it is. Raises OSError, SourceChanged."""

        def copy(entry: _Entry) -> Content | None:
            if entry.open is None:
                (target / entry.path).mkdir(mode=0o755)
                return None
            place = target / entry.path if entry.path else target
            with place.open("xb") as made:
                content = _hashed(entry, made, heard)
            place.chmod(0o644)  # the controller may be another user
            return content

        return self._unchanged(lambda: self._contents(copy))

    def compare(self, target: Path, heard: Heard) -> Contents | None:
        """Its contents, if ``target`` has the same; None if not. Raises OSError, SourceChanged."""
        if target.is_symlink() or not (target.is_dir() if self.path.is_dir() else target.is_file()):
            return None
        return self._unchanged(lambda: self._compared(target, heard))

    def _compared(self, target: Path, heard: Heard) -> Contents | None:
        def compare(entry: _Entry) -> Content | None:
            place = target / entry.path if entry.path else target
            if entry.open is None:
                if place.is_symlink() or not place.is_dir():
                    raise _Different
                return None
            with open_regular(place) as other:
                return _hashed(entry, other, heard, compare=True)

        try:
            contents = self._contents(compare)
        except (_Different, FileNotFoundError, NotADirectoryError):
            return None
        return contents if _names(target) == ({one.path for one in contents.files}, contents.folders) else None

    def _contents(self, take: Callable[[_Entry], Content | None]) -> Contents:
        files, folders = [], []
        self._left_out.clear()
        for entry in self._entries():
            if content := take(entry):
                files.append(content)
            else:
                folders.append(entry.path)
        return Contents(tuple(files), frozenset(folders) - {""}, tuple(self._left_out))

    def _entries(self) -> Iterator[_Entry]:
        if not self.path.is_dir():
            yield _Entry("", lambda: open_regular(self.path, follow=True))
            return
        yield _Entry("", None)
        for here, folders, names, handle in os.fwalk(self.path.resolve(), onerror=_refuse):
            prefix = Path(here).relative_to(self.path.resolve())
            for name in sorted(folders):
                is_link = stat.S_ISLNK(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode)
                if is_link or name.startswith(PRIVATE_PREFIX):
                    self._left_out.append((prefix / name).as_posix())
                    folders.remove(name)
                else:
                    yield _Entry((prefix / name).as_posix(), None)
            for name in sorted(names):
                path = (prefix / name).as_posix()
                if _is_sent(name, os.stat(name, dir_fd=handle, follow_symlinks=False)):
                    yield _Entry(path, lambda name=name, handle=handle: _opened(name, handle))  # type: ignore[misc]
                else:
                    self._left_out.append(path)

    def _unchanged(self, work: Callable[[], T]) -> T:
        before = self.state()
        done = work()
        if self.state() != before:
            raise SourceChanged(f"{self.path} was changed while it was sent", field="input")
        return done


class _Different(Exception):
    """The two are not the same."""


@dataclass(frozen=True)
class _State:
    files: tuple[tuple[str, int, int, int, int], ...]


def _hashed(entry: _Entry, other: BinaryIO | None, heard: Heard, *, compare: bool = False) -> Content:
    """Read a file, and write it to ``other`` or compare it with that. Raises OSError, _Different."""
    assert entry.open is not None
    digest, size = hashlib.sha256(), 0
    with entry.open() as file:
        if compare and other and os.fstat(file.fileno()).st_size != os.fstat(other.fileno()).st_size:
            raise _Different
        while chunk := file.read(CHUNK_BYTES):
            if compare and other and other.read(len(chunk)) != chunk:
                raise _Different
            if other and not compare:
                other.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            heard(len(chunk))
        if compare and other and other.read(1):
            raise _Different
    return Content(entry.path, size, digest.hexdigest())


def _opened(name: str, folder: int) -> BinaryIO:
    handle = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
    return os.fdopen(handle, "rb")


def _is_sent(name: str, status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and not name.lower().endswith(SIDE_FILES) and not name.startswith(PRIVATE_PREFIX)


def _names(top: Path) -> tuple[set[str], frozenset[str]]:
    """The files and folders of a folder in the storage; links count for nothing there."""
    if not top.is_dir():
        return {""}, frozenset()
    found = [one for one in _walk(top) if not any(part.startswith(PRIVATE_PREFIX) for part in one[0].split("/"))]
    files = {path for path, status in found if stat.S_ISREG(status.st_mode)}
    return files, frozenset(path for path, status in found if stat.S_ISDIR(status.st_mode))


def _walk(top: Path) -> Iterator[tuple[str, os.stat_result]]:
    folders = [("", str(top))]
    while folders:
        prefix, folder = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                yield f"{prefix}{entry.name}", entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    folders.append((f"{prefix}{entry.name}/", entry.path))


def _states(top: Path) -> list[tuple[str, int, int, int, int]]:
    return sorted(_state(path, status) for path, status in _walk(top))


def _state(path: str, status: os.stat_result) -> tuple[str, int, int, int, int]:
    return path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _refuse(problem: OSError) -> None:
    raise problem
