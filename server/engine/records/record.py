"""The record of a run: ``job.json`` in the job's folder, for people and programs. Owns its format, reading and writing.

There from submission on with what is known by then, whole once the job has ended, and kept when the job's content is removed.
Written beside and renamed. A run's report (``.cumulus.report``) comes from a machine that an app ran on: an invalid entry is left
out. The database is rebuilt from the small ``.cumulus.job`` (:mod:`server.engine.records.manifest_format`), not from this file,
which may list thousands of results, and which people may copy and change.
"""

import json
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, ValidationError
from pydantic_core import PydanticSerializationError

from server.storage.folders import JobFolder

FORMAT = 1
HEAD_BYTES = 1024
_HEAD = re.compile(r'\{\s*"version":\s*[0-9]+,\s*"id":\s*[0-9]+,\s*"state":\s*"(?P<state>[a-z]*)"')
Origin = Literal["sent", "shared", "result", "converted"]
Entry = TypeVar("Entry", bound="Part")
Item = TypeVar("Item")
Several = Annotated[tuple[Item, ...], FailFast()]  # or each of a million wrong ones would be reported


def _as_text(command: object) -> object:
    return " ".join(map(str, command)) if isinstance(command, list | tuple) else command


class Part(BaseModel):
    """Base of all parts."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class RecordedApp(Part):
    """The app's XML as it was run. ``sha256``: of the file; ``submitted_sha256``: when the job was submitted."""

    id: str
    name: str = ""
    version: str = ""
    sha256: str = ""
    submitted_sha256: str = ""
    changed: bool = False


class RecordedFlavor(Part):
    """The machine size that was requested."""

    name: str
    cpus: int = 0
    memory_gb: int = 0


class RecordedMachine(Part):
    """The machine as it described itself."""

    host: str = ""
    cpus: int | None = None
    memory_mb: int | None = None
    kernel: str = ""


class RecordedInput(Part):
    """A file or folder that the job read. ``target``: what the app found it as; ``field``: the form's that named it.

    ``origin``: sent for this job, taken from the shared data, a result (``path`` of ``job``), or the result of an earlier job's
    conversion. ``size`` (bytes) and ``sha256`` are those of the content that was read; None and "" where they are unknown.
    """

    name: str
    target: str = ""
    field: str = ""
    origin: Origin = "sent"
    job: int | None = None
    path: str = ""
    size: int | None = None
    sha256: str = ""
    kind: str = ""
    spectra: int | None = None


class RecordedConversion(Part):
    """An input that became another file. ``version``: as the converter reports it."""

    source: str
    target: str
    command: Annotated[str, BeforeValidator(_as_text)] = ""
    version: str = ""
    spectra: int | None = None


class RecordedResult(Part):
    """A file in ``output/``."""

    path: str
    size: int
    sha256: str = ""


class RecordedFile(Part):
    """How the app ended with one file, where it runs file by file."""

    name: str
    outcome: str
    message: str = ""


class RecordedFigure(Part):
    """A figure that the app reports."""

    name: str
    label: str = ""
    value: float | int | str | None = None
    file: str | None = None


class RecordedAttempt(Part):
    """One attempt. Times are Unix seconds; ``ended`` how: ``outcome`` is the job's state after it."""

    number: int
    worker: str = ""
    snapshot: str = ""
    began: float | None = None
    started: float | None = None
    ended: float | None = None
    outcome: str = ""
    reason: str = ""
    text: str = ""


class RecordedController(Part):
    """Which Cumulus has carried the job."""

    version: str


class JobRecord(Part):
    """All that is known of one job. Times are Unix seconds.

    ``program``: what the app's version command printed on the snapshot, "" where that is unknown. ``command``: the shell text
    that ran.
    """

    # These three first and in this order: see recorded_state.
    version: int = FORMAT
    id: int
    state: str = ""
    owner: str
    description: str = ""
    workflow: str = ""
    start_after: int | None = None
    outcome: str = ""
    reason: str = ""
    message: str = ""
    warnings: Several[str] = ()
    app: RecordedApp
    program: str = ""
    controller: RecordedController = RecordedController(version="")
    cloud: str = ""
    snapshot: str = ""
    flavor: RecordedFlavor
    machine: RecordedMachine = RecordedMachine()
    command: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    inputs: Several[RecordedInput] = ()
    conversions: Several[RecordedConversion] = ()
    files: Several[RecordedFile] = ()
    figures: Several[RecordedFigure] = ()
    results: Several[RecordedResult] = ()
    created: float
    queued: float | None = None
    started: float | None = None
    ended: float | None = None
    attempts: Several[RecordedAttempt] = ()


def read_record(folder: JobFolder) -> JobRecord | None:
    """The record in a job's folder; None where there is none, or something else."""
    try:
        return JobRecord.model_validate_json(folder.record_text())
    except (OSError, ValidationError, ValueError):
        return None


def recorded_state(folder: JobFolder) -> str:
    """The job's state when the record was written; "" where there is none. Reads only the file's beginning."""
    try:
        found = _HEAD.match(folder.record_text(HEAD_BYTES))
    except OSError:
        return ""
    return found["state"] if found else ""


def write_record(record: JobRecord, folder: JobFolder) -> None:
    """Write the record in place of the former one. Raises OSError."""
    folder.write_record(to_text(record))


def to_text(record: JobRecord) -> str:
    """The file's content: UTF-8 JSON, whatever characters a file's name is made of."""
    try:
        return record.model_dump_json(indent=1) + "\n"
    except PydanticSerializationError:  # half of a character, as settings may have
        text = json.dumps(record.model_dump(mode="python"), indent=1, ensure_ascii=False)
        return text.encode("utf-8", "replace").decode("utf-8") + "\n"


def parts_of(kind: type[Entry], entries: Iterable[Any]) -> tuple[Entry, ...]:
    """A run's report as parts of a record; an invalid entry is left out."""
    found = []
    for entry in entries:
        try:
            found.append(kind.model_validate(entry))
        except ValidationError:
            continue
    return tuple(found)
