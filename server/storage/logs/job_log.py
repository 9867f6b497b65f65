"""Job logs as people read them: again and again while they grow.

Owns which part of a very long log is shown, and what is remembered between two readings. The runner writes them.
"""

import errno
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from server.storage.logs.index import Insertion, LogIndex, Remark, merged
from server.storage.logs.spliced import Spliced
from server.storage.regular import open_regular

LOG_HEAD_BYTES = 64 * 1024
LOG_TAIL_BYTES = 1024 * 1024  # of which the measures take a part where something is left out
POINTS_BYTES = 200 * 1024
MAX_BYTES = 8 * 1024 * 1024
CHUNK = 1024 * 1024
MAX_SCANNED = 2 * 1024**3  # a longer log was not written by the runner


class Stamp(NamedTuple):
    """What shows whether a file is still as it was; the time in nanoseconds."""

    inode: int
    size: int
    changed: int


NOTHING = Stamp(0, 0, 0)


def stamp(path: Path) -> Stamp:
    """The file's stamp; that of nothing where there is no file."""
    try:
        return _stamp(path.stat())
    except OSError:
        return NOTHING


def shortened(text: str) -> str:
    """What is shown of a very long log, a little less: so that it is shown as a whole, with the words on what is left out."""
    whole = text.encode()
    over = len(whole) - LOG_HEAD_BYTES - LOG_TAIL_BYTES
    left_out = 2 * over + 16  # twice those words; and the halves of a letter take up to three bytes each when they are replaced
    return (whole[: LOG_HEAD_BYTES + over] + whole[LOG_HEAD_BYTES + left_out :]).decode(errors="replace") if over > 0 else text


class Log:
    """One log file as far as it was read: its beginning, its end, and where things are between. Each reading adds what is new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lock = threading.Lock()
        self._known = NOTHING
        self._index = LogIndex()
        self._head = self._tail = b""
        self._has_ends = True

    @property
    def kept_bytes(self) -> int:
        """The memory that it takes, roughly."""
        return len(self._head) + len(self._tail) + self._index.kept_bytes + 1000

    def text(self, remarks: Sequence[Remark] = ()) -> str:
        """The log with the remarks in it; of a very long one the beginning, the measures and the end; "" where there is none."""
        with self.lock:
            self._read_new()
            text = merged(*self._visible(remarks)).decode(errors="replace")
            if "\0" in text:  # over NFS, a hole that an earlier write has yet to fill
                self.forget_ends()
            return text

    def whole(self, remarks: Sequence[Remark] = (), end: str = "") -> Spliced:
        """All of the log, with the remarks in it and a text at its end, as a file to read from; empty where there is none."""
        with self.lock:
            self._read_new()
            file, size = self._open()
            added = self._index.place(remarks, size)
            return Spliced(file, size, [*added, (size, end.encode(errors="replace"))])

    def _open(self) -> tuple[BinaryIO, int]:
        """The file, and how much of it is known."""
        try:
            file = open_regular(self._path)
        except OSError:
            return io.BytesIO(), 0
        return file, min(self._known.size, os.fstat(file.fileno()).st_size)

    def forget_ends(self) -> None:
        """Keep only what costs most to be read again."""
        self._head = self._tail = b""
        self._has_ends = False

    def _read_new(self) -> None:
        try:
            with open_regular(self._path) as file:
                self._read(file.fileno())
        except OSError:
            self._forget()

    def _read(self, handle: int) -> None:
        found = _stamp(os.fstat(handle))
        if found != self._known and (found.inode != self._known.inode or found.size <= self._known.size):
            self._forget()  # another file, or written over
        if not self._has_ends:
            self._read_ends(handle, min(self._known.size, found.size))
        if found == self._known:
            return
        position = self._scan(handle, self._known.size, found.size)
        if position - self._known.size > CHUNK:
            self._read_ends(handle, position)
        self._known = Stamp(found.inode, position, found.changed)

    def _scan(self, handle: int, begin: int, size: int) -> int:
        """Give the index what is new, and keep the ends where that is little; returns up to where there was something."""
        position = self._first_to_scan(handle, begin, size)
        if position > begin:
            self._index.skip_to(position)
        while position < size and (data := os.pread(handle, min(CHUNK, size - position), position)):
            self._index.feed(data)
            position += len(data)
            if position - begin <= CHUNK:
                missing = LOG_HEAD_BYTES - len(self._head)
                self._head += data[:missing]
                self._tail = (self._tail + data[missing:])[-LOG_TAIL_BYTES:]
        return position

    def _first_to_scan(self, handle: int, begin: int, size: int) -> int:
        """Nothing before a hole that is as large as a log, or of more than the runner ever writes."""
        position = max(begin, size - MAX_SCANNED)
        if size - begin <= CHUNK:
            return position
        try:
            return max(position, os.lseek(handle, position, os.SEEK_DATA))
        except OSError as problem:  # there is none, or the file system does not say
            return size if problem.errno == errno.ENXIO else position

    def _read_ends(self, handle: int, size: int) -> None:
        self._head = os.pread(handle, min(size, LOG_HEAD_BYTES), 0)
        begin = max(LOG_HEAD_BYTES, size - LOG_TAIL_BYTES)
        self._tail = os.pread(handle, size - begin, begin) if begin < size else b""
        self._has_ends = True

    def _visible(self, remarks: Sequence[Remark]) -> tuple[list[Insertion], list[Insertion]]:
        """What is shown of the file, and what is inserted into it."""
        size = self._known.size
        placed = self._index.place(remarks, size)
        if size <= LOG_HEAD_BYTES + LOG_TAIL_BYTES:
            return [(0, self._head + self._tail)], placed
        head, tail = _ended(self._head), _begun(self._tail[POINTS_BYTES:])
        begin = size - len(tail)
        points = self._index.points(len(head), begin)
        between = begin - len(head) - sum(len(line) for _, line in points)
        left_out = f"[SERVER] … {between} bytes left out: `cumulus logs` prints all …\n".encode()
        if not head.endswith(b"\n"):
            left_out = b"\n" + left_out
        return [(0, head), *points, (begin, tail)], sorted([(len(head), left_out), *placed], key=lambda one: one[0])

    def _forget(self) -> None:
        self._known = NOTHING
        self._index = LogIndex()
        self._head = self._tail = b""
        self._has_ends = True


class Logs:
    """The logs that were read lately, within ``max_bytes`` of memory. Safe to be used from several threads."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._logs: OrderedDict[Path, Log] = OrderedDict()

    def text(self, path: Path, remarks: Sequence[Remark] = ()) -> str:
        """:meth:`Log.text` of the log at ``path``."""
        log = self._log(path)
        text = log.text(remarks)
        self._make_room(log)
        return text

    def whole(self, path: Path, remarks: Sequence[Remark] = (), end: str = "") -> Spliced:
        """:meth:`Log.whole` of the log at ``path``."""
        log = self._log(path)
        whole = log.whole(remarks, end)
        self._make_room(log)
        return whole

    def _log(self, path: Path) -> Log:
        with self._lock:
            log = self._logs.setdefault(path, Log(path))
            self._logs.move_to_end(path)
            return log

    def _make_room(self, latest: Log) -> None:
        """Forget the ends of the oldest first: what is between them takes longest to be read."""
        with self._lock:
            kept = {path: log.kept_bytes for path, log in self._logs.items()}
            size = sum(kept.values())
            for forget in (self._forget_ends, self._logs.pop):
                for path in list(self._logs):
                    if size <= self._max_bytes or self._logs[path] is latest:
                        break
                    forget(path)
                    size -= kept[path] - (left := self._logs[path].kept_bytes if path in self._logs else 0)
                    kept[path] = left

    def _forget_ends(self, path: Path) -> None:
        log = self._logs[path]
        if log.lock.acquire(blocking=False):  # who is read now is not the oldest for long
            try:
                log.forget_ends()
            finally:
                log.lock.release()


def _ended(head: bytes) -> bytes:
    """Cut at the end of a line, unless that line takes up nearly all."""
    end = head.rfind(b"\n") + 1
    return head[:end] if end > len(head) // 8 else head


def _begun(tail: bytes) -> bytes:
    """Cut at the beginning of a line, as :func:`_ended`."""
    begin = tail.find(b"\n") + 1
    return tail[begin:] if begin < len(tail) * 7 // 8 else tail


def _stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns)
