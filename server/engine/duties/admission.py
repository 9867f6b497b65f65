"""Admission: which waiting jobs get a machine now, within the limit of weights, and when machines wait ready for more.

:mod:`server.policy.why_waiting` decides who begins. Quick: it runs in the loop.
"""

from collections.abc import Sequence

from server.db.models import Job, Worker, worker_name
from server.db.queries import living_workers, next_queued_at
from server.db.transactions import exclusive
from server.db.transitions import Change, create, transition
from server.engine.breaker import CircuitBreaker, known_breaker
from server.engine.ready_pool import ReadyPool, is_waiting
from server.engine.records.manifests import Manifests
from server.engine.situation import Situations, weights_of
from server.policy.scheduling import turns
from server.policy.why_waiting import Situation, beginning
from server.states import JobState, WorkerState


class Admission:
    """Admits the waiting jobs of one installation."""

    def __init__(self, situations: Situations, breaker: CircuitBreaker, pool: ReadyPool, manifests: Manifests) -> None:
        self._situations = situations
        self._breaker = breaker
        self._pool = pool
        self._manifests = manifests

    def admit(self, workers: Sequence[Worker], now: float) -> None:
        """Give waiting jobs a worker row each, one after the other: whether a job must wait may depend on those before it."""
        self._pool.give_up_old(workers, now)
        given = self._situations.beside(workers, now)
        if given.drained:
            return self._pool.give_up_all(workers, f"the queue is drained: {given.drained}", now)
        begun = set[int]()
        for job in beginning(given):
            self.assign(job.id, now)
            begun.add(job.id)
            if given.breaker.is_open:
                return self._breaker.begun(job.id)
        if given.has_room and given.breaker.may_begin(now):
            self._keep_pool(given, begun, living_workers() if begun else workers)

    def assign(self, job_id: int, now: float) -> None:
        """QUEUED: give the job its next attempt, and a machine that stands ready or the row of one that will be made.

        In one transaction, and never beyond the limit of weights, whoever calls.
        """
        with exclusive():
            job = Job.get_by_id(job_id)
            if job.state != JobState.QUEUED:
                return
            now = max(now, job.state_since)  # it may have been queued since this turn of the loop began
            attempt = job.attempt + 1
            if not self._pool.take(job, attempt, now) and not self._request(job, attempt, now):
                return
            fields = {"attempt": attempt, "message": ""}
            transition(Job, job.id, JobState.QUEUED, JobState.PROVISIONING, Change(now, text=f"attempt {attempt}"), fields)
        self._manifests.write(job.id)

    def next_at(self, now: float) -> list[float]:
        """When waiting jobs may be admitted that are not admitted now (Unix seconds)."""
        return [known_breaker().try_at, next_queued_at(now) or 0.0]

    def _request(self, job: Job, attempt: int, now: float) -> bool:
        """Request a machine for the job, if its weight fits."""
        if sum(worker.weight for worker in living_workers()) + job.weight > self._situations.limit:
            return False
        fields = {"job_id": job.id, "attempt": attempt, "flavor": job.flavor, "weight": job.weight}
        create(Worker, Change(now), name=worker_name(job.id, attempt), state=WorkerState.REQUESTED, **fields)
        return True

    def _keep_pool(self, given: Situation, begun: set[int], workers: Sequence[Worker]) -> None:
        """Machines stand ready only in room that no job wants. ``begun``: the jobs that have begun since."""
        left = [job for job in given.waiting if job.id not in begun and not given.is_apart(job)]
        if not left:
            return self._pool.refill(workers, given.now)
        if any(map(is_waiting, workers)):
            used, first = sum(worker.weight for worker in workers), next(turns(left, weights_of(workers), given.rules, given.now))
            self._pool.make_room(first.weight, used, workers, given.now)
