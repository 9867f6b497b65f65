"""Which waiting job may have a machine next, within the weight limit. Pure functions.

The order is by priority, which grows with the time that a job waits; then the owner with the least weight at work comes first;
then the earliest job. A job that does not fit is overtaken by lighter ones (backfill), but for a limited time only: then what
becomes free is kept for it. How long running jobs will take is unknown, so no better promise is possible. A machine that stands
ready is taken by the first job that wants one of its size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
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


def rank(job: Waiting, at_work: Mapping[str, int], rules: Rules, now: float) -> tuple[int, int, int]:
    """The smaller, the sooner. ``at_work``: the weight that each owner's jobs have at work."""
    aged = int(max(0.0, now - job.state_since) / rules.ageing_s)
    return (-(job.priority + aged), at_work.get(job.owner, 0), job.id)


class Verdict(StrEnum):
    """What the rules decide on a waiting job now. ROOM_KEPT_FOR_IT: what becomes free is kept for it."""

    BEGINS = "begins"
    CONVERTED_BY_ANOTHER = "converted_by_another"
    DOES_NOT_FIT = "does_not_fit"
    ROOM_KEPT_FOR_IT = "room_kept_for_it"
    ROOM_KEPT_FOR_ANOTHER = "room_kept_for_another"
    NO_ROOM = "no_room"


_LAST = frozenset({Verdict.ROOM_KEPT_FOR_IT, Verdict.ROOM_KEPT_FOR_ANOTHER, Verdict.NO_ROOM})  # after which none begins


@dataclass(frozen=True)
class Decision(Generic[J]):
    """The verdict on one job. ``keeper``: the job that room is kept for; ``used``: the weight at work when its turn came."""

    job: J
    verdict: Verdict
    used: int
    keeper: J | None = None


def admit(
    waiting: Sequence[J],
    at_work: Mapping[str, int],
    used: int,
    rules: Rules,
    now: float,
    must_wait: Callable[[J], bool],
    ready: Mapping[str, int] = MappingProxyType({}),
) -> Iterator[J]:
    """The jobs that may begin now, one after the other; see :func:`decide`. Considers no more jobs than necessary."""
    for one in decide(waiting, at_work, used, rules, now, must_wait, ready):
        if one.verdict in _LAST:
            return
        if one.verdict is Verdict.BEGINS:
            yield one.job


def decide(
    waiting: Sequence[J],
    at_work: Mapping[str, int],
    used: int,
    rules: Rules,
    now: float,
    must_wait: Callable[[J], bool],
    ready: Mapping[str, int] = MappingProxyType({}),
) -> Iterator[Decision[J]]:
    """Decide on each waiting job, in the order of their turns, beside the weight ``used``.

    ``ready``: the number of machines of each flavor that wait for a job; their weight is in ``used`` already.
    ``must_wait`` is called for a job when its turn comes, after all decisions before it; a job that must wait is passed over. The
    call may be expensive, so none is made for a job that could not begin anyway.
    """
    room = _Room(rules.limit, used, dict(at_work), dict(ready))
    keeper, left = None, _ranked(waiting, room.weights, rules, now)
    while left and keeper is None and room.is_left:
        job = left.pop(0)
        verdict = _verdict(job, room, rules, now, must_wait)
        yield Decision(job, verdict, room.used)
        if verdict is Verdict.BEGINS:
            room.take(job)
            left = _ranked(left, room.weights, rules, now)
        elif verdict is Verdict.ROOM_KEPT_FOR_IT:
            keeper = job
    rest = Verdict.NO_ROOM if keeper is None else Verdict.ROOM_KEPT_FOR_ANOTHER
    yield from (Decision(job, rest, room.used, keeper) for job in left)


@dataclass
class _Room:
    """What is taken so far. ``used``: of ``limit``; ``weights``: each owner's share; ``ready``: free machines by flavor."""

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


def _verdict(job: J, room: _Room, rules: Rules, now: float, must_wait: Callable[[J], bool]) -> Verdict:
    """On the job whose turn it is."""
    if room.fits(job):
        return Verdict.CONVERTED_BY_ANOTHER if must_wait(job) else Verdict.BEGINS
    has_waited = job.weight <= rules.limit and now - job.state_since > rules.patience_s
    return Verdict.ROOM_KEPT_FOR_IT if has_waited and not must_wait(job) else Verdict.DOES_NOT_FIT


def _ranked(jobs: Sequence[J], at_work: Mapping[str, int], rules: Rules, now: float) -> list[J]:
    return sorted(jobs, key=lambda one: rank(one, at_work, rules, now))
