"""Which waiting job may have a machine next, within the weight limit. Pure functions.

The order is by priority, which grows with the time that a job waits; then the owner with the least weight at work goes first;
then who came first. A job that does not fit is overtaken by lighter ones (backfill), but for a limited time only: then what comes
free is kept for it. How long running jobs will take is not known, so nothing better can be promised to it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Waiting(Protocol):
    """What is asked of a waiting job. ``state_since``: since when it waits (Unix seconds); higher ``priority`` goes first."""

    @property
    def id(self) -> int:
        """Its number, in the order of arrival."""

    @property
    def owner(self) -> str:
        """Whose it is."""

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


def admit(
    waiting: Sequence[J], at_work: Mapping[str, int], used: int, rules: Rules, now: float, must_wait: Callable[[J], bool]
) -> Iterator[J]:
    """The jobs that may begin now, one after the other, beside the weight ``used``.

    ``must_wait`` is asked of a job when its turn has come, after all before it were dealt with: such a one is passed over.
    """
    weights, left = dict(at_work), list(waiting)
    while left:
        job = min(left, key=lambda one: rank(one, weights, rules, now))
        left.remove(job)
        if job.weight > rules.limit or must_wait(job):
            continue
        if used + job.weight > rules.limit:
            if now - job.state_since > rules.patience_s:
                return
            continue
        used += job.weight
        weights[job.owner] = weights.get(job.owner, 0) + job.weight
        yield job
