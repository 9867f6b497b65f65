"""What was converted once: ``converted/`` in the storage, for later jobs with the same input.

Owns that folder and the key of a result there. Who converts, and who waits for it, is decided in
:mod:`server.engine.launching.conversion_cache`.
"""

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from server.storage.folders import JobFolder

RUNNER = Path(__file__).parents[2] / "infra" / "ansible" / "roles" / "worker_base" / "files" / "cumulus-runner"
_PART = ".part"
log = structlog.get_logger()


def conversion_key(source: Path, command: Sequence[str], content: str = "") -> str:
    """What a result is known by: the source's name, its content and the command.

    ``content``: a checksum of it; where there is none, its size and time (of a folder: of every file in it). Raises OSError.
    """
    identity = [source.name, content or _files_of(source), list(command)]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def is_whole(path: Path) -> bool:
    """Whether a file is mzML, all of it, as the runner would say: it is asked, since it knows. Reads the whole file."""
    done = subprocess.run(
        [sys.executable, "-I", str(RUNNER), "inspect", "--name", "converted.mzML", str(path)], capture_output=True, check=False
    )
    return done.returncode == 0


class Converted:
    """The converted files of one storage. Each is there as a whole or not at all, and is never replaced.

    What a runner leaves was judged there. What a former version has left was not: it is read once (``is_whole``) before a job
    gets it. That a result was judged is an empty file with its key in ``.cumulus.checked``.
    """

    def __init__(self, root: Path, is_whole: Callable[[Path], bool] = is_whole) -> None:
        self._folder = root / "converted"
        self._marks = root / ".cumulus.checked"
        self._is_whole = is_whole

    @property
    def folder(self) -> Path:
        """The folder of the results, each under its key."""
        return self._folder

    def find(self, key: str) -> Path | None:
        """The result with this key; None where there is none."""
        path = self._folder / key
        with suppress(OSError):
            return path if path.is_file() else None
        return None

    def give(self, key: str, folder: JobFolder, name: str) -> bool:
        """Put the result into a job's ``input/``; False where that cannot be, so that the job must convert for itself."""
        if (path := self.find(key)) is None or not self._is_checked(key, path):
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
        for path in folder.reports.converted_files(attempt):
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
        (self._marks / key).unlink(missing_ok=True)
        (self._folder / key).unlink(missing_ok=True)

    def _is_checked(self, key: str, path: Path) -> bool:
        """Whether a result is known to be whole; any other is removed."""
        if (self._marks / key).exists():
            return True
        if self._is_whole(path):
            self._mark(key)
            return True
        log.warning("a converted file of a former version is not whole: it is made anew", key=key)
        with suppress(OSError):
            self.remove(key)
        return False

    def _mark(self, key: str) -> None:
        """Remember that a result was judged; where that cannot be, it is read again."""
        with suppress(OSError):
            self._marks.mkdir(exist_ok=True)
            (self._marks / key).touch()

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
            self._mark(key)
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
