"""Reading what somebody else has put into the storage, see :mod:`programs.regular`; here what only listings need."""

import errno
from pathlib import Path

from programs.regular import is_regular, open_regular, read_regular

__all__ = ["MAX_VALUES", "is_regular", "open_regular", "read_listing", "read_regular"]

MAX_VALUES = 2_000_000  # in one JSON text, as they are separated: some 300,000 results with their checksums


def read_listing(path: Path, limit: int) -> bytes:
    """As :func:`read_regular`, of JSON that fits into memory once it is read: a value of two bytes takes a hundred then."""
    content = read_regular(path, limit)
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise OSError(errno.EFBIG, "has more entries than it may", str(path))
    return content
