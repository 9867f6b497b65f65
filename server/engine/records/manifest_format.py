"""A job's rows as a text, from which a lost database can be rebuilt.

Owns the format: the job's row and all that the other tables have of the job (its machines, what happened to both, conversions).
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.db.account_queries import GENERATION
from server.db.cached_sql import rows
from server.db.models import Batch, Conversion, Event, Job, Row, StoredSetting, Worker
from server.db.opening import OWNER
from server.engine.duties.timekeeping import MARK
from server.states import JobState, WorkerState
from server.storage.folders import JobFolder
from server.storage.ledger import MAX_NUMBER

VERSION = 2  # with it a manifest has all that the database has of a job; 1 had a part of the row, and did not say which
SIGNING_KEY = "signing_key"  # of prepared launches
# Stored settings: which installation owns it, its clock mark, its key, which change of accounts was its last.
OF_ONE_DATABASE = (OWNER, MARK, SIGNING_KEY, GENERATION)
_KEPT = "name NOT IN (?, ?, ?, ?) ORDER BY name"

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


class KeptBatch(_Kept):
    """The row of the batch that the job is one of."""

    id: Number
    owner: str
    app: str
    name: str
    request_key: str
    request_digest: str
    size: Count
    created: Time


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
    batch_id: Number | None = None
    batch_position: Count | None = None
    batch_label: str = ""
    replaced_by: Number | None = None
    kept_bytes: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    batch: KeptBatch | None = None
    workers: tuple[KeptWorker, ...] = ()
    events: tuple[KeptEvent, ...] = ()
    conversions: tuple[KeptConversion, ...] = ()


class KeptSetting(_Kept):
    """A row of the installation's stored settings."""

    name: str
    value: str
    at: Time
    who: str


def manifest_text(job: Job) -> str:
    """All that the database has of a job except its settings, as JSON."""
    with Job._meta.database.atomic():  # all as of one moment
        job = Job.get_by_id(job.id)
        workers = rows(Worker, "job_id = ? ORDER BY id", job.id)
        parts = {
            "workers": [_fields(KeptWorker, worker) for worker in workers],
            "events": [_fields(KeptEvent, event) for event in _events(job.id, [worker.id for worker in workers])],
            "conversions": [_fields(KeptConversion, one) for one in rows(Conversion, "job_id = ? ORDER BY id", job.id)],
        }
        batch = None if job.batch_id is None else rows(Batch, "id = ?", job.batch_id)
    return _text(job, batch[0] if batch else None, **parts)


def first_manifest_text(job: Job, batch: Batch | None = None, events: Iterable[Event] = ()) -> str:
    """The same of a job whose rows are about to be made."""
    return _text(job, batch, workers=[], events=[_fields(KeptEvent, event) for event in events], conversions=[])


def _text(job: Job, batch: Batch | None, **parts: list[dict[str, Any]]) -> str:
    of_batch = {} if batch is None else {"batch": _fields(KeptBatch, batch)}
    return json.dumps({"version": VERSION, **_fields(Manifest, job), **of_batch, **parts}, indent=1) + "\n"


def stored_settings_text() -> str:
    """The stored settings as JSON, without those that belong to one database: its owner and its clock mark."""
    return json.dumps([_fields(KeptSetting, one) for one in rows(StoredSetting, _KEPT, *OF_ONE_DATABASE)], indent=1) + "\n"


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
    """The manifest in a text; None where it is something else."""
    try:
        return Manifest.model_validate_json(text)
    except (ValidationError, ValueError):
        return None


def parse_stored_settings(text: str) -> Iterator[KeptSetting]:
    """The stored settings in a text; whatever is none is left out."""
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        for one in found if isinstance(found, list) else []:
            with suppress(ValidationError):
                yield KeptSetting.model_validate(one)
