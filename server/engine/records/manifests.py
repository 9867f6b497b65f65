"""A job's rows as a file in its folder, from which a lost database can be made again. The record is written beside it.

Owns the format: the job's row and all that the other tables have of the job (its machines, what happened to both, conversions).
That of the record is in :mod:`server.engine.records.record`. The table ``unwritten`` says whose file is behind its rows, whoever
changed those; :meth:`Manifests.keep_up` writes them. Of a deleted job the storage's ledger keeps what is left.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.db.cached_sql import rows
from server.db.models import Conversion, Event, Job, Row, StoredSetting, Worker
from server.db.opening import OWNER
from server.db.transactions import exclusive
from server.engine.duties.timekeeping import MARK
from server.engine.records.record import recorded_state, write_record
from server.engine.records.recording import Learned, assembled
from server.states import JobState, WorkerState
from server.storage.folders import JobFolder, Storage
from server.storage.ledger import MAX_NUMBER

VERSION = 2  # with it a manifest has all that the database has of a job; 1 had a part of the row, and did not say which
MENDED = 1000  # jobs
AT_ONCE = 50  # manifests that are written before the database is told
RETRY_S = 60.0  # so long a folder is left alone that took no manifest
log = structlog.get_logger()

Number = Annotated[int, Field(gt=0, le=MAX_NUMBER)]
Count = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Time = Annotated[float, Field(allow_inf_nan=False)]


class _Kept(BaseModel):
    model_config = ConfigDict(extra="ignore")


class KeptWorker(_Kept):
    """The row of a machine that was made for the job. Times are Unix seconds."""

    id: Number
    name: str
    flavor: str
    weight: Count
    state: WorkerState
    state_since: Time
    not_before: Time
    created: Time
    ended: Time | None
    address: str
    port: Count
    boot: str
    attempt: Count
    failures: Count
    held_until: Time
    message: str


class KeptEvent(_Kept):
    """What happened to the job, or to a machine of it."""

    id: Number
    at: Time
    subject: Literal["job", "worker"]
    subject_id: Number
    who: str
    old: str
    new: str
    reason: str
    text: str


class KeptConversion(_Kept):
    """An input of the job that becomes mzML."""

    id: Number
    number: Count
    name: str
    key: str


class Manifest(_Kept):
    """A job's row without its settings, which have a file of their own, and what the other tables have of it."""

    id: Number
    version: Count = 1
    folder: str = ""
    owner: str
    app: str
    flavor: str
    weight: Count
    description: str = ""
    inputs: str = ""
    workflow: str = ""
    start_after: Number | None = None
    state: JobState = JobState.UPLOADING
    state_since: Time = 0.0
    not_before: Time = 0.0
    outcome: str = ""
    reason: str = ""
    message: str = ""
    attempt: Count = 0
    spared: Count = 0
    warning: str = ""
    figures: str = ""
    priority: Count = 0
    created: Time
    started: Time | None = None
    ended: Time | None = None
    workers: tuple[KeptWorker, ...] = ()
    events: tuple[KeptEvent, ...] = ()
    conversions: tuple[KeptConversion, ...] = ()


class KeptSwitch(_Kept):
    """A row of the installation's switches."""

    name: str
    value: str
    at: Time
    who: str


class Manifests:
    """The manifests and the records of one storage. Safe to be used from several threads. ``steady``: seconds that never jump."""

    def __init__(self, storage: Storage, steady: Callable[[], float] = lambda: 0.0) -> None:
        self._storage = storage
        self._steady = steady
        self._lock = threading.Lock()
        self._left_alone: dict[int, float] = {}
        self._switches = ""

    def write(self, job_id: int, learned: Learned | None = None) -> None:
        """Write rows and record as they are now; a folder that takes nothing keeps no step from going on."""
        with self._lock:  # or who has read an older row might be the last to write
            job = Job.get_by_id(job_id)
            if job.state == JobState.DELETED:
                return
            try:
                write_manifest(job, self._storage.folder(job.folder), learned)
            except OSError as problem:
                log.warning("a job's manifest could not be written", job_id=job_id, detail=str(problem))
            except Exception:  # what is wrong with a record keeps no job from its end; it is mended later
                log.exception("a job's record could not be written", job_id=job_id)

    def is_behind(self) -> bool:
        """Whether there is a manifest to write that may be written now."""
        return bool(self._due()) or (self._may_try(_SWITCHES) and switches_text() != self._switches)

    def keep_up(self, unwanted: Callable[[], bool] = lambda: False) -> None:
        """Write what the storage does not know yet of the rows, until nothing is left or somebody wants no more of it."""
        self._keep_switches()
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
        """Whose manifest is behind, and how many changes; the newest first, since people look at those."""
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

    def _keep_switches(self) -> None:
        text = switches_text()
        if text == self._switches or not self._may_try(_SWITCHES):
            return
        try:
            if self._storage.is_there():
                self._storage.ledger.keep_switches(text)
                self._switches = text
                return
        except OSError as problem:
            log.warning("the switches could not be kept in the storage", detail=str(problem))
        self._left_alone[_SWITCHES] = self._steady() + RETRY_S

    def mend(self) -> list[int]:
        """Write the records of ended jobs that a killed controller has left without the end; returns the jobs' numbers.

        Looks at the newest only: it leaves no more than it was at work on.
        """
        states = [JobState.DONE, JobState.FAILED, JobState.CANCELLED]
        ended = Job.select(Job.id, Job.state, Job.folder).where(Job.state.in_(states)).order_by(Job.id.desc()).limit(MENDED)
        left = [row.id for row in ended if self._lacks_its_end(row)]
        for number in left:
            self.write(number)
        return left

    def _lacks_its_end(self, row: Job) -> bool:
        folder = self._storage.folder(row.folder)
        return folder.path.is_dir() and not folder.documents.is_taken_over() and recorded_state(folder) != row.state


_SWITCHES = 0  # no job's number
OF_ONE_DATABASE = (OWNER, MARK)  # switches: whose it is, and where its time stands
_KEPT = "name NOT IN (?, ?) ORDER BY name"
_UNWRITTEN = "SELECT job_id, changes FROM unwritten ORDER BY job_id DESC LIMIT ?"
_AGAIN = "INSERT INTO unwritten VALUES (?, 1) ON CONFLICT (job_id) DO UPDATE SET changes = changes + 1"
_WRITTEN = "DELETE FROM unwritten WHERE job_id = ? AND changes = ?"


def forget_unwritten(job_id: int) -> None:
    """What the job's manifest says is what its rows say; within the transaction that made it so."""
    Job._meta.database.execute_sql("DELETE FROM unwritten WHERE job_id = ?", (job_id,))


def keep_again(numbers: Sequence[int]) -> None:
    """Have the storage told of these jobs once more: it has lost what it knew of them."""
    with exclusive():
        for number in numbers:
            Job._meta.database.execute_sql(_AGAIN, (number,))


def write_manifest(job: Job, folder: JobFolder, learned: Learned | None = None) -> None:
    """Write rows and record. Raises OSError."""
    folder.private.keep("job", manifest_text(job))
    write_record(assembled(job, folder, learned), folder)


def manifest_text(job: Job) -> str:
    """All that the database has of a job but its settings, as JSON."""
    with Job._meta.database.atomic():  # all as of one moment
        job = Job.get_by_id(job.id)
        workers = rows(Worker, "job_id = ? ORDER BY id", job.id)
        parts = {
            "workers": [_fields(KeptWorker, worker) for worker in workers],
            "events": [_fields(KeptEvent, event) for event in _events(job.id, [worker.id for worker in workers])],
            "conversions": [_fields(KeptConversion, one) for one in rows(Conversion, "job_id = ? ORDER BY id", job.id)],
        }
    return json.dumps({"version": VERSION, **_fields(Manifest, job), **parts}, indent=1) + "\n"


def switches_text() -> str:
    """The switches as JSON, but for those that are of one database: whose it is, and where its time stands."""
    return json.dumps([_fields(KeptSwitch, one) for one in rows(StoredSetting, _KEPT, *OF_ONE_DATABASE)], indent=1) + "\n"


def _events(job_id: int, workers: list[int]) -> list[Event]:
    marks = ", ".join("?" for _ in workers)
    of_job = rows(Event, "subject = 'job' AND subject_id = ?", job_id)
    of_workers = rows(Event, f"subject = 'worker' AND subject_id IN ({marks})", *workers) if workers else []
    return sorted([*of_job, *of_workers], key=lambda event: event.id)


def _fields(kept: type[_Kept], row: Row | StoredSetting) -> dict[str, Any]:
    return {name: row.__data__[name] for name in kept.model_fields if name in row.__data__}


def read_manifest(folder: JobFolder) -> Manifest | None:
    """The manifest; None where there is none, or something else."""
    with suppress(OSError):
        return parse_manifest(folder.private.text("job"))
    return None


def parse_manifest(text: str) -> Manifest | None:
    """The manifest that a text is; None where it is something else."""
    try:
        return Manifest.model_validate_json(text)
    except (ValidationError, ValueError):
        return None


def parse_switches(text: str) -> Iterator[KeptSwitch]:
    """The switches that a text has; what is none is left out."""
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        for one in found if isinstance(found, list) else []:
            with suppress(ValidationError):
                yield KeptSwitch.model_validate(one)
