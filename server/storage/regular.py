"""Reading what somebody else has put into the storage: regular files only, and no more of them than is asked for.

A FIFO would hold up whoever opens it, a device has no end, a link may lead anywhere.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

MAX_VALUES = 2_000_000  # in one JSON text, as they are separated: some 300,000 results with their checksums


def open_regular(path: Path, *, follow: bool = False) -> BinaryIO:
    """The file, opened for reading at once or not at all. ``follow``: also where a link leads. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "rb")


def read_regular(path: Path, limit: int) -> bytes:
    """The whole file, of ``limit`` bytes at most. Raises OSError, also where it is longer."""
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, "larger than it may be", str(path))
    return content


def read_listing(path: Path, limit: int) -> bytes:
    """As :func:`read_regular`, of JSON that fits into memory once it is read: a value of two bytes takes a hundred then."""
    content = read_regular(path, limit)
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise OSError(errno.EFBIG, "has more entries than it may", str(path))
    return content


def is_regular(path: Path) -> bool:
    """Whether a regular file lies there; False where nothing does. Raises OSError where something else does."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return True
