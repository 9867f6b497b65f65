"""Measures how much of the storage an ended job keeps, once; usage is counted from that.

What counts is what only this job keeps: its results, log and documents, and those of its input files that nothing else links to.
"""

from collections.abc import Callable

import structlog

from programs.errors import explained
from server.db.cached_sql import tuples
from server.db.models import Job
from server.storage.data import Freeing
from server.storage.folders import Storage

AT_ONCE = 200  # jobs that are measured before the next look at the database
# As in the index job_unmeasured. The newest first: what was measured late is counted late.
_UNMEASURED = "kept_bytes IS NULL AND state IN ('done', 'failed', 'cancelled') AND id < ? ORDER BY id DESC LIMIT ?"
_BEYOND = 2**62
log = structlog.get_logger()


class Sizes:
    """The sizes of one storage's ended jobs."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def keep_up(self, unwanted: Callable[[], bool] = lambda: False) -> int:
        """Measure the jobs that have ended since, until ``unwanted``; returns how many."""
        measured, before = 0, _BEYOND
        while not unwanted() and (found := list(tuples(Job, ("id", "folder"), _UNMEASURED, before, AT_ONCE))):
            for job_id, folder in found:
                if unwanted():
                    break
                measured += self._measure(job_id, folder)
            before = found[-1][0]
        return measured

    def _measure(self, job_id: int, folder: str) -> bool:
        """Whether it could be measured: a folder that is not there while the storage is away is measured later."""
        if not self._storage.is_there():
            return False
        try:
            size = Freeing().by(self._storage.folder(folder).path)
        except OSError as problem:
            log.warning("a job's folder could not be measured", job_id=job_id, detail=explained(problem))
            return False
        Job.update(kept_bytes=size).where(Job.id == job_id, Job.kept_bytes.is_null()).execute()
        return True
