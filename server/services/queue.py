"""The queue: what waits and why, maintenance, priorities."""

import time
from collections.abc import Callable

from cumulus_client.queue import CircuitBreaker, Drained, QueueState, WaitingJob
from server.catalog.flavors import read_flavors
from server.db.models import Job
from server.db.queries import jobs_in_motion, unfinished_jobs
from server.db.settings_store import drain, resume, why_drained
from server.db.transitions import Change, record_event
from server.engine.breaker import known_breaker
from server.engine.situation import Situations
from server.errors import InvalidInput
from server.home.running import nudge, running_controller
from server.policy.circuit_breaker import Breaker
from server.policy.why_waiting import BEGINS, Cause, Wait, why_waiting
from server.services.jobs.lookup import find_job
from server.services.principal import Principal, Role
from server.services.times import local_time
from server.settings import Settings
from server.states import AT_WORK, JobState
from server.storage.folders import Storage

WAITING = (JobState.UPLOADING, JobState.QUEUED)


class QueueService:
    """The queue of one installation, whose database is open."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock

    def view(self, principal: Principal) -> QueueState:
        """What waits, in the order in which it would begin, and why; of jobs only those that the principal may see.

        Raises Forbidden, InvalidInput where the machine sizes cannot be read: only this needs them.
        """
        principal.require(Role.USER)
        is_run = running_controller(self._settings.home) is not None
        limit = read_flavors(self._settings.flavors).max_weight
        given = Situations(self._settings, Storage(self._settings.storage), limit, self._clock).read()
        places = [
            _place(one, number, is_run=is_run)
            for number, one in enumerate(why_waiting(given), 1)
            if principal.may_see(one.job.owner)
        ]
        uploading = [job for job in jobs_in_motion() if job.state == JobState.UPLOADING]
        return QueueState(
            drained=given.drained,
            breaker=_breaker(known_breaker()),
            used=given.used,
            limit=given.rules.limit,
            controller=is_run,
            waiting=places,
            uploading=sorted(job.id for job in uploading if principal.may_see(job.owner)),
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


def _place(one: Wait, position: int, *, is_run: bool) -> WaitingJob:
    job = one.job
    return WaitingJob(
        job=job.id,
        owner=job.owner,
        weight=job.weight,
        priority=job.priority,
        waited_s=one.given.now - job.state_since,
        why=one.text(local_time),
        position=position,
        expected_start=_expected_start(one) if is_run else None,
    )


def _expected_start(one: Wait) -> float | None:
    """When the job begins, where that depends on nothing that nobody knows, such as the end of another one."""
    if one.cause in BEGINS:
        return one.given.now
    return one.given.breaker.try_at if one.cause is Cause.TRY_LATER else None


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
