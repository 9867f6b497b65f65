"""Job logs as people look at them: again and again while they grow.

Owns which part of a very long log is shown, and what is remembered between two looks. Writing is the runner's matter.
"""

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from server.storage.regular import open_regular

LOG_HEAD_BYTES = 64 * 1024
LOG_TAIL_BYTES = 1024 * 1024
MAX_BYTES = 8 * 1024 * 1024


class Stamp(NamedTuple):
    """What tells whether a file is still as it was; the time in nanoseconds."""

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
    shown = text.encode()
    over = len(shown) - LOG_HEAD_BYTES - LOG_TAIL_BYTES
    left_out = 2 * over + 16  # twice those words; and the halves of a letter take up to three bytes each when they are replaced
    return (shown[: LOG_HEAD_BYTES + over] + shown[LOG_HEAD_BYTES + left_out :]).decode(errors="replace") if over > 0 else text


class Log:
    """One log file as far as it was read: its beginning and its end. A look reads what came since the last one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known = NOTHING
        self._head = b""
        self._tail = b""

    @property
    def kept_bytes(self) -> int:
        """The memory that it takes, roughly."""
        return len(self._head) + len(self._tail) + 1000

    def text(self) -> str:
        """The log; of a very long one the beginning and the end; "" where there is none."""
        with self._lock:
            try:
                with open_regular(self._path) as file:
                    self._read(file.fileno())
            except OSError:
                self._forget()
            text = self._shown()
            if "\0" in text:  # over NFS, a hole that an earlier write has yet to fill
                self._forget()
            return text

    def _read(self, handle: int) -> None:
        found = _stamp(os.fstat(handle))
        if found == self._known:
            return
        if found.inode != self._known.inode or found.size <= self._known.size:  # another file, or written over
            self._forget()
        if len(self._head) < LOG_HEAD_BYTES:
            self._head += os.pread(handle, min(found.size, LOG_HEAD_BYTES) - len(self._head), len(self._head))
        begin = max(self._known.size, LOG_HEAD_BYTES, found.size - LOG_TAIL_BYTES)
        if begin < found.size:
            self._tail = (self._tail + os.pread(handle, found.size - begin, begin))[-LOG_TAIL_BYTES:]
        self._known = found

    def _shown(self) -> str:
        between = self._known.size - LOG_HEAD_BYTES - LOG_TAIL_BYTES
        left_out = f"\n[SERVER] … {between} bytes left out …\n".encode() if between > 0 else b""
        return (self._head + left_out + self._tail).decode(errors="replace")

    def _forget(self) -> None:
        self._known = NOTHING
        self._head = self._tail = b""


class Logs:
    """The logs that were looked at lately, within ``max_bytes`` of memory. Safe to be used from several threads."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._logs: OrderedDict[Path, Log] = OrderedDict()

    def text(self, path: Path) -> str:
        """:meth:`Log.text` of the log at ``path``."""
        with self._lock:
            log = self._logs.setdefault(path, Log(path))
            self._logs.move_to_end(path)
        text = log.text()
        with self._lock:
            while len(self._logs) > 1 and sum(log.kept_bytes for log in self._logs.values()) > self._max_bytes:
                self._logs.popitem(last=False)
        return text


def _stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns)
