"""Copying one result into the storage: written under its own name, flushed, and compared with what the storage has then."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Callable, TypeVar

from cumulus_runner import names
from cumulus_runner.errors import StageFailed, Stopped
from cumulus_runner.folder import is_full
from cumulus_runner.programs import StopRequest

CHUNK = 1024 * 1024
READ_BACK = 64 * CHUNK  # larger files are compared by their size only
FULL = "the storage is full"
T = TypeVar("T")
# What a file system says to a name that it does not take, or has already since it does not tell A from a.
REFUSED = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EEXIST})


class Copy:
    """A file of the storage that a result is written to: first the content, then to the disk, then compared.

    The steps are apart so that a storage is given many files before it has to put the first to its disk: one by one, each costs
    its full delay. What fails leaves nothing. ``name``: what the result is called there; ``size`` in bytes.
    """

    def __init__(self, folder: str, name: str) -> None:
        """Raises OSError."""
        self._handle, self.name = _create(folder, name)
        self._path = os.path.join(folder, self.name)
        self.size = 0
        self.sha256 = ""

    def fill(self, source: int, stop: StopRequest) -> None:
        """Write the content of an open file. Raises OSError, Stopped."""
        with self._removed_on_failure():
            self.size, self.sha256 = _pour(source, self._handle, stop)

    def begin_flush(self) -> None:
        """Let the storage begin to put it to its disk, without waiting for that."""
        with suppress(OSError):
            os.posix_fadvise(self._handle, 0, 0, os.POSIX_FADV_DONTNEED)

    def finish(self) -> None:
        """Flush, compare and close it. Raises OSError, StageFailed."""
        with self._removed_on_failure():
            os.fsync(self._handle)
            _compare(self._handle, self.size, self.sha256)
        os.close(self._handle)

    def discard(self) -> None:
        """Leave nothing of it."""
        os.close(self._handle)
        with suppress(OSError):
            os.unlink(self._path)

    @contextmanager
    def _removed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.discard()
            raise


def why(problem: Exception) -> str:
    """Why a file could not be stored."""
    if isinstance(problem, OSError):
        return FULL if is_full(problem) else problem.strerror or str(problem)
    return str(problem) if isinstance(problem, StageFailed) else f"fault in the runner: {type(problem).__name__}: {problem}"


def open_result(path: str, inside: str) -> int | None:
    """The file, or what a link leads to below the folder ``inside``, which ends with a slash; None for anything else.

    No folder on the way may be a link. Raises OSError.
    """
    try:
        handle = _open(path)
    except OSError as problem:
        if problem.errno == errno.ELOOP:
            return _open_linked(path, inside)
        if problem.errno == errno.ENXIO:  # a socket
            return None
        raise
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    return None


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _open_linked(path: str, inside: str) -> int | None:
    real = os.path.realpath(path)
    if not real.startswith(inside) or not os.path.isfile(real):
        return None
    return _open(real)


def make_folder(above: str, name: str) -> str:
    """Make a folder; returns its name: another one where the storage does not take this. Raises OSError."""
    return _named(name, lambda tried: os.mkdir(os.path.join(above, tried), 0o755))[1]


def _create(folder: str, name: str) -> tuple[int, str]:
    """A new file, open, and its name, as for :func:`make_folder`. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
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


def _compare(handle: int, size: int, checksum: str) -> None:
    """Read back what the storage has now, not what this machine remembers of it. Raises StageFailed, OSError."""
    import hashlib

    same = os.fstat(handle).st_size == size
    if same and size <= READ_BACK:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.lseek(handle, 0, os.SEEK_SET)
        found = hashlib.sha256()
        while chunk := os.read(handle, CHUNK):
            found.update(chunk)
        same = found.hexdigest() == checksum
    if not same:
        raise StageFailed("it is not the same in the storage as on the machine")
