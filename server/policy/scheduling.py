"""Which waiting job may have a machine next, within the weight limit. Pure functions.

The order is by priority, which grows with the time that a job waits; then the owner with the least weight at work comes first;
then the earliest job. A job that does not fit is overtaken by lighter ones (backfill), but for a limited time only: then what
becomes free is kept for it. How long running jobs will take is unknown, so no better promise is possible. A machine that stands
ready is taken by the first job that wants one of its size.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import heapify, heappop, heapreplace
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What the rules read of a waiting job. ``state_since``: since when it waits (Unix seconds). Higher ``priority`` is first."""

    @property
    def id(self) -> int:
        """Its number, in the order of arrival."""

    @property
    def owner(self) -> str:
        """Who submitted it."""

    @property
    def flavor(self) -> str:
        """The size of its machine."""

    @property
    def weight(self) -> int:
        """Share of the limit that its machine takes."""

    @property
    def priority(self) -> int:
        """As an administrator set it; 0 for all others."""

    @property
    def state_since(self) -> float:
        """Since when it waits."""


@dataclass(frozen=True)
class Rules:
    """``limit``: of all weights together. ``ageing_s``: seconds of waiting that are worth one step of priority.

    ``patience_s``: seconds for which a job that does not fit may be overtaken.
    """

    limit: int
    ageing_s: float
    patience_s: float


J = TypeVar("J", bound=Waiting)


class Verdict(StrEnum):
    """What the rules decide on a waiting job now. APART: it waits whatever room there is."""

    BEGINS = "begins"
    APART = "apart"
    CONVERTED_BY_ANOTHER = "converted_by_another"
    DOES_NOT_FIT = "does_not_fit"
    ROOM_KEPT_FOR_IT = "room_kept_for_it"
    ROOM_KEPT_FOR_ANOTHER = "room_kept_for_another"
    NO_ROOM = "no_room"


@dataclass(frozen=True)
class Decision(Generic[J]):
    """The verdict on one job. ``used``: the weight at work when its turn came.

    ``keeper``: the job that room is kept for; ``makers``: the jobs that convert what this one needs.
    """

    job: J
    verdict: Verdict
    used: int
    keeper: J | None = None
    makers: Sequence[int] = ()

    @property
    def is_last(self) -> bool:
        """Whether no job begins after this one."""
        return self.verdict in (Verdict.ROOM_KEPT_FOR_IT, Verdict.ROOM_KEPT_FOR_ANOTHER, Verdict.NO_ROOM)


def decide(
    waiting: Iterable[J],
    room: "Room",
    rules: Rules,
    now: float,
    is_apart: Callable[[J], bool],
    makers: Callable[[J], Sequence[int]],
) -> Iterator[Decision[J]]:
    """Decide on each waiting job, in the order of their turns, within the ``room``, which is taken by those that begin.

    ``is_apart``: whether a job cannot begin and keeps no other waiting. ``makers``: the jobs that convert what one needs; called
    when its turn comes, after all decisions before it. A job that has any is passed over. The call may be expensive, so none is
    made for a job that could not begin anyway.
    """
    keeper: J | None = None
    for job in turns(waiting, room.weights, rules, now):
        if is_apart(job):
            decision = Decision(job, Verdict.APART, room.used)
        elif keeper is not None:
            decision = Decision(job, Verdict.ROOM_KEPT_FOR_ANOTHER, room.used, keeper)
        else:
            decision = _decision(job, room, rules, now, makers)
        yield decision
        if decision.verdict is Verdict.BEGINS:
            room.take(job)
        elif decision.verdict is Verdict.ROOM_KEPT_FOR_IT:
            keeper = job


def turns(waiting: Iterable[J], at_work: Mapping[str, int], rules: Rules, now: float) -> Iterator[J]:
    """The jobs in the order of their turns.

    ``at_work``: the weight that each owner's jobs have at work; that of the owner whose job came last may grow meanwhile.
    """
    steps: dict[str, list[tuple[int, int, J]]] = {}
    for job in waiting:
        aged = int(max(0.0, now - job.state_since) / rules.ageing_s)
        steps.setdefault(job.owner, []).append((-(job.priority + aged), job.id, job))
    queues = {owner: sorted(found, reverse=True) for owner, found in steps.items()}  # of an owner, the first comes last

    def head(owner: str) -> tuple[int, int, int, str]:
        step, number, _ = queues[owner][-1]
        return step, at_work.get(owner, 0), number, owner

    heads = [head(owner) for owner in queues]
    heapify(heads)
    while heads:
        *_, owner = heads[0]
        yield queues[owner].pop()[-1]
        if queues[owner]:
            heapreplace(heads, head(owner))
        else:
            heappop(heads)


@dataclass
class Room:
    """What is taken so far. ``used``: of ``limit``; ``weights``: each owner's share.

    ``ready``: the number of machines of each flavor that wait for a job; their weight is in ``used`` already.
    """

    limit: int
    used: int
    weights: dict[str, int]
    ready: dict[str, int]

    @property
    def is_left(self) -> bool:
        """Whether any job could begin."""
        return self.used < self.limit or any(self.ready.values())

    def fits(self, job: Waiting) -> bool:
        """Whether this job could begin."""
        return self.ready.get(job.flavor, 0) > 0 or self.used + job.weight <= self.limit

    def take(self, job: Waiting) -> None:
        """The job begins, on a machine that stands ready if there is one of its flavor."""
        if self.ready.get(job.flavor, 0) > 0:
            self.ready[job.flavor] -= 1
        else:
            self.used += job.weight
        self.weights[job.owner] = self.weights.get(job.owner, 0) + job.weight


def _decision(job: J, room: Room, rules: Rules, now: float, makers: Callable[[J], Sequence[int]]) -> Decision[J]:
    """On the job whose turn it is."""
    if not room.is_left:
        return Decision(job, Verdict.NO_ROOM, room.used)
    if room.fits(job):
        made_by = makers(job)
        return Decision(job, Verdict.CONVERTED_BY_ANOTHER if made_by else Verdict.BEGINS, room.used, makers=made_by)
    has_waited = job.weight <= rules.limit and now - job.state_since > rules.patience_s
    return Decision(job, Verdict.ROOM_KEPT_FOR_IT if has_waited and not makers(job) else Verdict.DOES_NOT_FIT, room.used)
