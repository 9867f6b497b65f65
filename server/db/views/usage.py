"""What usage is counted from: each job and each machine with its times, read from indexes alone, without the rows."""

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from server.db.models import Job


class JobTimes(NamedTuple):
    """A job. ``kept``: bytes of the storage since its end, None where that was not measured; ``state_since``: of its state."""

    owner: str
    app: str
    state: str
    state_since: float
    created: float
    started: float | None
    ended: float | None
    kept: int | None


class MachineTimes(NamedTuple):
    """A machine of a job (of none: "" each), from the request for it to its confirmed end, None while that is to come."""

    owner: str
    app: str
    weight: int
    created: float
    ended: float | None


_JOBS = """
    SELECT owner, app, state, state_since, created, started, ended, kept_bytes FROM job INDEXED BY job_usage
    WHERE created < ? {owners}
"""
_MACHINES = """
    SELECT coalesce(job.owner, ''), coalesce(job.app, ''), worker.weight, worker.created, worker.ended
    FROM worker LEFT JOIN job ON job.id = worker.job_id
    WHERE worker.created < ? AND (worker.ended IS NULL OR worker.ended > ?) {owners}
"""


def job_times(last: float, owners: Collection[str] | None) -> Iterable[JobTimes]:
    """The jobs that were submitted before ``last`` (Unix seconds), of these owners (None: of all)."""
    condition, values = _of(owners, "owner")
    return map(JobTimes._make, _run(_JOBS.format(owners=condition), last, *values))


def machine_times(first: float, last: float, owners: Collection[str] | None) -> Iterable[MachineTimes]:
    """The machines that there were between two times."""
    condition, values = _of(owners, "job.owner")
    return map(MachineTimes._make, _run(_MACHINES.format(owners=condition), last, first, *values))


def _of(owners: Collection[str] | None, column: str) -> tuple[str, list[str]]:
    if owners is None:
        return "", []
    return f"AND {column} IN ({', '.join('?' for _ in owners)})", sorted(owners)


def _run(text: str, *values: object) -> Iterable[tuple[Any, ...]]:
    found: Iterable[tuple[Any, ...]] = Job._meta.database.execute_sql(text, values)
    return found
