"""Copying one result into the storage: written under its own name, flushed, and compared with what the storage has then."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import Callable, TypeVar

from cumulus_runner import names
from cumulus_runner.errors import StageFailed, Stopped
from cumulus_runner.programs import StopRequest

CHUNK = 1024 * 1024
READ_BACK = 64 * CHUNK  # larger files are compared by their size only
T = TypeVar("T")
# What a file system says to a name that it does not take, or has already since it does not tell A from a.
REFUSED = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EEXIST})


@dataclass(frozen=True)
class Copied:
    """``name``: what it is called in the storage. ``sha256`` in hexadecimal digits, ``size`` in bytes."""

    name: str
    size: int
    sha256: str


def open_result(path: str, inside: str) -> int | None:
    """The file, or what a link leads to below the folder ``inside``, which ends with a slash; None for anything else.

    Raises OSError.
    """
    real = os.path.realpath(path)
    if not real.startswith(inside):
        return None
    try:
        handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        if os.path.islink(path) or (os.path.lexists(path) and not os.path.isfile(path)):
            return None
        raise
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    return None


def copy(source: int, folder: str, name: str, stop: StopRequest) -> Copied:
    """Copy an open file to ``folder``, there when this returns, or nothing of it. Raises OSError, StageFailed, Stopped."""
    target, kept = _create(folder, name)
    path = os.path.join(folder, kept)
    try:
        with open(target, "wb", buffering=0):
            size, checksum = _pour(source, target, stop)
            os.fsync(target)
        _compare(path, size, checksum)
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise
    return Copied(kept, size, checksum)


def make_folder(above: str, name: str) -> str:
    """Make a folder; returns its name: another one where the storage does not take this. Raises OSError."""
    return _named(name, lambda tried: os.mkdir(os.path.join(above, tried), 0o755))[1]


def _create(folder: str, name: str) -> tuple[int, str]:
    """A new file, open, and its name, as for :func:`make_folder`. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return _named(name, lambda tried: os.open(os.path.join(folder, tried), flags, 0o644))


def _named(name: str, make: Callable[[str], T]) -> tuple[T, str]:
    try:
        return make(name), name
    except OSError as problem:
        if problem.errno not in REFUSED:
            raise
    other = names.short(name)
    return make(other), other


def _pour(source: int, target: int, stop: StopRequest) -> tuple[int, str]:
    import hashlib

    size, checksum = 0, hashlib.sha256()
    os.lseek(source, 0, os.SEEK_SET)
    while chunk := os.read(source, CHUNK):
        if stop.made:
            raise Stopped
        checksum.update(chunk)
        size += len(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(target, view) :]
    return size, checksum.hexdigest()


def _compare(path: str, size: int, checksum: str) -> None:
    """Read back what the storage has now, not what this machine remembers of it. Raises StageFailed, OSError."""
    import hashlib

    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        same = os.fstat(handle).st_size == size
        if same and size <= READ_BACK:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            found = hashlib.sha256()
            while chunk := os.read(handle, CHUNK):
                found.update(chunk)
            same = found.hexdigest() == checksum
    finally:
        os.close(handle)
    if not same:
        raise StageFailed("it is not the same in the storage as on the machine")
