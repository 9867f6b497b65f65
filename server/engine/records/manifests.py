"""Keeps the files in the job folders up to date with the database: each job's manifest and, beside it, its record.

The formats are :mod:`server.engine.records.manifest_format`'s and :mod:`server.engine.records.record`'s. The table ``unwritten``
says whose file is behind its rows, whoever changed those; :meth:`Manifests.keep_up` writes them. Of a deleted job the ledger in
the storage keeps what is left.
"""

import threading
from collections.abc import Callable, Sequence

import structlog

from server.db.models import Job
from server.db.transactions import exclusive
from server.engine.records.manifest_format import manifest_text, stored_settings_text
from server.engine.records.record import recorded_state, write_record
from server.engine.records.recording import Learned, assembled
from server.states import JobState
from server.storage.folders import JobFolder, Storage

CHECKED = 1000  # jobs
AT_ONCE = 50  # manifests that are written before the database records it
RETRY_S = 60.0  # for which a folder is left alone that took no manifest
_SETTINGS = 0  # no job's number
_UNWRITTEN = "SELECT job_id, changes FROM unwritten ORDER BY job_id DESC LIMIT ?"
_AGAIN = "INSERT INTO unwritten VALUES (?, 1) ON CONFLICT (job_id) DO UPDATE SET changes = changes + 1"
_WRITTEN = "DELETE FROM unwritten WHERE job_id = ? AND changes = ?"
log = structlog.get_logger()


class Manifests:
    """The manifests and the records of one storage. Safe to be used from several threads. ``steady``: seconds that never jump."""

    def __init__(self, storage: Storage, steady: Callable[[], float] = lambda: 0.0) -> None:
        self._storage = storage
        self._steady = steady
        self._lock = threading.Lock()
        self._left_alone: dict[int, float] = {}
        self._settings = ""

    def write(self, job_id: int, learned: Learned | None = None) -> None:
        """Write manifest and record as the rows are now; a folder that cannot be written stops no step."""
        with self._lock:  # or whoever has read an older row might be the last to write
            job = Job.get_by_id(job_id)
            if job.state == JobState.DELETED:
                return
            try:
                write_manifest(job, self._storage.folder(job.folder), learned)
            except OSError as problem:
                log.warning("a job's manifest could not be written", job_id=job_id, detail=str(problem))
            except Exception:  # a faulty record keeps no job from its end; it is completed later
                log.exception("a job's record could not be written", job_id=job_id)

    def is_behind(self) -> bool:
        """Whether there is a manifest to write that may be written now."""
        return bool(self._due()) or (self._may_try(_SETTINGS) and stored_settings_text() != self._settings)

    def keep_up(self, unwanted: Callable[[], bool] = lambda: False) -> None:
        """Write whatever is behind its rows, until nothing is left or ``unwanted``."""
        self._keep_settings()
        while not unwanted() and self._keep_some():
            pass

    def _keep_some(self) -> bool:
        due = self._due()
        written = [(number, changes) for number, changes in due if self._kept(number)]
        later = self._steady() + RETRY_S
        for one in due:
            self._left_alone.pop(one[0], None)
            if one not in written:
                self._left_alone[one[0]] = later
        with exclusive():
            for one in written:
                Job._meta.database.execute_sql(_WRITTEN, one)
        return bool(written)

    def _due(self) -> list[tuple[int, int]]:
        """Whose manifest is behind, and how many changes; the newest first, because people open those."""
        found = Job._meta.database.execute_sql(_UNWRITTEN, (AT_ONCE + len(self._left_alone),))
        return [one for one in found if self._may_try(one[0])][:AT_ONCE]

    def _may_try(self, job_id: int) -> bool:
        return self._left_alone.get(job_id, 0.0) <= self._steady()

    def _kept(self, job_id: int) -> bool:
        """Write one manifest; False where that has to be tried again."""
        if not self._storage.is_there():
            return False
        with self._lock:
            job = Job.get_or_none(Job.id == job_id)
            try:
                if job is not None:
                    self._keep(job, self._storage.folder(job.folder))
            except OSError as problem:
                log.warning("a job's manifest could not be written", job_id=job_id, detail=str(problem))
                return False
            return True

    def _keep(self, job: Job, folder: JobFolder) -> None:
        if job.state == JobState.DELETED:
            self._storage.ledger.bury(job.folder, manifest_text(job), folder.documents.manifest_path)
        else:
            folder.private.keep("job", manifest_text(job))

    def _keep_settings(self) -> None:
        text = stored_settings_text()
        if text == self._settings or not self._may_try(_SETTINGS):
            return
        try:
            if self._storage.is_there():
                self._storage.ledger.keep_switches(text)
                self._settings = text
                return
        except OSError as problem:
            log.warning("the stored settings could not be written to the storage", detail=str(problem))
        self._left_alone[_SETTINGS] = self._steady() + RETRY_S

    def complete_records(self) -> list[int]:
        """Write the records of ended jobs that a killed controller has left without the end; returns the jobs' numbers.

        Reads the newest only: a controller leaves no more than it was working on.
        """
        states = [JobState.DONE, JobState.FAILED, JobState.CANCELLED]
        ended = Job.select(Job.id, Job.state, Job.folder).where(Job.state.in_(states)).order_by(Job.id.desc()).limit(CHECKED)
        left = [row.id for row in ended if self._lacks_its_end(row)]
        for number in left:
            self.write(number)
        return left

    def _lacks_its_end(self, row: Job) -> bool:
        folder = self._storage.folder(row.folder)
        return folder.path.is_dir() and not folder.documents.is_taken_over() and recorded_state(folder) != row.state


def forget_unwritten(job_id: int) -> None:
    """The job's manifest is up to date with its rows; within the transaction that made it so."""
    Job._meta.database.execute_sql("DELETE FROM unwritten WHERE job_id = ?", (job_id,))


def keep_again(numbers: Sequence[int]) -> None:
    """Have these jobs' manifests written again: the storage has lost them."""
    with exclusive():
        for number in numbers:
            Job._meta.database.execute_sql(_AGAIN, (number,))


def write_manifest(job: Job, folder: JobFolder, learned: Learned | None = None) -> None:
    """Write manifest and record. Raises OSError."""
    folder.private.keep("job", manifest_text(job))
    write_record(assembled(job, folder, learned), folder)
