"""Which waiting jobs may have a machine now: in the order of their arrival, within the weight limit. Pure functions."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar


class Waiting(Protocol):
    """What is asked of a waiting job."""

    @property
    def weight(self) -> int:
        """Share of the limit that its machine takes."""


J = TypeVar("J", bound=Waiting)


def admit(waiting: Iterable[J], used: int, limit: int) -> Iterator[J]:
    """The first jobs of ``waiting`` that fit beside ``used``; stops at the first that does not, so that none is starved.

    ``waiting`` is asked for the next job only after the one before it was dealt with.
    """
    for job in waiting:
        if used + job.weight > limit:
            return
        used += job.weight
        yield job
