"""What was converted once: ``converted/`` in the storage, for later jobs with the same input.

Owns that folder and the key under which a result lies there. Who converts, and who waits for it, is the jobs' matter.
"""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from server.storage.folders import JobFolder
from server.storage.regular import open_regular

INDEX_MARK = b"<indexedmzML"
HEAD_BYTES = 4096
_PART = ".part"


def conversion_key(source: Path, command: Sequence[str], content: str = "") -> str:
    """What a result is known by: the source's name, its content and the command.

    ``content``: a checksum of it; where there is none, its size and time (of a folder: of every file in it). Raises OSError.
    """
    identity = [source.name, content or _files_of(source), list(command)]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def is_indexed(source: Path) -> bool:
    """Whether a file is indexed mzML, by its head as the runner looks at it. Raises OSError."""
    if source.is_dir():
        return False
    with open_regular(source, follow=True) as file:
        return INDEX_MARK in file.read(HEAD_BYTES)


class Converted:
    """The converted files of one storage. Each is there as a whole or not at all, and is never replaced."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "converted"

    @property
    def folder(self) -> Path:
        """Where the results lie, each under its key."""
        return self._folder

    def find(self, key: str) -> Path | None:
        """The result with this key; None where there is none."""
        path = self._folder / key
        with suppress(OSError):
            return path if path.is_file() else None
        return None

    def give(self, key: str, folder: JobFolder, name: str) -> bool:
        """Put the result into a job's ``input/``; False where that cannot be, so that the job must convert for itself."""
        if (path := self.find(key)) is None:
            return False
        target = folder.input / name
        try:
            folder.take(path, name)
            if not target.samefile(path):  # somebody sent a file of this name
                return False
            os.utime(path)
        except OSError:  # removed meanwhile, or linked too often
            return False
        return True

    def publish(self, folder: JobFolder, attempt: int, key_of: Callable[[int], str | None]) -> list[str]:
        """Take what the runner has left in the job's folder; ``key_of``: an input's number -> its key, None: do not take it.

        Returns the keys that are new. What cannot be taken is dropped: it will be converted again.
        """
        taken = []
        for path in folder.converted_files(attempt):
            key = key_of(int(path.name.rpartition(".")[2]))
            if key and self._take(path, key):
                taken.append(key)
            with suppress(OSError):
                path.unlink()
        return taken

    def unused_since(self, before: float) -> list[str]:
        """Keys of the results that no job has taken since a time (Unix seconds), the longest unused first.

        What a killed controller has left half-way is among them.
        """
        found = []
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            with suppress(OSError):
                found.append((path.stat().st_mtime, path.name))
        return [name for used, name in sorted(found) if used < before]

    def size(self, key: str) -> int:
        """Bytes of a result; 0 where there is none."""
        path = self.find(key)
        return 0 if path is None else path.stat().st_size

    def remove(self, key: str) -> None:
        """Forget a result. Jobs that have it keep it. Raises OSError."""
        (self._folder / key).unlink(missing_ok=True)

    def _take(self, source: Path, key: str) -> bool:
        """Two steps: the first links whatever a worker has put there, only the second gives the key."""
        beside = self._folder / (key + _PART)
        try:
            self._folder.mkdir(exist_ok=True)
            beside.unlink(missing_ok=True)
            os.link(source, beside, follow_symlinks=False)
            if not stat.S_ISREG(beside.lstat().st_mode):
                return False
            os.utime(beside)
            os.link(beside, self._folder / key)
        except OSError:
            return False
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
        return True


def _files_of(source: Path) -> list[tuple[str, int, int]]:
    if not source.is_dir():
        return [_seen(source, "")]
    found = []
    for folder, _, names in os.walk(source):
        for name in names:
            path = Path(folder, name)
            found.append(_seen(path, path.relative_to(source).as_posix()))
    return sorted(found)


def _seen(path: Path, name: str) -> tuple[str, int, int]:
    status = path.stat()
    return name, status.st_size, status.st_mtime_ns
