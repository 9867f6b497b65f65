"""Admission: which waiting jobs get a machine now, within the limit of weights, and when machines wait ready for more.

The order is :mod:`server.policy.scheduling`'s; a drained queue and an open circuit breaker admit nothing. Quick: it runs in
the loop.
"""

from collections.abc import Iterable, Sequence

from server.catalog.flavors import Flavors
from server.db.models import (
    Change,
    Job,
    Queued,
    Worker,
    create,
    jobs_of,
    living_workers,
    next_queued_at,
    queued_jobs,
    transition,
    worker_name,
)
from server.db.settings_store import why_drained
from server.engine.breaker import CircuitBreaker
from server.engine.launching.conversion_cache import ConversionCache
from server.engine.ready_pool import ReadyPool, is_waiting
from server.engine.records.manifests import Manifests
from server.policy.scheduling import Rules, admit, rank
from server.settings import Settings
from server.states import JobState, WorkerState


class Admission:
    """Admits the waiting jobs of one installation."""

    def __init__(
        self,
        settings: Settings,
        flavors: Flavors,
        breaker: CircuitBreaker,
        pool: ReadyPool,
        conversions: ConversionCache,
        manifests: Manifests,
    ) -> None:
        self._rules = Rules(flavors.max_weight, settings.priority_ageing_s, settings.backfill_limit_s)
        self._breaker = breaker
        self._pool = pool
        self._conversions = conversions
        self._manifests = manifests

    def admit(self, workers: Sequence[Worker], now: float) -> None:
        """Give waiting jobs a worker row each; a job whose former machine still exists waits for its end.

        A job that needs what another one is converting is overtaken; it is asked whether it does once those before it have begun.
        """
        self._pool.give_up_old(workers, now)
        if why := why_drained():
            return self._pool.give_up_all(workers, f"the queue is drained: {why}", now)
        breaker = self._breaker.state()
        if not breaker.may_begin(now):
            return
        occupied = {worker.job_id for worker in workers if worker.state != WorkerState.HELD}
        used, ready = sum(worker.weight for worker in workers), self._pool.ready(workers)
        if used >= self._rules.limit and not ready:
            return
        waiting = [job for job in queued_jobs(now) if job.id not in occupied]
        may_begin = admit(waiting, _weights(workers), used, self._rules, now, lambda job: self.must_wait(job, now), ready)
        if breaker.is_open and (trial := next(may_begin, None)):
            self.assign(trial, now)
            return self._breaker.begun(trial.id)
        begun = self._assign_all(may_begin, now)
        left = [job for job in waiting if job.id not in begun]
        self._keep_pool(left, living_workers() if begun else workers, now)

    def must_wait(self, job: Queued, now: float) -> bool:
        """Whether the job waits for a conversion that another one is making."""
        return self._conversions.must_wait(job.id, now)

    def assign(self, waiting: Queued, now: float) -> None:
        """QUEUED: give the job its next attempt, and a machine that stands ready or the row of one that will be made.

        In one transaction, and never beyond the limit of weights, whoever calls.
        """
        with Job._meta.database.atomic("IMMEDIATE"):
            job = Job.get_by_id(waiting.id)
            if job.state != JobState.QUEUED:
                return
            now = max(now, job.state_since)  # it may have been queued since this turn of the loop began
            attempt = job.attempt + 1
            if not self._pool.take(waiting, attempt, now) and not self._request(job, attempt, now):
                return
            fields = {"attempt": attempt, "message": ""}
            transition(Job, job.id, JobState.QUEUED, JobState.PROVISIONING, Change(now, text=f"attempt {attempt}"), fields)
        self._manifests.write(job.id)

    def next_at(self, now: float) -> list[float]:
        """When waiting jobs may be admitted that are not admitted now (Unix seconds)."""
        return [self._breaker.state().try_at, next_queued_at(now) or 0.0]

    def _assign_all(self, jobs: Iterable[Queued], now: float) -> set[int]:
        """Assign one after the other: whether a job must wait may depend on those before it. Returns their numbers."""
        begun = set[int]()
        for job in jobs:
            self.assign(job, now)
            begun.add(job.id)
        return begun

    def _request(self, job: Job, attempt: int, now: float) -> bool:
        """Request a machine for the job, if its weight fits."""
        if sum(worker.weight for worker in living_workers()) + job.weight > self._rules.limit:
            return False
        fields = {"job_id": job.id, "attempt": attempt, "flavor": job.flavor, "weight": job.weight}
        create(Worker, Change(now), name=worker_name(job.id, attempt), state=WorkerState.REQUESTED, **fields)
        return True

    def _keep_pool(self, left: list[Queued], workers: Sequence[Worker], now: float) -> None:
        """Machines stand ready only in room that no job wants."""
        if not left:
            return self._pool.refill(workers, now)
        if any(map(is_waiting, workers)):
            used, weights = sum(worker.weight for worker in workers), _weights(workers)
            first = min(left, key=lambda job: rank(job, weights, self._rules, now))
            self._pool.make_room(first.weight, used, workers, now)


def _weights(workers: Sequence[Worker]) -> dict[str, int]:
    """The weight of each owner's machines."""
    owners, weights = {job.id: job.owner for job in jobs_of(workers)}, dict[str, int]()
    for worker in workers:
        owner = owners.get(worker.job_id or 0, "")
        weights[owner] = weights.get(owner, 0) + worker.weight
    return weights
