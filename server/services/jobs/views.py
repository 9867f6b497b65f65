"""A job's row as the API and commands show it. The shapes are :mod:`cumulus_client.jobs`'s."""

from dataclasses import dataclass
from typing import Any

from cumulus_client.jobs import Event, FileOutcome, Job, JobDetails, ResultFile
from server.db.models import Event as EventRow
from server.db.models import Job as JobRow
from server.db.search import Listed
from server.reasons import Reason
from server.services.jobs.figures import parse_figures
from server.states import JobState
from server.storage.folders import JobFolder, Storage


@dataclass(frozen=True)
class ResultsView:
    """The results of a job that has ended. ``state``: how."""

    state: JobState
    message: str
    warning: str
    folder: JobFolder


def view_of(job: JobRow | Listed, storage: Storage) -> Job:
    """The view of a row. It is not validated once more: a list may have all jobs."""
    return Job.model_construct(**_fields(job, storage))


def details_of(
    job: JobRow, storage: Storage, events: list[Event], per_file: list[FileOutcome], files: list[ResultFile]
) -> JobDetails:
    """The view of a row with all that is shown of it."""
    return JobDetails.model_construct(**_fields(job, storage), events=events, per_file=per_file, files=files)


def event_view(event: EventRow) -> Event:
    """The view of an event."""
    reason = Reason.known(event.reason)
    return Event.model_construct(
        at=event.at,
        who=event.who,
        old=event.old,
        new=event.new,
        reason=event.reason,
        text=event.text,
        advice=reason.advice if reason else "",
    )


def _fields(job: JobRow | Listed, storage: Storage) -> dict[str, Any]:
    reason = Reason.known(job.reason)
    return {
        "id": job.id,
        "owner": job.owner,
        "app": job.app,
        "flavor": job.flavor,
        "state": job.state,
        "attempt": job.attempt,
        "reason": job.reason,
        "blame": str(reason.blame) if reason else "",
        "message": job.message,
        "warning": job.warning,
        "figures": parse_figures(job.figures),
        "created": job.created,
        "started": job.started,
        "ended": job.ended,
        "folder": str(storage.folder_path(job.folder)),
    }
