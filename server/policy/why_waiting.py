"""Why each waiting job waits, and so which of them begin. Pure.

Owns causes and words, and what stands before :mod:`server.policy.scheduling`: a drained queue, an open circuit breaker, a machine
that is not gone yet, a pause after a failure. A job whose cause is in ``BEGINS`` may have a machine now: the loop's admission
gives one to those of :func:`beginning`, so what is explained is what happens.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Protocol

from server.policy.circuit_breaker import Breaker
from server.policy.scheduling import Decision, Room, Rules, Verdict, Waiting, decide, turns


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
_BY_TURN = {
    Verdict.BEGINS: Cause.NEXT,
    Verdict.CONVERTED_BY_ANOTHER: Cause.CONVERTED_BY_ANOTHER,
    Verdict.ROOM_KEPT_FOR_IT: Cause.ROOM_KEPT_FOR_IT,
    Verdict.ROOM_KEPT_FOR_ANOTHER: Cause.ROOM_KEPT_FOR_ANOTHER,
    Verdict.DOES_NOT_FIT: Cause.WEIGHT_LIMIT,
    Verdict.NO_ROOM: Cause.WEIGHT_LIMIT,
}
_WITHOUT_ROOM = frozenset(set(Verdict) - {Verdict.BEGINS, Verdict.CONVERTED_BY_ANOTHER})


class Candidate(Waiting, Protocol):
    """A queued job."""

    @property
    def not_before(self) -> float:
        """When it may be tried again (Unix seconds)."""

    @property
    def message(self) -> str:
        """Why it is tried again."""


@dataclass(frozen=True)
class Machine:
    """A machine that there is. ``job``: whose it is; ``is_ready``: it waits for one."""

    job: int | None
    flavor: str
    weight: int
    is_held: bool
    is_ready: bool


@dataclass(frozen=True)
class Situation:
    """What decides who may begin. ``drained``: why no job does; ``now``: Unix seconds.

    What may be much is read when it is needed. ``read_queue``: all queued jobs; ``weights``: of each owner's machines;
    ``makers``: job, those that begin before it -> the jobs that are converting what it needs, at the time of the call.
    """

    read_queue: Callable[[], Sequence[Candidate]]
    machines: Sequence[Machine]
    weights: Callable[[], Mapping[str, int]]
    rules: Rules
    drained: str
    breaker: Breaker
    now: float
    makers: Callable[[int, Sequence[int]], Sequence[int]]

    @cached_property
    def waiting(self) -> Sequence[Candidate]:
        """The queued jobs."""
        return self.read_queue()

    @cached_property
    def at_work(self) -> Mapping[str, int]:
        """The weight at work of each owner."""
        return self.weights()

    @cached_property
    def used(self) -> int:
        """The weight at work."""
        return sum(machine.weight for machine in self.machines)

    @cached_property
    def occupied(self) -> frozenset[int | None]:
        """The jobs that have a machine at work, or had one that is not gone yet."""
        return frozenset(machine.job for machine in self.machines if not machine.is_held)

    @property
    def room(self) -> Room:
        """What is left to take."""
        ready = Counter(machine.flavor for machine in self.machines if machine.is_ready)
        return Room(self.rules.limit, self.used, dict(self.at_work), ready)

    @property
    def has_room(self) -> bool:
        """Whether there is room for any job, whichever wait."""
        return self.used < self.rules.limit or any(machine.is_ready for machine in self.machines)

    def is_apart(self, job: Candidate) -> bool:
        """Whether the job cannot begin yet, whatever room there is."""
        return job.id in self.occupied or job.not_before > self.now


@dataclass(frozen=True)
class Wait:
    """A waiting job and what it waits for."""

    cause: Cause
    decision: Decision[Candidate]
    given: Situation

    @property
    def job(self) -> Candidate:
        """The job."""
        return self.decision.job

    def text(self, at: Callable[[float], str]) -> str:
        """The cause in words for its owner. ``at``: Unix seconds as people read them."""
        if self.cause in (Cause.TRY, Cause.TRY_LATER, Cause.BREAKER):
            return _of_breaker(self, at)
        if self.cause in (Cause.DRAINED, Cause.FORMER_MACHINE, Cause.NOT_YET):
            return _of_what_comes_first(self, at)
        return _of_turn(self)


def why_waiting(given: Situation) -> Iterator[Wait]:
    """The jobs that wait for a machine, in the order of their turns, each decided after all before it."""
    if given.drained:
        return (_undecided(job, given) for job in turns(given.waiting, given.at_work, given.rules, given.now))
    return (Wait(_cause(one, given, is_try=is_first), one, given) for one, is_first in _decisions(given))


def beginning(given: Situation) -> Iterator[Candidate]:
    """The jobs that may begin now, one after the other. Considers no more jobs than necessary."""
    if given.drained or not given.has_room or not given.breaker.may_begin(given.now):
        return
    for one in why_waiting(given):
        if one.cause in BEGINS:
            yield one.job
        if one.cause is Cause.TRY or one.decision.is_last:
            return


class Explanation:
    """Says of single jobs why they wait in one situation; no job is decided twice, however many are asked about."""

    def __init__(self, given: Situation) -> None:
        self._given = given
        self._left = _decisions(given)
        self._decided: dict[int, tuple[Decision[Candidate], bool]] = {}

    def why(self, job: Candidate) -> Wait | None:
        """Why this job waits; None where it does not. The others are read only where there is room that they could take."""
        if self._given.drained or not self._given.has_room:
            return _undecided(job, self._given)
        while job.id not in self._decided and (found := next(self._left, None)):
            self._decided[found[0].job.id] = found
        if job.id not in self._decided:
            return None
        decision, is_first = self._decided[job.id]
        return Wait(_cause(decision, self._given, is_try=is_first), decision, self._given)


def _decisions(given: Situation) -> Iterator[tuple[Decision[Candidate], bool]]:
    """By the rules of scheduling, each with whether it is the first that begins."""
    begun: list[int] = []

    def makers(job: Candidate) -> Sequence[int]:
        return given.makers(job.id, begun)

    for one in decide(given.waiting, given.room, given.rules, given.now, given.is_apart, makers):
        begins = one.verdict is Verdict.BEGINS
        yield one, begins and not begun
        if begins:
            begun.append(one.job.id)


def _undecided(job: Candidate, given: Situation) -> Wait:
    """Of a job that is not kept waiting by another's turn."""
    verdict = Verdict.APART if given.is_apart(job) else Verdict.NO_ROOM
    decision = Decision(job, verdict, given.used)
    return Wait(_cause(decision, given, is_try=False), decision, given)


def _cause(decision: Decision[Candidate], given: Situation, *, is_try: bool) -> Cause:
    """``is_try``: the job would be the try of an open breaker."""
    if given.drained:
        return Cause.DRAINED
    if decision.verdict in _WITHOUT_ROOM and decision.job.weight > given.rules.limit:
        return Cause.TOO_HEAVY
    if decision.verdict is Verdict.APART:
        return Cause.FORMER_MACHINE if decision.job.id in given.occupied else Cause.NOT_YET
    if given.breaker.is_open:
        return _cause_by_breaker(given, is_try=is_try)
    return _BY_TURN[decision.verdict]


def _cause_by_breaker(given: Situation, *, is_try: bool) -> Cause:
    if is_try and given.breaker.may_begin(given.now):
        return Cause.TRY
    return Cause.TRY_LATER if is_try and not given.breaker.trying else Cause.BREAKER


def _of_what_comes_first(wait: Wait, at: Callable[[float], str]) -> str:
    job, breaker = wait.job, wait.given.breaker
    match wait.cause:
        case Cause.DRAINED:
            return f"the queue is drained: {wait.given.drained}"
        case Cause.FORMER_MACHINE:
            return "its former machine is not gone yet"
        case _:
            again = max(job.not_before, breaker.try_at) if breaker.is_open else job.not_before
            return f"it is tried again at {at(again)} at the earliest: {job.message}"


def _of_breaker(wait: Wait, at: Callable[[float], str]) -> str:
    breaker = wait.given.breaker
    match wait.cause:
        case Cause.TRY:
            return "it is next, as the try whether machines can be made again"
        case Cause.TRY_LATER:
            return f"it is the try, at {at(breaker.try_at)}, whether machines can be made again"
        case _:
            again = f" at {at(breaker.try_at)}" if breaker.try_at > wait.given.now else ""
            tried = f"job {breaker.trying}, which is tried now," if breaker.trying else f"the next try{again}"
            since = f"{breaker.failures} failed in a row" if breaker.failures != 1 else "one failed"
            return f"no machines are made since {since}: it waits until {tried} succeeds"


def _of_turn(wait: Wait) -> str:
    job, limit, used, keeper = wait.job, wait.given.rules.limit, wait.decision.used, wait.decision.keeper
    room = f"{used} of {limit} {'are' if used != 1 else 'is'} taken"
    match wait.cause:
        case Cause.NEXT:
            return "it is next"
        case Cause.TOO_HEAVY:
            return f"it weighs {job.weight}, more than the limit of {limit}: it never begins"
        case Cause.CONVERTED_BY_ANOTHER:
            makers = ", ".join(map(str, wait.decision.makers))
            who = f"jobs {makers} convert" if len(wait.decision.makers) > 1 else f"job {makers} converts"
            return f"{who} a file that it needs, too"
        case Cause.ROOM_KEPT_FOR_ANOTHER:
            return f"what comes free is kept for job {keeper.id if keeper else 'another'}, which has waited for long"
        case Cause.ROOM_KEPT_FOR_IT:
            return f"the weight limit is reached: it weighs {job.weight}, {room}; what comes free is kept for it"
        case _:
            return f"the weight limit is reached: it weighs {job.weight}, {room} by jobs before it"
