"""Whether the file behind an open database is still the one that was opened. Shared by both programs; knows no schema.

SQLite keeps using files that were removed, renamed or replaced: it reads and writes what no other process sees, and what
ends with the process. So the main file, its log (``-wal``) and its index (``-shm``) are compared with those that were opened,
by device and number, and the main file's first 100 bytes with what this database had there: also a file that was overwritten
in place has another mark. A look takes four system calls, some microseconds.
"""

import os
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from secrets import randbelow
from typing import Any

from programs.database.sqlite import IN_USE, Lost
from programs.regular import open_to_keep

SUFFIXES = ("", "-wal", "-shm")
HEADER_BYTES = 100
MAGIC = b"SQLite format 3\0"
FRESH_S = 0.2  # for so long readers rely on the last look
SHORT_S = 3.0  # while SQLite writes its log into the file, that is shorter than it says, for some milliseconds
# Of SQLite's file format (sqlite.org/fileformat2.html): the page's size, the number of pages, the application's id
_PAGE_SIZE, _PAGES, _MARK = struct.Struct(">H"), struct.Struct(">I"), struct.Struct(">I")
_PAGE_SIZE_AT, _PAGES_AT, _MARK_AT = 16, 28, 68
_LARGEST_PAGE = 65_536
_SHARED_AT, _SHARED_BYTES = 0x40000002, 510  # the bytes of a main file that SQLite locks
_Number = tuple[int, int]
Ask = Callable[[str], Any]


def marked(ask: Ask) -> int:
    """The number that identifies this database, assigned if it has none. ``ask``: runs a statement, returns its first value."""
    if mark := mark_of(ask("PRAGMA application_id")):
        return mark
    ask(f"PRAGMA application_id = {1 + randbelow(0x7FFFFFFE)}")
    return int(ask("PRAGMA application_id"))


def mark_of(application_id: object) -> int:
    """The number as the file has it: SQLite returns it with a sign."""
    return int(str(application_id)) & 0xFFFFFFFF


def mark_in(header: bytes) -> int:
    """The number in the first bytes of a main file."""
    return int(_MARK.unpack_from(header, _MARK_AT)[0])


class DatabaseFile:
    """The files of one open database. Safe to be used from several threads."""

    def __init__(self, path: Path, mark: int, clock: Callable[[], float] = time.monotonic) -> None:
        """``mark``: as :func:`marked` gave it. The database must be open, with its log. Raises OSError.

        The main file stays open for as long as the process lives: closing any descriptor of it would end SQLite's locks.
        """
        self.path = path
        self._mark = mark
        self._clock = clock
        self._lock = threading.Lock()
        self._handle = open_to_keep(path)
        self._opened = {str(self._file(suffix)): _number(str(self._file(suffix))) for suffix in SUFFIXES}
        self._has_mark = self._header_mark() == mark
        self._short_since: float | None = None
        self._looked_at = -FRESH_S
        self._failure = ""

    def require(self, *, fresh: bool) -> None:
        """Raises Lost where the database is not the one that was opened. ``fresh``: check now, before a write."""
        if failure := self.failure(fresh=fresh):
            raise Lost(failure)

    def failure(self, *, fresh: bool = True) -> str:
        """What happened to the files, for people; "" where all is well."""
        with self._lock:
            now = self._clock()
            if fresh or self._failure or not 0 <= now - self._looked_at < FRESH_S:
                self._looked_at = now
                self._failure = self._inspect()
            return self._failure

    def only_its_log_is_gone(self) -> bool:
        """Whether the main file is the one that was opened, and no other log was begun beside it."""
        lost = [path for path, number in self._opened.items() if _number(path) != number]
        return bool(lost) and all(path != str(self.path) and _number(path) is None for path in lost)

    def _inspect(self) -> str:
        for path, number in self._opened.items():
            found = _number(path)
            if found != number:
                return f"{path} {_became(path, found)} {IN_USE}"
        return self._of_content()

    def _of_content(self) -> str:
        """What was written over the file in its place."""
        header, size = self._header(), os.fstat(self._handle).st_size
        if len(header) < HEADER_BYTES:
            return f"{self.path} was emptied {IN_USE}"
        if not header.startswith(MAGIC):
            return f"{self.path} was overwritten {IN_USE}"
        mark = _MARK.unpack_from(header, _MARK_AT)[0]
        self._has_mark = self._has_mark or mark == self._mark
        if mark not in (self._mark, *((0,) * (not self._has_mark))):
            return f"{self.path} was overwritten by another database {IN_USE}"
        if size >= _said_size(header):
            self._short_since = None
            return ""
        self._short_since = self._looked_at if self._short_since is None else self._short_since
        return f"{self.path} was cut short {IN_USE}" if self._looked_at - self._short_since >= SHORT_S else ""

    def leave_as_it_is(self) -> None:
        """Keep SQLite from writing its log into the main file when the last connection is closed, as long as this one is open.

        It would put pages of the lost database into whatever has its place. It does so with all locks for itself, which a lock
        of an open file's (Linux) refuses to connections of the same process, too.
        """
        if sys.platform == "linux":
            import fcntl

            lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, _SHARED_AT, _SHARED_BYTES, 0)
            with suppress(OSError):
                fcntl.fcntl(self._handle, fcntl.F_OFD_SETLK, lock)

    def close(self) -> None:
        """Give the descriptor back; only where no connection of this process has the database open."""
        os.close(self._handle)

    def _header(self) -> bytes:
        os.lseek(self._handle, 0, os.SEEK_SET)
        return os.read(self._handle, HEADER_BYTES)

    def _header_mark(self) -> int:
        header = self._header()
        return int(_MARK.unpack_from(header, _MARK_AT)[0]) if len(header) == HEADER_BYTES else 0

    def _file(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.name}{suffix}") if suffix else self.path


def _became(path: str, found: _Number | None) -> str:
    if found is None:
        return "was removed"
    return "was replaced by another file" if os.path.isfile(path) else "was replaced by something that is no file"  # noqa: PTH113


def _number(path: str) -> _Number | None:
    """Device and inode of the path; None where nothing lies there."""
    try:
        found = os.stat(path)  # noqa: PTH116  # asked several times for each transaction
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _said_size(header: bytes) -> int:
    """The file's size according to its own header, in bytes."""
    page_size = _PAGE_SIZE.unpack_from(header, _PAGE_SIZE_AT)[0]
    return int(_PAGES.unpack_from(header, _PAGES_AT)[0] * (_LARGEST_PAGE if page_size == 1 else page_size))
