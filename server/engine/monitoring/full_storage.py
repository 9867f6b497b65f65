"""Tells a job's owner that its machine waits for room in the storage, and when it no longer does."""

from datetime import UTC, datetime

from peewee import OperationalError

from server.db.models import Change, Job, record_event
from server.states import JobState
from server.storage.folders import JobFolder

RESULTS = "The storage is full: the results wait on the machine until there is room"
LOG = "The storage is nearly full: the log is kept on the machine until there is room"
OVER = "There is room in the storage again"


def report_full_storage(job: Job, folder: JobFolder, now: float) -> None:
    """RUNNING or LOST: bring message and events of the job up to date; later, where the database takes nothing now."""
    text = RESULTS if folder.results_wait() else LOG if folder.log_waits() else ""
    before = next((known for known in (RESULTS, LOG) if job.message.startswith(known)), "")
    if text == before:
        return
    since = datetime.fromtimestamp(now, UTC)
    try:
        _write(job, f"{text} (since {since:%Y-%m-%d %H:%M} UTC)." if text else "", f"{text or OVER}.", now)
    except OperationalError:
        return


def _write(job: Job, message: str, event: str, now: float) -> None:
    with Job._meta.database.atomic("IMMEDIATE"):
        started = Job.state.in_((JobState.RUNNING, JobState.LOST))
        if Job.update(message=message).where(Job.id == job.id, Job.attempt == job.attempt, started).execute():
            record_event(Job, job.id, Change(now, text=event))
