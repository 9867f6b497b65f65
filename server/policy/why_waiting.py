"""Why each waiting job waits: the rules by which jobs begin, asked about all of them at once. Pure.

Owns causes and words, and what stands before :mod:`server.policy.scheduling`: a drained queue, an open circuit breaker, a machine
that is not gone yet, a pause after a failure. A job whose cause is in ``BEGINS`` is one that may have a machine now.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from server.policy.scheduling import Decision, Rules, Verdict, decide, rank


class Cause(StrEnum):
    """What a waiting job waits for; the first that applies, in this order."""

    DRAINED = "drained"
    TOO_HEAVY = "too_heavy"
    FORMER_MACHINE = "former_machine"
    NOT_YET = "not_yet"
    TRY = "try"
    TRY_LATER = "try_later"
    BREAKER = "breaker"
    NEXT = "next"
    CONVERTED_BY_ANOTHER = "converted_by_another"
    ROOM_KEPT_FOR_IT = "room_kept_for_it"
    ROOM_KEPT_FOR_ANOTHER = "room_kept_for_another"
    WEIGHT_LIMIT = "weight_limit"


BEGINS = frozenset({Cause.NEXT, Cause.TRY})


class Breaker(Protocol):
    """What is asked of the circuit breaker. ``trying``: the job that is the try, 0 where none is; ``try_at``: Unix seconds."""

    @property
    def failures(self) -> int:
        """Machines in a row that could not be made."""

    @property
    def trying(self) -> int:
        """The job that is tried now."""

    @property
    def try_at(self) -> float:
        """When the next try is."""

    @property
    def is_open(self) -> bool:
        """Whether no machines are made, but for a try."""

    def may_begin(self, now: float) -> bool:
        """Whether a machine may be made now."""


@dataclass(frozen=True)
class Candidate:
    """A queued job. ``state_since``: since when it waits, ``not_before``: when it may be tried again (Unix seconds).

    ``message``: why it is tried again.
    """

    id: int
    owner: str
    flavor: str
    weight: int
    priority: int
    state_since: float
    not_before: float
    message: str


@dataclass(frozen=True)
class Machine:
    """A machine that there is. ``owner``: whose job it has, "" where none; ``is_ready``: it waits for a job."""

    job: int | None
    owner: str
    flavor: str
    weight: int
    is_held: bool
    is_ready: bool


@dataclass(frozen=True)
class Situation:
    """What decides who may begin. ``drained``: why no job does; ``now``: Unix seconds.

    ``makers``: job -> the jobs that are converting what it needs; ``at``: Unix seconds as people read them.
    """

    waiting: Sequence[Candidate]
    machines: Sequence[Machine]
    rules: Rules
    drained: str
    breaker: Breaker
    now: float
    makers: Callable[[int], list[int]]
    at: Callable[[float], str]

    @property
    def used(self) -> int:
        """The weight at work."""
        return sum(machine.weight for machine in self.machines)

    @property
    def at_work(self) -> Mapping[str, int]:
        """The weight at work of each owner."""
        weights: dict[str, int] = {}
        for machine in self.machines:
            weights[machine.owner] = weights.get(machine.owner, 0) + machine.weight
        return weights


@dataclass(frozen=True)
class Wait:
    """A waiting job, what it waits for, and that in words for its owner."""

    job: Candidate
    cause: Cause
    text: str


def why_waiting(given: Situation) -> list[Wait]:
    """The jobs that wait for a machine, in the order in which they would begin."""
    at_work = given.at_work
    occupied = {machine.job for machine in given.machines if not machine.is_held}
    apart = {job.id: why for job in given.waiting if (why := _apart(job, given, occupied=job.id in occupied))}
    asked = [job for job in given.waiting if job.id not in apart]
    ready = Counter(machine.flavor for machine in given.machines if machine.is_ready)
    decided = decide(asked, at_work, given.used, given.rules, given.now, lambda job: bool(given.makers(job.id)), ready)
    decisions = {one.job.id: one for one in decided}
    first = next((number for number, one in decisions.items() if one.verdict is Verdict.BEGINS), 0)
    found: list[Wait] = []
    for job in sorted(given.waiting, key=lambda job: rank(job, at_work, given.rules, given.now)):
        before = _drained(given) or apart.get(job.id) or _by_breaker(given, is_first=job.id == first)
        cause, text = before or _by_turn(decisions[job.id], given)
        found.append(Wait(job, cause, text))
    return found


Why = tuple[Cause, str]


def _drained(given: Situation) -> Why | None:
    return (Cause.DRAINED, f"the queue is drained: {given.drained}") if given.drained else None


def _apart(job: Candidate, given: Situation, *, occupied: bool) -> Why | None:
    """What keeps this job alone, whatever room there is."""
    if job.weight > given.rules.limit:
        return Cause.TOO_HEAVY, f"it weighs {job.weight}, more than the limit of {given.rules.limit}: it never begins"
    if occupied:
        return Cause.FORMER_MACHINE, "its former machine is not gone yet"
    if job.not_before > given.now:
        at = max(job.not_before, given.breaker.try_at) if given.breaker.is_open else job.not_before
        return Cause.NOT_YET, f"it is tried again at {given.at(at)} at the earliest: {job.message}"
    return None


def _by_breaker(given: Situation, *, is_first: bool) -> Why | None:
    breaker = given.breaker
    if not breaker.is_open:
        return None
    if is_first and breaker.may_begin(given.now):
        return Cause.TRY, "it is next, as the try whether machines can be made again"
    if is_first and not breaker.trying:
        return Cause.TRY_LATER, f"it is the try, at {given.at(breaker.try_at)}, whether machines can be made again"
    tried = f"job {breaker.trying}, which is tried now," if breaker.trying else "the next try"
    text = f"no machines are made since {breaker.failures} failed in a row: it waits until {tried} succeeds"
    return Cause.BREAKER, text


def _by_turn(decision: Decision[Candidate], given: Situation) -> Why:
    job, limit = decision.job, given.rules.limit
    room = f"{decision.used} of {limit} {'are' if decision.used != 1 else 'is'} taken"
    match decision.verdict:
        case Verdict.BEGINS:
            return Cause.NEXT, "it is next"
        case Verdict.CONVERTED_BY_ANOTHER:
            makers = ", ".join(map(str, given.makers(job.id)))
            return Cause.CONVERTED_BY_ANOTHER, f"job {makers} converts a file that it needs, too"
        case Verdict.ROOM_KEPT_FOR_ANOTHER:
            keeper = decision.keeper.id if decision.keeper else "another"
            return Cause.ROOM_KEPT_FOR_ANOTHER, f"what comes free is kept for job {keeper}, which has waited for long"
        case Verdict.ROOM_KEPT_FOR_IT:
            text = f"the weight limit is reached: it weighs {job.weight}, {room}; what comes free is kept for it"
            return Cause.ROOM_KEPT_FOR_IT, text
        case _:
            return Cause.WEIGHT_LIMIT, f"the weight limit is reached: it weighs {job.weight}, {room} by jobs before it"
