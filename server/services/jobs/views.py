"""A job's row as the API and commands show it. The shapes are :mod:`cumulus_client.jobs`'s."""

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cumulus_client.jobs import Attempt, Event, Input, Job, JobDetails, ResultFile
from server.db.models import Event as EventRow
from server.db.models import Job as JobRow
from server.db.search import Listed
from server.reasons import Reason
from server.services.jobs.figures import parse_figures
from server.storage.folders import JobFolder, Storage

if TYPE_CHECKING:
    from server.engine.records.record import RecordedAttempt, RecordedInput


def view_of(job: JobRow | Listed, storage: Storage) -> Job:
    """The view of a row. It is not validated once more: a list may have all jobs."""
    return Job.model_construct(**_fields(job, storage))


def details_of(job: JobRow, storage: Storage, **more: Any) -> JobDetails:
    """The view of a row with all that is shown of it; ``more``: the parts that are not in the row."""
    own = {name: getattr(job, name) for name in ("description", "workflow", "start_after", "outcome")}
    return JobDetails.model_construct(**_fields(job, storage), **own, **more)


def attempt_view(attempt: "RecordedAttempt") -> Attempt:
    """The view of an attempt, as the record has it."""
    return Attempt.model_validate(attempt.model_dump())


def input_view(found: "RecordedInput") -> Input:
    """The view of an input, as the record has it."""
    return Input.model_validate({**found.model_dump(), "name": readable(found.name)})


def result_files(folder: JobFolder) -> list[ResultFile]:
    """The result files of a job, by their names."""
    return [
        ResultFile.model_construct(path=readable(path), size=size, url=quote(spelled(path)), tag=folder.results.tag(path))
        for path, size in folder.results.files()
    ]


def readable(name: str) -> str:
    """A file's name as text, which it need not be."""
    return name.encode(errors="replace").decode()


def spelled(path: str) -> str:
    """A path in which % and two digits stand for each byte that is no readable text, and %25 for %: names every file there is."""
    return "".join(char if char.isprintable() and char != "%" else quote(os.fsencode(char), safe="") for char in path)


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
