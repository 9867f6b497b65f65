"""A job as it is shown: what commands print of it, and what programs get."""

from dataclasses import asdict, dataclass
from typing import Any

from server.db.models import Event, Job
from server.db.search import Listed
from server.reasons import Reason
from server.services.jobs.figures import parse_figures
from server.services.times import time_for_programs
from server.states import JobState
from server.storage.folders import JobFolder, Storage


@dataclass(frozen=True)
class JobView:
    """A job in a list. Times are Unix seconds; ``folder``: its path in the storage; ``blame``: who can fix a failure."""

    id: int
    owner: str
    app: str
    flavor: str
    state: str
    attempt: int
    reason: str
    blame: str
    message: str
    warning: str
    figures: list[dict[str, Any]]
    created: float
    started: float | None
    ended: float | None
    folder: str


@dataclass(frozen=True)
class EventView:
    """Something that happened to a job; ``advice``: what can be done about it."""

    at: float
    who: str
    old: str
    new: str
    reason: str
    text: str
    advice: str


@dataclass(frozen=True)
class FileOutcome:
    """How the app ended with one of the files that it takes one by one."""

    name: str
    outcome: str
    message: str


@dataclass(frozen=True)
class JobDetails:
    """All that is shown of one job. ``files``: results by path, with their bytes."""

    job: JobView
    events: tuple[EventView, ...]
    per_file: tuple[FileOutcome, ...]
    files: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class ResultsView:
    """The results of a job that has ended. ``state``: how."""

    state: JobState
    message: str
    warning: str
    folder: JobFolder


def view_of(job: Job | Listed, storage: Storage) -> JobView:
    """The view of a row."""
    reason = Reason.known(job.reason)
    return JobView(
        id=job.id,
        owner=job.owner,
        app=job.app,
        flavor=job.flavor,
        state=job.state,
        attempt=job.attempt,
        reason=job.reason,
        blame=str(reason.blame) if reason else "",
        message=job.message,
        warning=job.warning,
        figures=parse_figures(job.figures),
        created=job.created,
        started=job.started,
        ended=job.ended,
        folder=str(storage.folder(job.folder).path),
    )


def event_view(event: Event) -> EventView:
    """The view of an event."""
    reason = Reason.known(event.reason)
    advice = reason.advice if reason else ""
    return EventView(event.at, event.who, event.old, event.new, event.reason, event.text, advice)


def job_json(view: JobView) -> dict[str, Any]:
    """A job of a list for programs."""
    return asdict(view)


def details_json(details: JobDetails) -> dict[str, Any]:
    """One job for programs."""
    return {
        **job_json(details.job),
        "events": [{**asdict(event), "at": time_for_programs(event.at)} for event in details.events],
        "per_file": [asdict(one) for one in details.per_file],
        "files": details.files,
    }
