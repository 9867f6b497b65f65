"""A job's life outside its run, in plain words, as remarks for its log: submission, queue, machine, retries.

Made from the events and the rows whenever the log is read: the log's file has one writer, the runner.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from server.db.cached_sql import rows
from server.db.models import Event, Job, Worker
from server.engine.situation import Situations
from server.policy.why_waiting import Cause, Wait
from server.reasons import Reason
from server.states import JobState
from server.storage.logs.index import Remark

FIRST, LAST = 40, 160  # remarks that are shown of a job with days of retries
POOL = "pool-"
DONE_WITH_A_WARNING = "DONE WITH A WARNING"  # the only word for it that the desktop client's user sees
_ATTEMPT = re.compile(r"attempt (\d{1,9})")
_COMES = {"warm": "The machine is there", "cold": "The machine has booted", "template": "The machine has booted"}


def remarks(job: Job, situations: Situations) -> list[Remark]:
    """What happened to the job, oldest first, and last what it waits for now."""
    events = rows(Event, "subject = 'job' AND subject_id = ? ORDER BY id", job.id)
    found = list(_remarks(job, events))
    if job.state == JobState.QUEUED and (wait := situations.why(job)):
        found.append(Remark(job.state_since, job.attempt + 1, begun=False, text=f"The job waits; {_why(wait)}"))
    if len(found) <= FIRST + LAST:
        return found
    after = found[-LAST]
    between = Remark(after.at, after.attempt, begun=after.begun, text=f"… {len(found) - FIRST - LAST} lines are left out here …")
    return [*found[:FIRST], between, *found[-LAST:]]


def last_word(job: Job) -> str:
    """Why a job failed or was cancelled, or the warning of one that is done, as a line of its log."""
    words = job.message or (f"{DONE_WITH_A_WARNING}: {job.warning}" if job.warning else "")
    if not words or not JobState(job.state).is_final:
        return ""
    return Remark(job.ended or job.state_since, job.attempt, begun=True, text=words).line().decode()


def _remarks(job: Job, events: Sequence[Event]) -> Iterator[Remark]:
    attempt, begun = 1, False
    from_pool = _from_pool(job.id)
    for event in events:
        if event.new == JobState.PROVISIONING and (counted := _ATTEMPT.fullmatch(event.text)):
            attempt = int(counted[1])  # a rebuilt database may lack earlier ones
        if event.new == JobState.QUEUED and event.old not in ("", JobState.UPLOADING):
            yield Remark(event.at, attempt, begun=begun, text=_text(job, event, from_pool))
            attempt, begun = attempt + 1, False
            continue
        if text := _text(job, event, from_pool, attempt):
            yield Remark(event.at, attempt, begun=begun, text=text)
        begun = begun or event.new == JobState.RUNNING


def _from_pool(job_id: int) -> frozenset[int]:
    """The attempts whose machine stood ready."""
    return frozenset(worker.attempt for worker in rows(Worker, "job_id = ?", job_id) if worker.name.startswith(POOL))


def _text(job: Job, event: Event, from_pool: frozenset[int], attempt: int = 0) -> str:
    """What an event means to the job's owner; "" where another line of the log says it, or it does not concern them."""
    match event.new:
        case "":
            return event.text if event.who == "controller" else f"{event.text} ({event.who})"
        case JobState.UPLOADING:
            return _submitted(job)
        case JobState.QUEUED if event.old == JobState.UPLOADING:
            return "The input files are there; the job waits for a machine" if job.inputs else "The job waits for a machine"
        case JobState.QUEUED:
            return _again(event)
        case JobState.PROVISIONING:
            counted = f" (attempt {attempt})" if attempt > 1 else ""
            if attempt in from_pool:
                return f"A machine of size {job.flavor} stands ready and takes the job{counted}"
            return f"A machine of size {job.flavor} is being made{counted}"
        case JobState.STARTING:
            return f"{_COMES.get(event.text.split(':')[0], 'The machine is there')}; it gets the storage and the job"
        case JobState.RUNNING if event.old == JobState.LOST:
            return "The machine answers again"
        case JobState.RUNNING:
            return "The machine has the storage and begins with the job"
        case JobState.LOST:
            return f"The machine is being checked: {event.text}"
        case JobState.ARCHIVED:
            return f"The results are no longer kept: {event.text}"
    return ""


def _submitted(job: Job) -> str:
    parts = [f"Job {job.id} was submitted: {job.app} on a machine of size {job.flavor}"]
    if job.inputs:
        names = job.inputs.split("\n")
        parts.append(f"its input: {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}")
    if job.start_after is not None:
        parts.append(f"it starts when job {job.start_after} is done")
    return "; ".join(parts)


def _again(event: Event) -> str:
    reason = Reason.known(event.reason)
    what = reason.explain(event.text) if reason else event.text
    end = "it is tried again when that is over" if reason and reason.waits else "another machine is tried"
    return f"{what.rstrip('. ')}. The job waits: {end}"


def _why(wait: Wait) -> str:
    """What a queued job waits for now, in the words of `cumulus queue`."""
    text = wait.text(lambda at: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC")
    by_breaker = wait.cause in (Cause.BREAKER, Cause.TRY_LATER)
    return f"{text}. The last failure: {wait.given.breaker.text}" if by_breaker else text
