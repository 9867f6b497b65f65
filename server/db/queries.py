"""The questions about jobs and workers that the engine asks in each turn. Searches of clients are in :mod:`server.db.search`."""

from collections.abc import Sequence
from typing import NamedTuple

from peewee import SQL, chunked

from server.db.cached_sql import rows, tuples
from server.db.models import Job, Worker
from server.states import JobState

# Literal text, as in the indexes: a partial index cannot be used for a condition with bound parameters.
UNFINISHED = "state NOT IN ('done', 'failed', 'cancelled', 'archived', 'deleted')"
LIVING = "state <> 'deleted'"
_AT_WORK = ", ".join(f"'{state}'" for state in JobState if not state.is_final and state not in ("uploading", "queued"))
_LARGE = "settings"  # of a job: lists are without them
_AT_ONCE = 500  # as many values as any SQLite takes


def known_job(job_id: int) -> Job | None:
    """The job of that number; None where there is none, or its owner has deleted it."""
    found = rows(Job, "id = ? AND state <> 'deleted'", job_id)
    return found[0] if found else None


def unfinished_jobs() -> list[Job]:
    """The jobs that something may still happen to, oldest first, without their settings. Uses a partial index."""
    return rows(Job, f"{UNFINISHED} ORDER BY id", without=_LARGE)


def jobs_at_work() -> list[Job]:
    """Those of them that wait neither for files nor for a machine, oldest first: no more than there are machines."""
    return rows(Job, f"state IN ({_AT_WORK}) ORDER BY id", without=_LARGE)


def uploading_numbers() -> list[int]:
    """The jobs that wait for their files. Read in the index alone."""
    return [number for (number,) in tuples(Job, ("id",), "state = 'uploading'")]


def jobs_numbered(numbers: Sequence[int]) -> list[Job]:
    """These jobs in their order, without their settings."""
    found = []
    for some in chunked(numbers, _AT_ONCE):
        found += rows(Job, f"id IN ({', '.join('?' * len(some))}) ORDER BY id", *some, without=_LARGE)
    return found


def jobs_in_motion() -> list[Job]:
    """Those of them that do not wait for a machine: their number is bounded by the machines and the uploads, not by the queue."""
    return rows(Job, f"{UNFINISHED} AND state <> 'queued' ORDER BY id", without=_LARGE)


def jobs_of(workers: Sequence[Worker]) -> list[Job]:
    """The jobs that these machines are for and that something may still happen to, without their settings."""
    numbers = [worker.job_id for worker in workers if worker.job_id is not None]
    marks = ", ".join("?" for _ in numbers)
    return rows(Job, f"id IN ({marks}) AND {UNFINISHED}", *numbers, without=_LARGE) if numbers else []


class Queued(NamedTuple):
    """A job that waits for a machine, as far as its turn depends on it. Made a thousand at a time."""

    id: int
    owner: str
    flavor: str
    weight: int
    priority: int
    state_since: float
    not_before: float
    message: str


def queued_jobs() -> list[Queued]:
    """The jobs that wait for a machine, oldest first."""
    return list(map(Queued._make, tuples(Job, Queued._fields, f"{UNFINISHED} AND state = 'queued' ORDER BY id")))


def release_uncounted(now: float) -> None:
    """End the pauses of jobs whose last attempt did not count, since the site works again."""
    waiting = SQL(UNFINISHED), Job.state == JobState.QUEUED, Job.spared > 0, Job.not_before > now
    Job.update(not_before=now).where(*waiting).execute()


def next_queued_at(now: float) -> float | None:
    """When the next of the waiting jobs may begin that may not yet (Unix seconds)."""
    later = f"{UNFINISHED} AND state = 'queued' AND not_before > ? ORDER BY not_before LIMIT 1"
    return next((at for (at,) in tuples(Job, ("not_before",), later, now)), None)


def living_workers() -> list[Worker]:
    """The workers whose end is not confirmed, oldest first. Uses a partial index."""
    return rows(Worker, f"{LIVING} ORDER BY id")
