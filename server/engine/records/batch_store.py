"""Creates many jobs at once, with their folders, or none: their rows appear in one transaction.

As a batch's folders take seconds to make, and nobody else can write while a transaction lasts, the jobs are given their numbers
first, then their folders, with the ledger knowing of each, and their rows last. What a kill leaves before that is removed by
:meth:`server.engine.records.job_store.JobStore.finish_interrupted`.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from peewee import SqliteDatabase

from programs.errors import explained
from server.db.cached_sql import add
from server.db.job_numbers import reserved
from server.db.models import Batch, Job
from server.db.transactions import exclusive
from server.db.transitions import Change, create
from server.engine.records.job_store import JobStore, full_disks
from server.engine.records.manifest_format import first_manifest_text, manifest_text
from server.engine.records.record import write_record
from server.engine.records.recording import Learned, assembled
from server.states import JobState
from server.storage.folders import JobFolder, Storage, folder_name

log = structlog.get_logger()


@dataclass(frozen=True)
class NewJob:
    """A job that was checked. ``whole``: no client will send files for it; ``again``: the job whose input it takes over."""

    fields: dict[str, Any]
    learned: Learned
    whole: bool
    again: Job | None = None


class BatchStore:
    """The batches of one installation. ``clock``: Unix seconds."""

    def __init__(self, database: SqliteDatabase, storage: Storage, store: JobStore, clock: Callable[[], float]) -> None:
        self._database = database
        self._storage = storage
        self._store = store
        self._clock = clock

    def add(self, batch: Batch, new: Sequence[NewJob], who: str, confirm: Callable[[list[Job]], None]) -> list[Job]:
        """Rows and folders of the jobs, and the batch's row where it has none yet; returns the jobs in their order.

        ``confirm`` is called with them within the transaction: what it raises leaves nothing behind.
        Raises StorageFull, HomeFull, StorageUnusable.
        """
        self._store.require_room()
        self._store.require_storage()
        now, is_new = self._clock(), batch.id is None
        made: list[JobFolder] = []
        try:
            with full_disks():
                if is_new:
                    batch.id, batch.created = reserved(Batch, 1), now
                jobs = self._numbered(batch, new, now)
                for job, one in zip(jobs, new, strict=True):
                    made.append(self._folder_of(job, batch, one))
                with exclusive(self._database):
                    confirm(jobs)
                    if is_new:
                        add(batch)
                    for job in jobs:
                        _add_row(job, Change(now, who=who))
        except BaseException:
            for folder in made:
                self._store.leave_nothing(folder)
            raise
        for folder in made:
            self._storage.ledger.end_submission(folder.name)
        for job, one in zip(jobs, new, strict=True):
            if one.again is not None:
                before = self._storage.folder(one.again.folder)
                self._take_input(self._storage.folder(job.folder), before)
                with suppress(OSError):  # then the loop writes it
                    before.private.keep("job", manifest_text(one.again))
        return jobs

    def _numbered(self, batch: Batch, new: Sequence[NewJob], now: float) -> list[Job]:
        """The jobs with their numbers, which nobody else is given."""
        first = self._store.numbers.reserve(len(new))
        self._storage.ledger.know_number(first + len(new) - 1)
        return [
            Job(
                id=number,
                folder=folder_name(number, one.fields["owner"], one.fields["app"], now),
                state=JobState.UPLOADING,
                state_since=now,
                created=now,
                batch_id=batch.id,
                **one.fields,
            )
            for number, one in enumerate(new, first)
        ]

    def _folder_of(self, job: Job, batch: Batch, new: NewJob) -> JobFolder:
        """Make the job's folder with all that it begins with, or nothing. Raises OSError."""
        folder = self._storage.folder(job.folder)
        self._store.make_folder(job, folder)
        try:
            folder.private.keep("job", first_manifest_text(job, batch))
            write_record(assembled(job, folder, new.learned), folder)
            if new.whole:
                folder.mark_arrived()
        except BaseException:
            self._store.leave_nothing(folder)
            raise
        return folder

    def _take_input(self, folder: JobFolder, before: JobFolder) -> None:
        """Link what the job before has in its input; what cannot be had is missed when the job's files are looked at."""
        try:
            if not before.input.is_symlink():
                for path in sorted(before.input.iterdir()):
                    if not path.is_symlink():
                        folder.take(path, path.name)
        except OSError as problem:
            log.warning("the input of a job could not be taken over", folder=before.name, detail=explained(problem))
        finally:
            folder.mark_arrived()


def _add_row(job: Job, change: Change) -> None:
    """The row, with its first event. Its manifest, which lacks that, is written again by the loop."""
    create(Job, change, **{name: value for name, value in job.__data__.items() if name not in ("state_since", "created")})
