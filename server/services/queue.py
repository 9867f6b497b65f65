"""Why each waiting job waits: the rules by which the loop lets jobs begin, asked about all of them.

Owns the words. :mod:`server.policy.scheduling` decides the order, :mod:`server.engine.breaker` whether anything may be tried.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from server.db.models import Job, Worker
from server.db.queries import Queued
from server.engine.ready_pool import is_waiting
from server.policy.circuit_breaker import Breaker
from server.policy.scheduling import Decision, Rules, Verdict, decide, rank
from server.states import JobState, WorkerState


@dataclass(frozen=True)
class Situation:
    """What decides who may begin. ``drained``: why no job does, ``breaker``: where it stands; ``now``: Unix seconds.

    ``makers``: job -> the jobs that are converting what it needs; ``at``: Unix seconds as people read them.
    """

    jobs: Sequence[Job]
    workers: Sequence[Worker]
    rules: Rules
    drained: str
    breaker: Breaker
    now: float
    makers: Callable[[int], list[int]]
    at: Callable[[float], str]

    def must_wait(self, job: Queued) -> bool:
        """Whether another job converts what this one needs."""
        return bool(self.makers(job.id))


@dataclass(frozen=True)
class Place:
    """A waiting job and why it waits."""

    job: int
    owner: str
    weight: int
    priority: int
    waited_s: float
    why: str


def places(given: Situation) -> list[Place]:
    """The jobs that wait for a machine, in the order in which they would begin."""
    at_work = _at_work(given)
    waiting = [job for job in given.jobs if job.state == JobState.QUEUED]
    kept = {worker.job_id for worker in given.workers if worker.state != WorkerState.HELD}
    apart = {job.id: why for job in waiting if (why := _apart(job, given, occupied=job.id in kept))}
    asked = [_queued(job) for job in waiting if job.id not in apart]
    ready = Counter(worker.flavor for worker in given.workers if is_waiting(worker))
    used = sum(worker.weight for worker in given.workers)
    decisions = {one.job.id: one for one in decide(asked, at_work, used, given.rules, given.now, given.must_wait, ready)}
    first = next((number for number, one in decisions.items() if one.verdict is Verdict.BEGINS), 0)
    found = []
    for job in sorted(waiting, key=lambda job: rank(_queued(job), at_work, given.rules, given.now)):
        why = given.drained and f"the queue is drained: {given.drained}"
        why = why or apart.get(job.id) or _by_breaker(given, is_first=job.id == first) or _words(decisions[job.id], given)
        found.append(Place(job.id, job.owner, job.weight, job.priority, given.now - job.state_since, why))
    return found


def _queued(job: Job) -> Queued:
    return Queued._make(getattr(job, name) for name in Queued._fields)


def _at_work(given: Situation) -> dict[str, int]:
    owners = {job.id: job.owner for job in given.jobs}
    weights: dict[str, int] = {}
    for worker in given.workers:
        owner = owners.get(worker.job_id or 0, "")
        weights[owner] = weights.get(owner, 0) + worker.weight
    return weights


def _apart(job: Job, given: Situation, *, occupied: bool) -> str:
    """What keeps this job alone, whatever room there is."""
    if job.weight > given.rules.limit:
        return f"it weighs {job.weight}, more than the limit of {given.rules.limit}: it never begins"
    if occupied:
        return "its former machine is not gone yet"
    if job.not_before > given.now:
        at = max(job.not_before, given.breaker.try_at) if given.breaker.is_open else job.not_before
        return f"it is tried again at {given.at(at)} at the earliest: {job.message}"
    return ""


def _by_breaker(given: Situation, *, is_first: bool) -> str:
    breaker = given.breaker
    if not breaker.is_open:
        return ""
    if is_first and breaker.may_begin(given.now):
        return "it is next, as the try whether machines can be made again"
    if is_first and not breaker.trying:
        return f"it is the try, at {given.at(breaker.try_at)}, whether machines can be made again"
    tried = f"job {breaker.trying}, which is tried now," if breaker.trying else "the next try"
    return f"no machines are made since {breaker.failures} failed in a row: it waits until {tried} succeeds"


def _words(decision: Decision[Queued], given: Situation) -> str:
    job, limit = decision.job, given.rules.limit
    room = f"{decision.used} of {limit} {'are' if decision.used != 1 else 'is'} taken"
    match decision.verdict:
        case Verdict.BEGINS:
            return "it is next"
        case Verdict.CONVERTED_BY_ANOTHER:
            makers = ", ".join(map(str, given.makers(job.id)))
            return f"job {makers} converts a file that it needs, too"
        case Verdict.ROOM_KEPT_FOR_ANOTHER:
            keeper = decision.keeper.id if decision.keeper else "another"
            return f"what comes free is kept for job {keeper}, which has waited for long"
        case Verdict.ROOM_KEPT_FOR_IT:
            return f"the weight limit is reached: it weighs {job.weight}, {room}; what comes free is kept for it"
        case _:
            return f"the weight limit is reached: it weighs {job.weight}, {room} by jobs before it"
