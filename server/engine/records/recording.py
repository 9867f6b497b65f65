"""Assembles the record of a run: from the row, its events, what was learned at its launch, the run's report, a former record.

Only reads the job's folder and its events. May be repeated at any time with the same result.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from programs.version import VERSION
from server.catalog.apps import App
from server.catalog.flavors import Flavor
from server.catalog.values import InputFile
from server.db.cached_sql import rows
from server.db.models import Event, Job
from server.engine.records.record import (
    JobRecord,
    Origin,
    RecordedApp,
    RecordedAttempt,
    RecordedController,
    RecordedConversion,
    RecordedFigure,
    RecordedFile,
    RecordedFlavor,
    RecordedInput,
    RecordedMachine,
    RecordedResult,
    parts_of,
    read_record,
)
from server.engine.workflows import steps_up_to
from server.states import JobState
from server.storage.folders import JobFolder
from server.storage.inputs.known import KnownInputs, known_inputs
from server.storage.report import RunReport

FORMER = "2.x"  # of the server that ran an imported job
ATTEMPT = "attempt "  # how the event's text begins when a job gets a machine


@dataclass(frozen=True)
class Learned:
    """What is known only at a certain time: at submission the app and the files, at an attempt with its machine all of it."""

    app: App
    sha256: str
    files: Sequence[InputFile]
    cloud: str = ""
    program: str = ""
    snapshot: str = ""
    flavor: Flavor | None = None
    worker: str = ""
    command: str = ""


def assembled(job: Job, folder: JobFolder, learned: Learned | None = None) -> JobRecord:
    """The record of a job as of now."""
    before = read_record(folder)
    if before is not None and (before.id, before.app.id) != (job.id, job.app):  # a copy from another job, or forged
        before = None
    report = folder.reports.run_report(job.attempt) if job.attempt else None
    events = rows(Event, "subject = 'job' AND subject_id = ? ORDER BY id", job.id)
    known = before or _new(job)
    values: dict[str, Any] = {
        **_of_the_row(job),
        "controller": RecordedController(version=FORMER if folder.documents.is_taken_over() else controller_version()),
        "queued": next((event.at for event in events if event.new == JobState.QUEUED), known.queued),
        "attempts": _attempts(known.attempts, events, job.attempt, learned),
        **_of_the_launch(known, job, folder, learned),
    }
    values |= _of_the_run(known.model_copy(update=values), job, folder, report)
    return known.model_copy(update=values)


@cache
def controller_version() -> str:
    """The version of this Cumulus."""
    return VERSION


def _new(job: Job) -> JobRecord:
    app, flavor = RecordedApp(id=job.app), RecordedFlavor(name=job.flavor)
    return JobRecord(id=job.id, owner=job.owner, app=app, flavor=flavor, created=job.created)


def _of_the_row(job: Job) -> dict[str, Any]:
    same = ("owner", "description", "workflow", "start_after", "state", "outcome", "reason", "message")
    times = ("created", "started", "ended")
    settings: Any = {}
    with suppress(ValueError, RecursionError):  # a row from a folder may hold anything
        settings = json.loads(job.settings)
    return {
        **{name: getattr(job, name) for name in (*same, *times)},
        "settings": settings if isinstance(settings, dict) else {},
        "warnings": tuple(job.warning.split("\n")) if job.warning else (),
    }


def _of_the_launch(known: JobRecord, job: Job, folder: JobFolder, learned: Learned | None) -> dict[str, Any]:
    """What was learned, now or before; else what the run plan in the folder says."""
    if learned is None:
        return {
            "command": known.command or _private(folder, "cmd").removesuffix("\n"),
            "inputs": known.inputs
            or _planned(folder)
            or tuple(RecordedInput(name=name) for name in job.inputs.split("\n") if name),
        }
    submitted = known.app.submitted_sha256 or learned.sha256
    app = RecordedApp(
        id=learned.app.id,
        name=learned.app.name,
        version=learned.app.version,
        sha256=learned.sha256,
        submitted_sha256=submitted,
        changed=submitted != learned.sha256,
    )
    values: dict[str, Any] = {"app": app, "inputs": _inputs(job, folder, learned.files)}
    if learned.worker:
        values |= {name: getattr(learned, name) for name in ("cloud", "program", "snapshot", "command")}
    if flavor := learned.flavor:
        values["flavor"] = RecordedFlavor(name=flavor.name, cpus=flavor.cpus, memory_gb=flavor.memory_gb)
    return values


def _of_the_run(known: JobRecord, job: Job, folder: JobFolder, report: RunReport | None) -> dict[str, Any]:
    """What the run reported; of an attempt without a report only its results."""
    if report is None:
        return {"results": known.results or _stored(job, folder)}
    with suppress(ValueError):
        machine = RecordedMachine.model_validate(report.machine)
        known = known.model_copy(update={"machine": machine})
    return {
        "machine": known.machine,
        "inputs": _as_read(known.inputs, parts_of(RecordedInput, report.inputs)),
        "conversions": parts_of(RecordedConversion, report.conversions),
        "files": parts_of(RecordedFile, report.files),
        "figures": parts_of(RecordedFigure, report.figures),
        "warnings": report.warnings or known.warnings,
        "results": parts_of(RecordedResult, report.results) or known.results or _stored(job, folder),
    }


def _inputs(job: Job, folder: JobFolder, files: Iterable[InputFile]) -> tuple[RecordedInput, ...]:
    sent, steps = known_inputs(folder), steps_up_to(job)
    return tuple(_input(file, sent, steps) for file in files)


def _input(file: InputFile, sent: KnownInputs, steps: Sequence[Job]) -> RecordedInput:
    origin: Origin = "sent" if not file.shared or sent.is_sent(file.name) else "shared"
    size, sha256 = sent.content(file.name)
    found = RecordedInput(name=file.name, target=file.target, field=file.parameter, origin=origin, size=size, sha256=sha256)
    if file.result is None:
        return found
    step = steps[file.result.step].id if file.result.step < len(steps) else None
    return found.model_copy(update={"origin": "result", "job": step, "path": file.result.path})


def _planned(folder: JobFolder) -> tuple[RecordedInput, ...]:
    """The inputs in the run plan, where nothing else is left."""
    try:
        inputs = json.loads(_private(folder, "plan"))["inputs"]
        return tuple(
            RecordedInput(name=one["name"], target=one["target"], origin="shared" if one["shared"] else "sent") for one in inputs
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return ()


def _as_read(known: Sequence[RecordedInput], read: Sequence[RecordedInput]) -> tuple[RecordedInput, ...]:
    """The inputs with what the run reported of each; one that no field named was converted by an earlier job."""
    reported = {one.name: one for one in read}
    found = [_with(one, reported.pop(one.name, None)) for one in known if one.origin != "converted"]
    return (*found, *(one.model_copy(update={"origin": "converted"}) for one in reported.values()))


def _with(known: RecordedInput, read: RecordedInput | None) -> RecordedInput:
    """What was read counts, not what was sent."""
    names = ("size", "sha256", "kind", "spectra")
    found = {name: value for name in names if read is not None and (value := getattr(read, name)) not in (None, "")}
    return known.model_copy(update=found)


def _stored(job: Job, folder: JobFolder) -> tuple[RecordedResult, ...]:
    if not JobState(job.state).is_final:
        return ()
    readable = ((path.encode("utf-8", "replace").decode("utf-8"), size) for path, size in folder.results.files())
    return tuple(RecordedResult(path=path, size=size) for path, size in readable)


def _attempts(
    known: Sequence[RecordedAttempt], events: Iterable[Event], current: int, learned: Learned | None
) -> tuple[RecordedAttempt, ...]:
    """All attempts: their ends from the events, their machines as learned; a rebuilt database may have lost the events."""
    found = {one.number: one for one in known}
    for values in _happened(events):
        number = values["number"]
        found[number] = found.get(number, RecordedAttempt(number=number)).model_copy(update=values)
    if learned and learned.worker:
        former = found.get(current, RecordedAttempt(number=current))
        found[current] = former.model_copy(update={"worker": learned.worker, "snapshot": learned.snapshot})
    return tuple(found[number] for number in sorted(found))


def _happened(events: Iterable[Event]) -> list[dict[str, Any]]:
    attempts: list[dict[str, Any]] = []
    for event in events:
        if event.new == JobState.PROVISIONING:
            attempts.append({"number": _number(event.text, len(attempts) + 1), "began": event.at})
        elif attempts and event.new == JobState.RUNNING:
            attempts[-1].setdefault("started", event.at)
        elif attempts and "ended" not in attempts[-1] and _ends(event.new):
            why = {"outcome": event.new, "reason": event.reason, "text": event.text}
            attempts[-1] |= {"ended": event.at, **why}
    return attempts


def _ends(state: str) -> bool:
    return state in (JobState.QUEUED, JobState.DONE, JobState.FAILED, JobState.CANCELLED)


def _number(text: str, default: int) -> int:
    digits = text.removeprefix(ATTEMPT)
    return int(digits) if text.startswith(ATTEMPT) and digits.isdecimal() else default


def _private(folder: JobFolder, name: str) -> str:
    try:
        return folder.private.text(name)
    except OSError:
        return ""
