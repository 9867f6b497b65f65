"""The former server's job folders: which one is a job's, what is in it, and what is written beside it. Nothing of theirs changes.

Owns ``.cumulus.form``: the form of a job that was taken over, since its ``.cumulus.settings`` is the former's whole request.
"""

import os
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from server.services.former_server.database import FormerJob
from server.storage.folders import JobFolder, Storage
from server.storage.job_folder.names import FORM
from server.storage.regular import open_regular

AT_WORK_S = 300.0  # the former's machines touch `.cumulus.alive` every few seconds; after three minutes it took a job for ended
MAX_LOG_BYTES = 64 * 1024 * 1024  # of each of the two parts that the first versions kept
MAX_NAMES = 10_000  # of files in an input folder
STANDS_FOR = "imported-"  # how a folder is called that only tells of a job whose own is gone


@dataclass(frozen=True)
class Found:
    """A job's folder. ``problem``: why it has none, "" where it has; ``at_work``: a machine writes there."""

    name: str
    problem: str = ""
    at_work: bool = False
    writable: bool = True


def find_folder(storage: Storage, job: FormerJob, names: Collection[str], now: float | None = None) -> Found:
    """The folder of a row among ``names``, those below ``jobs/``; only its last name counts, wherever the storage was mounted."""
    stand_in = f"{STANDS_FOR}{job.id}"
    if not job.folder.startswith(f"Job_{job.id}_"):
        return Found(stand_in, f"its row names {job.folder[:100]!r} as its folder, which cannot be one of job {job.id}")
    if job.folder not in names:
        return Found(stand_in, "its folder is not there")
    path = storage.jobs / job.folder
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            return Found(stand_in, f"{job.folder} is not a folder but a link, or something else")
    except OSError as problem:
        return Found(stand_in, f"{job.folder} cannot be looked at: {problem.strerror}")
    at_work = _age(path / ".cumulus.alive", time.time() if now is None else now) < AT_WORK_S
    return Found(job.folder, at_work=at_work, writable=os.access(path, os.W_OK | os.X_OK))


def input_names(folder: JobFolder) -> list[str]:
    """What lies in the job's input folder, links to shared data among it."""
    if folder.input.is_symlink():
        return []
    with suppress(OSError), os.scandir(folder.input) as entries:
        return sorted(islice((entry.name for entry in entries if not entry.name.startswith(".cumulus.")), MAX_NAMES))
    return []


def write_beside(folder: JobFolder, form: str, job: FormerJob) -> None:
    """Keep the form, and the log where the row had it. Raises OSError."""
    folder.private.keep(FORM, form)
    if not os.path.lexists(folder.log.path) and (log := _former_log(folder, job)):
        folder.private.keep("log", log)


@contextmanager
def keeping_its_time(path: Path) -> Iterator[None]:
    """Within the block files are added to the folder; afterwards it looks as old as it did. Raises OSError."""
    before = path.stat()
    yield
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _former_log(folder: JobFolder, job: FormerJob) -> str:
    """The two texts that the first versions kept, in the row or in a file each, as one log."""
    out = job.stdout or _part(folder.path / ".cumulus.stdout")
    err = job.stderr or _part(folder.path / ".cumulus.stderr")
    return "".join([*(f"{line}\n" for line in out.splitlines()), *(f"[STDERR] {line}\n" for line in err.splitlines())])


def _part(path: Path) -> str:
    with suppress(OSError), open_regular(path) as file:
        return file.read(MAX_LOG_BYTES).decode(errors="replace")
    return ""


def _age(path: Path, now: float) -> float:
    try:
        return abs(now - path.lstat().st_mtime)
    except OSError:
        return float("inf")
