"""The job's folder in the storage: the files by which the runner tells the controller how the job stands.

All may be on NFS. What must be seen whole is written beside and renamed.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass

from cumulus_runner.errors import AlreadyStarted, RunnerError

CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Result:
    """How an attempt ended. ``stage``: where; "done" if all went to its end. ``exit_code``: the app's, 128 + n after signal n,
    1 where it did not run. Times are Unix seconds.
    """

    attempt: int
    exit_code: int
    stage: str
    message: str
    end_tag_seen: bool | None
    started: float
    ended: float


class JobFolder:
    """One job's folder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def private(self, name: str) -> str:
        """The path of one of the files that users do not see."""
        return os.path.join(self.path, ".cumulus." + name)

    def take_up(self, attempt: int, worker: str) -> None:
        """Claim the attempt, for ever. Raises AlreadyStarted where it was claimed before, RunnerError."""
        try:
            handle = os.open(self.private(f"attempt.{attempt}"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            raise AlreadyStarted(f"attempt {attempt} was started before") from None
        except OSError as problem:
            raise RunnerError(f"the job's folder cannot be written: {problem.strerror}: {self.path}") from None
        with suppress(OSError), os.fdopen(handle, "w") as file:  # the name is what counts, and a full storage takes no more
            file.write(f"{worker} {time.time():.3f}\n")

    def release(self, attempt: int) -> None:
        """Give the claim back: nothing was begun."""
        with suppress(OSError):
            os.unlink(self.private(f"attempt.{attempt}"))

    def introduce(self, pid: int) -> None:
        """Say which process on which machine has the job."""
        self._write("pid", f"{pid}\n")
        self._write("host", socket.gethostname() + "\n")

    def beat(self, now: float) -> None:
        """Say that the runner is alive; the file's time is the storage's own. Needs no room once the file is there."""
        try:
            os.utime(self.private("alive"))
        except FileNotFoundError:
            self._write("alive", f"{now:.0f}\n")

    def show_waiting(self, what: str, *, waits: bool) -> None:
        """Let the controller see that something waits for room in the storage, or no longer does."""
        path = self.private(f"full.{what}")
        with suppress(OSError):
            if waits:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
            else:
                os.unlink(path)

    def must_stop(self) -> bool:
        """Whether the controller asks the job to end."""
        return os.path.exists(self.private("stop"))

    def keep_converted(self, attempt: int, number: int, path: str, stopped: Callable[[], bool]) -> None:
        """Leave a converted input for the controller to take; its name appears when all of it is on disk. Raises OSError."""
        folder = self.private("converted")
        with suppress(FileExistsError):
            os.mkdir(folder, 0o755)
        name = os.path.join(folder, f"{attempt}.{number}")
        try:
            if _copy_synced(path, f"{name}.part", stopped):
                os.rename(f"{name}.part", name)
        finally:
            with suppress(OSError):
                os.unlink(f"{name}.part")

    def conclude(self, result: Result, report: str, wait: Callable[[OSError], bool]) -> None:
        """Write the report, then the result, on disk when this returns.

        ``wait`` is called where the storage is full or away, and says whether to try again; at last the result alone is tried.
        """
        text = json.dumps(asdict(result)) + "\n"
        while problem := self._not_concluded(report=report, result=text):
            if not wait(problem):
                self._not_concluded(result=text)
                return

    def _not_concluded(self, **texts: str) -> OSError | None:
        try:
            self._write_synced(texts)
        except OSError as problem:
            return problem
        return None

    def _write_synced(self, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            beside = self.private(f"{name}.new")
            try:
                with open(beside, "w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(beside, self.private(name))
            except OSError:
                with suppress(OSError):
                    os.unlink(beside)
                raise
        sync_folder(self.path)

    def _write(self, name: str, text: str) -> None:
        with open(self.private(name), "w", encoding="utf-8") as file:
            file.write(text)


def _copy_synced(source: str, target: str, stopped: Callable[[], bool]) -> bool:
    """Copy a regular file, on disk when this returns; False: stopped before the end. Nobody may change the copy."""
    with suppress(FileNotFoundError):
        os.unlink(target)
    handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as read:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        with open(target, "xb") as write:
            while chunk := read.read(CHUNK):
                if stopped():
                    return False
                write.write(chunk)
            write.flush()
            os.fchmod(write.fileno(), 0o444)
            os.fsync(write.fileno())
    return True


def sync_folder(path: str) -> None:
    """Make names that were given in a folder survive a crash of the storage."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as problem:
        if problem.errno not in (errno.EINVAL, errno.ENOTSUP):  # not every file system can do that, or needs to
            raise
    finally:
        os.close(handle)


def is_full(problem: OSError) -> bool:
    """Whether something could not be written for lack of space."""
    return problem.errno in (errno.ENOSPC, errno.EDQUOT)
