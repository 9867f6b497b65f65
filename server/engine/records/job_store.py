"""Creates and deletes jobs with all their traces, together or not at all: row, folder and the storage's ledger.

Database and storage have no common transaction. So the ledger first says what is about to happen, and the row's commit decides.
What a kill leaves in between is finished by :meth:`JobStore.finish_interrupted`, or left out by a rebuild.
"""

import errno
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog
from peewee import OperationalError, SqliteDatabase, chunked

from programs.errors import explained
from server.db.cached_sql import rows
from server.db.job_numbers import JobNumbers, last_number, never_again
from server.db.models import Event, Job
from server.db.transactions import exclusive
from server.db.transitions import Change, add_created, transition
from server.engine.duties.retention import Retention
from server.engine.records.manifest_format import first_manifest_text, manifest_text
from server.engine.records.manifests import forget_unwritten, keep_again
from server.engine.records.record import write_record
from server.engine.records.recording import Learned, assembled
from server.errors import CumulusError
from server.states import JOB_TRANSITIONS, JobState
from server.storage.folders import JobFolder, Storage, StorageUnusable, folder_name

GB = 1_000_000_000
STORAGE_FULL = "the storage is full: no new job can be taken until there is room again"
HOME_FULL = "the disk with the controller's database is full: nothing can be changed until there is room again"
# What describes a deleted job's content. Its inputs stay: retention must know which jobs have used shared data.
FORGOTTEN = {"settings": "{}", "description": "", "message": "", "warning": "", "figures": ""}
_LOOKED_UP = 500  # folders at once
log = structlog.get_logger()


class StorageFull(CumulusError):
    """There is too little room in the storage to take on new work."""

    code = "storage_full"


class HomeFull(CumulusError):
    """There is too little room on the disk with the controller's database."""

    code = "home_full"


class JobStore:
    """The jobs of one installation as rows and folders. ``min_free_gb``: room that has to be left on both disks for a new one."""

    def __init__(
        self,
        database: SqliteDatabase,
        storage: Storage,
        retention: Retention,
        *,
        min_free_gb: float,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._storage = storage
        self._retention = retention
        self._min_free = min_free_gb * GB
        self._clock = clock
        self.numbers = JobNumbers()

    def require_room(self) -> None:
        """Empty the trash if that is needed. Raises StorageFull, HomeFull."""
        if self._storage.free_bytes() < self._min_free:
            self._retention.relieve(self._min_free)
            if self._storage.free_bytes() < self._min_free:
                raise StorageFull(STORAGE_FULL)
        if shutil.disk_usage(Path(self._database.database).parent).free < self._min_free:
            raise HomeFull(HOME_FULL)

    def add(self, learned: Learned, *, whole: bool, also: Callable[[Job], None] = lambda _: None, **fields: Any) -> Job:
        """Row and folder of a new job. ``whole``: no client will send files for it; ``also``: done in the transaction of the row.

        Raises StorageFull, HomeFull, StorageUnusable, OSError, what ``also`` raises, and leaves nothing then.
        """
        self.require_storage()
        with full_disks():
            job = self._new_job(fields)
            try:
                folder = self._new_folder(job, learned, is_whole=whole)
                try:
                    with exclusive(self._database):
                        self._add_row(job, folder, also)
                except BaseException:
                    self.leave_nothing(folder)
                    raise
            except BaseException:
                self.numbers.give_back(job.id)
                raise
        self._storage.ledger.end_submission(job.folder)
        return job

    def _new_job(self, fields: Mapping[str, Any]) -> Job:
        """The row, which is not stored yet."""
        number, now = self.numbers.take(), self._clock()
        folder = folder_name(number, fields["owner"], fields["app"], now)
        return Job(id=number, folder=folder, state=JobState.UPLOADING, state_since=now, created=now, **fields)

    def _new_folder(self, job: Job, learned: Learned, *, is_whole: bool) -> JobFolder:
        """The folder with all but its manifest, or nothing. It takes most of the time, and others may write meanwhile."""
        folder = self._storage.folder(job.folder)
        self.make_folder(job, folder)
        try:
            write_record(assembled(job, folder, learned), folder)
            if is_whole:
                folder.mark_arrived()
        except BaseException:
            self.leave_nothing(folder)
            raise
        return folder

    def _add_row(self, job: Job, folder: JobFolder, also: Callable[[Job], None]) -> None:
        """Row, first event and the manifest with both, within a transaction."""
        add_created(job, Change(job.created, who=job.owner))
        also(job)
        events = rows(Event, "subject = 'job' AND subject_id = ? ORDER BY id", job.id)
        folder.private.keep("job", first_manifest_text(job, events=events))
        forget_unwritten(job.id)

    def delete(self, choose: Callable[[], Sequence[Job]], change: Change) -> list[Job]:
        """Delete those of the chosen jobs that have ended; returns them. They are never shown again.

        ``choose`` is called within the transaction. Raises HomeFull, StorageUnusable, OSError, what ``choose`` raises.
        """
        self.require_storage()
        gone: list[Job] = []
        try:
            with full_disks(), exclusive(self._database):
                for step in choose():
                    state = JobState(Job.get_by_id(step.id).state)
                    if JobState.DELETED in JOB_TRANSITIONS[state]:
                        gone.append(step)
                        self._bury(step, state, change)
        except BaseException:
            for step in gone:
                with suppress(OSError):  # the next start does it
                    self._storage.ledger.exhume(step.folder, self._storage.folder(step.folder).documents.manifest_path)
            raise
        for step in gone:
            self._retention.discard(step, change.at)
        return gone

    def finish_interrupted(self) -> None:
        """Finish what a killed controller was doing, before the first request.

        Submissions that were never confirmed leave nothing, begun deletions are done, and no number is ever reused.
        """
        ledger = self._storage.ledger
        never_again(ledger.last_number())
        for name in ledger.submitting():
            folder = self._storage.folder(name)
            if not Job.select().where(Job.folder == name).exists() and folder.is_untouched():
                log.warning("an interrupted submission is forgotten", folder=name)
                folder.remove()
            ledger.end_submission(name)
        for names in chunked(ledger.deleted(), _LOOKED_UP):
            for job in Job.select().where(Job.folder.in_(names), Job.state != JobState.DELETED):
                self._finish_deletion(job)
        self._restore_ledger()
        self._retention.take_stock(self._clock())

    def _restore_ledger(self) -> None:
        """Write what the ledger has lost of numbers and deleted jobs again, from the rows."""
        ledger = self._storage.ledger
        try:
            ledger.know_number(last_number())
        except OSError as problem:  # the next submission is refused with it
            log.warning("the storage's ledger cannot be written", detail=explained(problem))
        known = set(ledger.deleted())
        deleted = Job.select(Job.id, Job.folder).where(Job.state == JobState.DELETED).order_by(Job.id)
        keep_again([job.id for job in deleted if job.folder not in known])

    def require_storage(self) -> None:
        """A storage that is not mounted must not get a ledger on the disk below. Raises StorageUnusable."""
        self._storage.require_own()
        if not self._storage.is_there():
            raise StorageUnusable(f"the storage {self._storage.root} is away: try again when it is there")

    def make_folder(self, job: Job, folder: JobFolder) -> None:
        """Make the folder of a job whose row is about to be there; the ledger knows of it.

        Raises OSError; FileExistsError where another job's lies there, which stays as it is.
        """
        ledger = self._storage.ledger
        has_failed = ledger.begin(job.id, folder.name)
        if has_failed and folder.is_untouched():  # one whose submission failed, and that could not be removed then
            folder.remove()
        try:
            folder.create(job.settings)
        except FileExistsError:
            ledger.end_submission(folder.name)
            raise
        except BaseException:
            self.leave_nothing(folder)
            raise

    def leave_nothing(self, folder: JobFolder) -> None:
        """Remove the folder of a job that will not have a row."""
        folder.remove()
        if not folder.path.exists():  # else the next start removes it
            self._storage.ledger.end_submission(folder.name)

    def _bury(self, job: Job, state: JobState, change: Change) -> None:
        transition(Job, job.id, state, JobState.DELETED, change, FORGOTTEN)
        if self._storage.ledger.bury(job.folder, manifest_text(job), self._storage.folder(job.folder).documents.manifest_path):
            forget_unwritten(job.id)

    def _finish_deletion(self, job: Job) -> None:
        state = JobState(job.state)
        if JobState.DELETED in JOB_TRANSITIONS[state]:
            log.warning("an interrupted deletion is done now", job_id=job.id)
            transition(
                Job, job.id, state, JobState.DELETED, Change(self._clock(), text="the deletion had been broken off"), FORGOTTEN
            )
        else:  # it cannot have been deleted
            with suppress(OSError):
                self._storage.ledger.exhume(job.folder, self._storage.folder(job.folder).documents.manifest_path)


@contextmanager
def full_disks() -> Iterator[None]:
    """Say which disk is full: files are in the storage, rows in the home."""
    try:
        yield
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(STORAGE_FULL) from None
        raise StorageUnusable(f"the storage cannot be used: {explained(problem)}") from problem
    except OperationalError as problem:
        if "disk is full" in str(problem):
            raise HomeFull(HOME_FULL) from None
        raise
