"""One lock per machine, in one file for all. Owns the locking only.

Open-file-description locks on one byte of the file, chosen by the name: they hold between threads and processes, end
with the process, and leave no file behind per machine. Two names that meet on one byte wait for each other, no more.
"""

import fcntl
import os
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.errors import InfrastructureError
from server.home.files import open_lock

POLL_S = 0.02
# struct flock: l_type, l_whence, l_start, l_len, l_pid (0 for these locks)
FLOCK = struct.Struct("@hhqqi4x")


@contextmanager
def exclusive(path: Path, name: str, limit_s: float) -> Iterator[None]:
    """Hold the lock of ``name`` in the file at ``path``; raises InfrastructureError after ``limit_s`` seconds without.

    What lies in the file's place and is none is set aside.
    """
    with open_lock(path) as file:
        until = time.monotonic() + limit_s
        while not _take(file.fileno(), zlib.crc32(name.encode())):
            if time.monotonic() > until:
                raise InfrastructureError(f"{name} is being worked on by another process for {limit_s:.0f} s")
            time.sleep(POLL_S)
        yield


def _take(file: int, byte: int) -> bool:
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True


def is_held(path: Path, name: str) -> bool:
    """Whether somebody holds the lock of ``name`` now."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # there is none, or something that nobody could have locked
        return False
    with os.fdopen(handle, "rb") as file:
        return not _take(file.fileno(), zlib.crc32(name.encode()))
