"""What people do with batches: submit them, all jobs or none, and cancel, retry and delete what has become of them."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from peewee import IntegrityError, SqliteDatabase

from cumulus_client import batches as api
from server.catalog.apps import Catalog
from server.catalog.values import InputFile
from server.db.models import Batch, Job
from server.db.queries import UNFINISHED
from server.db.transactions import exclusive
from server.db.transitions import Change
from server.db.views.batches import BatchRow, all_jobs, batch_of_request, living_jobs, replace_jobs
from server.engine.duties.retention_plan import needed_steps
from server.engine.records.batch_store import BatchStore, NewJob
from server.engine.records.job_store import JobStore
from server.engine.records.recording import Learned
from server.errors import CumulusError
from server.reasons import Reason
from server.services.batches.lookup import BatchLookup
from server.services.batches.planning import Planned, Planner
from server.services.batches.retrying import Retry
from server.services.jobs.ending import end_job
from server.services.jobs.service import DELETED
from server.services.presets.service import PresetService
from server.services.principal import Forbidden, Principal, Role
from server.states import JobState
from server.storage.folders import Storage

AT_ONCE = 200  # jobs that are changed before others may write


class Conflict(CumulusError):
    """Something else was done with the batch, or under its key."""

    code = "conflict"
    http_status = 409


class BatchService:
    """The batches of this installation. ``wake``: has the loop look at their jobs at once; ``clock``: Unix seconds."""

    def __init__(
        self,
        database: SqliteDatabase,
        catalog: Catalog,
        storage: Storage,
        stores: tuple[JobStore, BatchStore],
        planner: Planner,
        *,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._storage = storage
        self._jobs, self._store = stores
        self._planner = planner
        self._clock = clock
        self._wake = wake
        self._lookup = BatchLookup()
        self._presets = PresetService(catalog, clock)
        self._retry = Retry(catalog, storage)
        self._in_the_making = _Keys()

    def check(self, principal: Principal, request: api.NewBatch) -> api.BatchPlan:
        """What a batch would be; nothing is stored. Raises FaultyBatch, InvalidInput, NotFound, Forbidden."""
        owner = _owner(principal, request)
        form, remarks = self._form(principal, request)
        jobs = self._planner.planned(owner, request, form)
        return api.BatchPlan(jobs=self._planner.shown(jobs, request.sends), remarks=remarks)

    def submit(self, principal: Principal, request: api.NewBatch) -> api.Submitted:
        """Store all jobs of a batch, or none; they start once their files are there.

        The same request with the same key makes no second batch. Raises FaultyBatch, InvalidInput, NotFound, Forbidden, Conflict,
        StorageFull, HomeFull, StorageUnusable.
        """
        owner = _owner(principal, request)
        with self._in_the_making.alone(owner, request.key):
            if known := self._known(owner, request):
                return known
            self._jobs.require_room()
            form, remarks = self._form(principal, request)
            jobs = self._planner.planned(owner, request, form)
            sent = self._planner.require_files(jobs, request.sends)
            batch = Batch(
                owner=owner,
                app=request.app,
                name=request.name or _named_after(jobs),
                request_key=request.key,
                request_digest=_digest(request) if request.key else "",
                size=len(jobs),
            )
            new = [self._new(one, position, sent) for position, one in enumerate(jobs, 1)]
            try:
                made = self._store.add(batch, new, principal.name, lambda _: None)
            except IntegrityError:  # another process has used the key meanwhile
                raise Conflict(f"another batch was submitted with the key {request.key!r}: ask again", field="key") from None
        self._wake()
        waits = [[file.name for file in one.sent(sent)] for one in jobs]
        return _submitted(batch.id, made, waits, remarks)

    def cancel(self, principal: Principal, number: int) -> str:
        """End all jobs of a batch that have not ended, whatever they are doing; returns a sentence.

        Raises NotFound, Forbidden, Conflict where all had ended.
        """
        batch = self._own(principal, number)
        change = Change(self._clock(), who=principal.name, reason=Reason.CANCELLED)
        ended = 0
        for jobs in _chunks(living_jobs(batch.id, UNFINISHED)):
            with exclusive(self._database):
                stopped = [job for job in jobs if end_job(job, JobState.CANCELLED, change)]
            for job in stopped:
                self._storage.folder(job.folder).instructions.request_stop()
            ended += len(stopped)
            self._wake()
        if not ended:
            raise Conflict(f"All jobs of batch {number} had already ended", field="batch")
        return f"{_counted(ended)} of batch {number} {'is' if ended == 1 else 'are'} cancelled"

    def retry(self, principal: Principal, number: int) -> api.Submitted:
        """Submit the failed jobs of a batch again, with the files that they had: each takes the place of the failed one.

        Raises NotFound, Forbidden, Conflict where none has failed, and what :meth:`submit` raises.
        """
        batch = self._own(principal, number)
        row = Batch.get_by_id(batch.id)
        failed = living_jobs(number, "state = 'failed'")
        if not failed:
            raise Conflict(f"No job of batch {number} has failed", field="batch")
        new = self._retry.jobs(failed)

        def replace(jobs: list[Job]) -> None:
            if not replace_jobs((old.id, job.id) for old, job in zip(failed, jobs, strict=True)):
                raise Conflict(f"somebody else retries batch {number}, or deletes jobs of it: look at it again", field="batch")

        made = self._store.add(row, new, principal.name, replace)
        self._wake()
        return _submitted(number, made, [[] for _ in made], [])

    def delete(self, principal: Principal, number: int) -> str:
        """Delete a batch with all its jobs, for everybody and for good; returns a sentence.

        Raises NotFound, Forbidden, Conflict while a job of it has not ended, HomeFull, StorageUnusable.
        """
        batch = self._own(principal, number)
        jobs = all_jobs(batch.id)
        needed = needed_steps()
        if kept := [job.id for job in jobs if job.id in needed]:
            text = f"{_counted(len(kept))} of batch {number} cannot be deleted: not ended, or needed by another: cancel it first"
            raise Conflict(text, field="batch")
        text = DELETED if principal.name == batch.owner else f"deleted by {principal.name}"
        change = Change(self._clock(), who=principal.name, text=text)
        gone = sum(len(self._delete(some, change)) for some in _chunks(jobs))
        return f"Batch {number} is deleted, with {_counted(gone)}"

    def _delete(self, jobs: Sequence[Job], change: Change) -> list[Job]:
        return self._jobs.delete(lambda: [job for job in jobs if job.id not in needed_steps()], change)

    def _own(self, principal: Principal, number: int) -> BatchRow:
        """A batch that is the principal's to change. Raises NotFound, Forbidden."""
        batch = self._lookup.batch(principal, number)
        if not principal.may_use(batch.owner):
            raise Forbidden(f"batch {number} is of {batch.owner}, who alone may change it", field="batch")
        return batch

    def _form(self, principal: Principal, request: api.NewBatch) -> tuple[dict[str, Any], list[str]]:
        """The form of all jobs, and what was left out of the preset."""
        if not request.preset:
            return request.form, []
        found = self._presets.get(principal, request.preset, request.app)
        return {**found.form, **request.form}, [one.why for one in found.misfits]

    def _known(self, owner: str, request: api.NewBatch) -> api.Submitted | None:
        """The batch that was made for the same request. Raises Conflict where its key was used for another."""
        batch = batch_of_request(owner, request.key) if request.key else None
        if batch is None:
            return None
        if batch.request_digest != _digest(request):
            text = f"batch {batch.id} was submitted with the key {request.key!r}, and is another: choose a new key"
            raise Conflict(text, field="key")
        jobs = living_jobs(batch.id)
        sent = set(request.sends)
        waits = [[name for name in job.inputs.split("\n") if name in sent and job.state == JobState.UPLOADING] for job in jobs]
        return _submitted(batch.id, jobs, waits, []).model_copy(update={"is_new": False})

    def _new(self, planned: Planned, position: int, sent: frozenset[str]) -> NewJob:
        asked = planned.checked
        fields = {
            "owner": asked.owner,
            "app": asked.app.id,
            "flavor": asked.flavor.name,
            "weight": asked.flavor.weight,
            "description": asked.description,
            "settings": json.dumps(asked.form),
            "inputs": names_of(asked.inputs),
            "batch_position": position,
            "batch_label": planned.asked.label,
        }
        learned = Learned(asked.app, self._catalog.checksum(asked.app.id), asked.inputs)
        return NewJob(fields, learned, whole=not planned.sent(sent))


class _Keys:
    """The keys of batches that are being made: their folders take a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: set[tuple[str, str]] = set()

    @contextmanager
    def alone(self, owner: str, key: str) -> Iterator[None]:
        """Raises Conflict while a batch with that key is made."""
        with self._lock:
            if key and (owner, key) in self._taken:
                raise Conflict(f"the batch with the key {key!r} is being made: ask again in a moment", field="key")
            self._taken.add((owner, key))
        try:
            yield
        finally:
            with self._lock:
                self._taken.discard((owner, key))


def names_of(files: Sequence[InputFile]) -> str:
    """The names of input files as a job's row has them."""
    return "\n".join(file.name for file in files)


def _owner(principal: Principal, request: api.NewBatch) -> str:
    principal.require(Role.USER)
    owner = request.owner or principal.name
    if not principal.may_use(owner):
        raise Forbidden(f"you may not submit jobs of {owner}", field="owner")
    return owner


def _named_after(jobs: Sequence[Planned]) -> str:
    more = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
    label = "".join(char for char in jobs[0].asked.label if char.isprintable() and char not in "<>&")
    return f"{label[:150]}{more}"


def _digest(request: api.NewBatch) -> str:
    return hashlib.sha256(json.dumps(request.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def _submitted(number: int, jobs: Sequence[Job], waits: Sequence[list[str]], remarks: list[str]) -> api.Submitted:
    shown = [
        api.SubmittedJob(
            job=job.id, position=job.batch_position or 0, label=job.batch_label, folder=job.folder, waits_for=waits_for
        )
        for job, waits_for in zip(jobs, waits, strict=True)
    ]
    return api.Submitted(batch=number, is_new=True, jobs=shown, remarks=remarks)


def _chunks(jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
    for start in range(0, len(jobs), AT_ONCE):
        yield jobs[start : start + AT_ONCE]


def _counted(number: int) -> str:
    return f"{number:,} job{'' if number == 1 else 's'}"
