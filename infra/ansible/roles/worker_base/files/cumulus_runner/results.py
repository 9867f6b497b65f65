"""The way back: everything that the app left in output/ is copied into the job's folder, flushed there and compared.

Only files and folders are taken, and links to files within the work folder: what a link elsewhere shows is not the app's result.
Nothing of the app runs any more when this begins.
"""

from __future__ import annotations

import os
import shutil
import stat
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from cumulus_runner.errors import StageFailed, Stopped
from cumulus_runner.folder import is_full, sync_folder
from cumulus_runner.journal import Journal
from cumulus_runner.orders import Places
from cumulus_runner.programs import StopRequest

CHUNK = 1024 * 1024
READ_BACK = 64 * CHUNK  # larger files are compared by their size only
PART = ".cumulus.part"


@dataclass
class Stored:
    """What was copied."""

    files: int = 0
    size: int = 0
    skipped: list[str] = field(default_factory=list)


class Results:
    """Copies one job's results."""

    def __init__(self, places: Places, journal: Journal, stop: StopRequest) -> None:
        self._source = places.output
        self._inside = os.path.realpath(places.work) + os.sep
        self._target = os.path.join(places.job, "output")
        self._journal = journal
        self._stop = stop

    def store(self) -> Stored:
        """Copy all; on disk when this returns. Raises StageFailed naming the file, Stopped."""
        stored = Stored()
        try:
            self._forget_earlier()
            for folder, names in self._folders():
                self._store_folder(folder, names, stored)
        except OSError as problem:
            raise StageFailed(f"results could not be stored: {_why(problem)}: {problem.filename or self._target}") from None
        if stored.skipped:
            self._journal.server(f"not stored, since they are no files of this job: {', '.join(stored.skipped[:20])}")
        return stored

    def _forget_earlier(self) -> None:
        """What an attempt that broke off here has left is not this one's result. Raises StageFailed, OSError."""
        if os.path.islink(self._target):  # all that it leads to would be removed
            raise StageFailed("results could not be stored: the job's output folder is a link")
        os.makedirs(self._target, exist_ok=True)
        for entry in os.scandir(self._target):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)

    def _folders(self) -> Iterator[tuple[str, list[str]]]:
        """All folders below output/ with what they hold beside folders, relative."""
        for folder, inner, names in os.walk(self._source, onerror=_raise):
            inner.sort()
            links = [name for name in inner if os.path.islink(os.path.join(folder, name))]
            inside = os.path.relpath(folder, self._source)
            yield "" if inside == "." else inside, sorted([*names, *links])

    def _store_folder(self, folder: str, names: list[str], stored: Stored) -> None:
        target = os.path.join(self._target, folder)
        os.makedirs(target, exist_ok=True)
        for name in names:
            self._store_file(os.path.join(folder, name), stored)
        sync_folder(target)

    def _store_file(self, name: str, stored: Stored) -> None:
        source = self._open(os.path.join(self._source, name))
        if source is None:
            stored.skipped.append(name)
            return
        try:
            stored.size += self._copy(source, os.path.join(self._target, name))
            stored.files += 1
        except OSError as problem:
            raise StageFailed(f"result {name} could not be stored: {_why(problem)}") from None
        finally:
            os.close(source)

    def _open(self, path: str) -> int | None:
        """The file, or what a link within the work folder leads to; None for anything else."""
        real = os.path.realpath(path)
        if not real.startswith(self._inside):
            return None
        try:
            handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            if os.path.islink(path) or not os.path.isfile(path):
                return None
            raise
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return handle
        os.close(handle)
        return None

    def _copy(self, source: int, target: str) -> int:
        """Copy an open file, beside and renamed; returns its size."""
        part = target + PART
        try:
            with open(part, "wb", buffering=0) as file:
                size, checksum = self._pour(source, file.fileno())
                os.fsync(file.fileno())
            _compare(part, target, size, checksum)
            os.rename(part, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(part)  # on a full storage its room is needed to say so
            raise
        return size

    def _pour(self, source: int, target: int) -> tuple[int, int]:
        size = checksum = 0
        while chunk := os.read(source, CHUNK):
            if self._stop.made:
                raise Stopped
            checksum = zlib.crc32(chunk, checksum)
            size += len(chunk)
            view = memoryview(chunk)
            while view:
                view = view[os.write(target, view) :]
        return size, checksum


def _compare(part: str, target: str, size: int, checksum: int) -> None:
    """Read back what the storage has now, not what this machine remembers of it. Raises StageFailed."""
    handle = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    try:
        same = os.fstat(handle).st_size == size
        if same and size <= READ_BACK:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            found = 0
            while chunk := os.read(handle, CHUNK):
                found = zlib.crc32(chunk, found)
            same = found == checksum
    finally:
        os.close(handle)
    if not same:
        raise StageFailed(f"result {os.path.basename(target)} is not the same in the storage as on the machine")


def _why(problem: OSError) -> str:
    return "the storage is full" if is_full(problem) else problem.strerror or str(problem)


def _raise(problem: OSError) -> None:
    raise problem
