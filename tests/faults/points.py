"""The points at which a controller is killed, read from the state machines: a new state cannot be forgotten."""

from dataclasses import dataclass
from itertools import product
from typing import Literal

from server.states import JOB_TRANSITIONS, WORKER_TRANSITIONS, JobState, WorkerState

When = Literal["before", "after"]


@dataclass(frozen=True)
class Change:
    """One way from a state to another; ``old`` is "" for a row's beginning."""

    table: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.table}:{self.old}>{self.new}"


@dataclass(frozen=True)
class Point:
    """A change, and the kill just before or just after it is committed."""

    change: Change
    when: When

    def __str__(self) -> str:
        return f"{self.change}:{self.when}"


def changes() -> frozenset[Change]:
    """All that the tables of transitions allow."""
    jobs = {Change("job", old, new) for old, news in JOB_TRANSITIONS.items() for new in news}
    workers = {Change("worker", old, new) for old, news in WORKER_TRANSITIONS.items() for new in news}
    begins = {Change("job", "", JobState.UPLOADING), Change("worker", "", WorkerState.REQUESTED)}
    return frozenset(jobs | workers | begins)


def points(found: frozenset[Change]) -> list[Point]:
    """Both kills of every change, in a fixed order."""
    return [Point(change, when) for change, when in product(sorted(found, key=str), ("before", "after"))]
