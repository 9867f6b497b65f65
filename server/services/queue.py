"""The queue: what waits and why, maintenance, priorities."""

import time
from collections.abc import Callable

from cumulus_client.queue import CircuitBreaker, Drained, QueueState, WaitingJob
from server.catalog.flavors import read_flavors
from server.db.models import Job, Worker
from server.db.queries import living_workers, unfinished_jobs
from server.db.settings_store import drain, resume, why_drained
from server.db.transitions import Change, record_event
from server.engine.breaker import known_breaker
from server.engine.launching.conversion_cache import ConversionCache
from server.engine.ready_pool import is_waiting
from server.errors import InvalidInput
from server.home.running import nudge, running_controller
from server.policy.circuit_breaker import Breaker
from server.policy.scheduling import Rules
from server.policy.why_waiting import BEGINS, Candidate, Cause, Machine, Situation, Wait, why_waiting
from server.services.jobs.lookup import find_job
from server.services.principal import Principal, Role
from server.services.times import local_time
from server.settings import Settings
from server.states import AT_WORK, JobState, WorkerState
from server.storage.folders import Storage

WAITING = (JobState.UPLOADING, JobState.QUEUED)


class QueueService:
    """The queue of one installation, whose database is open."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._conversions = ConversionCache(Storage(settings.storage), settings.conversion_wait_s)
        self._clock = clock

    def view(self, principal: Principal) -> QueueState:
        """What waits, in the order in which it would begin, and why; of jobs only those that the principal may use.

        Raises Forbidden, InvalidInput where the machine sizes cannot be read: only this needs them.
        """
        principal.require(Role.USER)
        jobs, is_run = unfinished_jobs(), running_controller(self._settings.home) is not None
        given = self._situation(jobs, living_workers(), self._clock())
        places = [
            _place(one, number, given, is_run=is_run)
            for number, one in enumerate(why_waiting(given), 1)
            if principal.may_use(one.job.owner)
        ]
        return QueueState(
            drained=given.drained,
            breaker=_breaker(known_breaker()),
            used=given.used,
            limit=given.rules.limit,
            controller=is_run,
            waiting=places,
            uploading=sorted(job.id for job in jobs if job.state == JobState.UPLOADING and principal.may_use(job.owner)),
        )

    def drained(self, principal: Principal) -> Drained:
        """Whether jobs begin, and how many have a machine, or are about to get one. Raises Forbidden."""
        principal.require(Role.ADMINISTRATOR)
        return Drained(reason=why_drained(), at_work=sum(job.state in AT_WORK for job in unfinished_jobs()))

    def drain(self, principal: Principal, reason: str) -> Drained:
        """Begin no more jobs. Raises Forbidden."""
        principal.require(Role.ADMINISTRATOR)
        drain(reason, Change(self._clock(), who=principal.name))
        nudge(self._settings.home)
        return self.drained(principal)

    def resume(self, principal: Principal) -> str:
        """Begin jobs again; returns a sentence. Raises Forbidden."""
        principal.require(Role.ADMINISTRATOR)
        resume(Change(self._clock(), who=principal.name))
        nudge(self._settings.home)
        return "jobs are begun again"

    def set_priority(self, principal: Principal, job_id: int, number: int) -> str:
        """Let a waiting job begin earlier or later than others; returns a sentence. Raises Forbidden, NotFound, InvalidInput."""
        principal.require(Role.ADMINISTRATOR)
        is_waiting = (Job.id == job_id) & Job.state.in_(WAITING)
        if not Job.update(priority=number).where(is_waiting).execute():
            raise InvalidInput(f"job {job_id} does not wait any more: it is {find_job(job_id).state}", field="job")
        record_event(Job, job_id, Change(self._clock(), who=principal.name, text=f"priority {number}"))
        nudge(self._settings.home)
        return f"job {job_id} has priority {number}"

    def _situation(self, jobs: list[Job], workers: list[Worker], now: float) -> Situation:
        owners = {job.id: job.owner for job in jobs}
        limit = read_flavors(self._settings.flavors).max_weight
        return Situation(
            waiting=[_candidate(job) for job in jobs if job.state == JobState.QUEUED],
            machines=[_machine(worker, owners.get(worker.job_id or 0, "")) for worker in workers],
            rules=Rules(limit, self._settings.priority_ageing_s, self._settings.backfill_limit_s),
            drained=why_drained(),
            breaker=known_breaker(),
            now=now,
            makers=lambda job_id: self._conversions.makers(job_id, now),
            at=local_time,
        )


def _place(one: Wait, position: int, given: Situation, *, is_run: bool) -> WaitingJob:
    job = one.job
    return WaitingJob(
        job=job.id,
        owner=job.owner,
        weight=job.weight,
        priority=job.priority,
        waited_s=given.now - job.state_since,
        why=one.text,
        position=position,
        expected_start=_expected_start(one, given) if is_run else None,
    )


def _expected_start(one: Wait, given: Situation) -> float | None:
    """When the job begins, where that depends on nothing that nobody knows, such as the end of another one."""
    if one.cause in BEGINS:
        return given.now
    return given.breaker.try_at if one.cause is Cause.TRY_LATER else None


def _breaker(breaker: Breaker) -> CircuitBreaker:
    why = breaker.why
    return CircuitBreaker(
        failures=breaker.failures,
        pause_s=breaker.pause_s,
        try_at=breaker.try_at,
        trying=breaker.trying,
        text=breaker.text,
        full=breaker.full,
        reason=breaker.reason,
        open=breaker.is_open,
        blame=str(why.blame) if why else "",
        advice=why.advice if why else "",
    )


def _candidate(job: Job) -> Candidate:
    return Candidate(job.id, job.owner, job.flavor, job.weight, job.priority, job.state_since, job.not_before, job.message)


def _machine(worker: Worker, owner: str) -> Machine:
    is_held = worker.state == WorkerState.HELD
    return Machine(worker.job_id, owner, worker.flavor, worker.weight, is_held=is_held, is_ready=is_waiting(worker))
