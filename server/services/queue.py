"""The queue: what waits and why, maintenance, priorities."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

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
from server.policy.why_waiting import Wait, why_waiting
from server.services.jobs.lookup import find_job
from server.services.principal import Principal, Role
from server.services.times import local_time
from server.settings import Settings
from server.states import AT_WORK, JobState
from server.storage.folders import Storage

WAITING = (JobState.UPLOADING, JobState.QUEUED)


@dataclass(frozen=True)
class Place:
    """A waiting job and why it waits."""

    job: int
    owner: str
    weight: int
    priority: int
    waited_s: float
    why: str


@dataclass(frozen=True)
class QueueView:
    """The queue as it stands. ``used`` and ``limit``: weights; ``uploading``: jobs that wait for files or the job before.

    ``is_run``: whether a controller carries it on.
    """

    drained: str
    breaker: Breaker
    used: int
    limit: int
    is_run: bool
    waiting: tuple[Place, ...]
    uploading: tuple[int, ...]


class QueueService:
    """The queue of one installation, whose database is open."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock

    def view(self, principal: Principal) -> QueueView:
        """What waits, in the order in which it would begin, and why.

        Raises Forbidden, InvalidInput where the machine sizes cannot be read: only this needs them.
        """
        principal.require(Role.ADMINISTRATOR)
        limit = read_flavors(self._settings.flavors).max_weight
        given = Situations(self._settings, Storage(self._settings.storage), limit, self._clock).read()
        return QueueView(
            drained=given.drained,
            breaker=known_breaker(),
            used=given.used,
            limit=given.rules.limit,
            is_run=running_controller(self._settings.home) is not None,
            waiting=tuple(map(_place, why_waiting(given))),
            uploading=tuple(sorted(job.id for job in jobs_in_motion() if job.state == JobState.UPLOADING)),
        )

    def drain(self, principal: Principal, reason: str) -> str:
        """Begin no more jobs; returns the reason that people are given. Raises Forbidden."""
        principal.require(Role.ADMINISTRATOR)
        drain(reason, Change(self._clock(), who=principal.name))
        nudge(self._settings.home)
        return why_drained()

    def resume(self, principal: Principal) -> None:
        """Begin jobs again. Raises Forbidden."""
        principal.require(Role.ADMINISTRATOR)
        resume(Change(self._clock(), who=principal.name))
        nudge(self._settings.home)

    def at_work(self) -> int:
        """How many jobs have a machine, or are about to get one."""
        return sum(job.state in AT_WORK for job in unfinished_jobs())

    def set_priority(self, principal: Principal, job_id: int, number: int) -> None:
        """Let a waiting job begin earlier or later than others. Raises Forbidden, NotFound, InvalidInput."""
        principal.require(Role.ADMINISTRATOR)
        is_waiting = (Job.id == job_id) & Job.state.in_(WAITING)
        if not Job.update(priority=number).where(is_waiting).execute():
            raise InvalidInput(f"job {job_id} does not wait any more: it is {find_job(job_id).state}", field="job")
        record_event(Job, job_id, Change(self._clock(), who=principal.name, text=f"priority {number}"))
        nudge(self._settings.home)


def _place(wait: Wait) -> Place:
    job, waited_s = wait.job, wait.given.now - wait.job.state_since
    return Place(job.id, job.owner, job.weight, job.priority, waited_s, wait.text(local_time))


def queue_json(view: QueueView) -> dict[str, Any]:
    """The queue for programs."""
    breaker, why = view.breaker, view.breaker.why
    more = {"open": breaker.is_open, "blame": str(why.blame) if why else "", "advice": why.advice if why else ""}
    return {
        "drained": view.drained,
        "breaker": {**asdict(breaker), **more},
        "used": view.used,
        "limit": view.limit,
        "controller": view.is_run,
        "waiting": [asdict(place) for place in view.waiting],
        "uploading": list(view.uploading),
    }
