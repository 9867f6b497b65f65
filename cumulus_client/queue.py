"""The queue as the API gives it, the operations on it, and the client of these."""

from typing import Annotated

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.jobs import JobNumber
from cumulus_client.operations import Done, Nothing, Operation, Request, Response

HIGHEST_PRIORITY = 100
MAX_REASON = 1000  # characters
Priority = Annotated[int, Field(ge=-HIGHEST_PRIORITY, le=HIGHEST_PRIORITY)]


class WaitingJob(Response):
    """A job that waits for a machine, and why.

    ``waited_s``: seconds; ``position``: its place among all that wait, from 1 on; ``expected_start``: Unix seconds, None where
    nobody can know.
    """

    job: int
    owner: str
    weight: int
    priority: int
    waited_s: float
    why: str
    position: int
    expected_start: float | None


class CircuitBreaker(Response):
    """Stops the making of machines after several failures in a row.

    ``open``: whether it does now; ``pause_s``: seconds between two tries; ``trying``: the job that is the try, 0 for none;
    ``try_at``: when the next try is; ``text``: the last failure; ``full``: whether the cloud had no room;
    ``blame``: who can fix it.
    """

    failures: int
    pause_s: float
    try_at: float
    trying: int
    text: str
    full: bool
    reason: str
    open: bool
    blame: str
    advice: str


class QueueState(Response):
    """The queue as it stands.

    ``drained``: why no more jobs begin, "" where they do; ``used`` and ``limit``: weight at work, and how much there may be;
    ``controller``: whether one runs; ``uploading``: jobs that wait for their files, or for the job before them.
    """

    drained: str
    breaker: CircuitBreaker
    used: int
    limit: int
    controller: bool
    waiting: list[WaitingJob]
    uploading: list[int]


class Drained(Response):
    """Whether jobs begin. ``reason``: why no more do, "" where they do; ``at_work``: jobs that have a machine, or soon will."""

    reason: str
    at_work: int


class DrainRequest(Request):
    """Why no more jobs begin; people who ask are given the reason."""

    reason: str = Field("", max_length=MAX_REASON)


class PriorityRequest(Request):
    """Which job, and its priority: a higher one begins earlier, 0 is usual."""

    job: JobNumber
    priority: Priority


GET = Operation("queue.get", "GET", "/queue", Nothing, QueueState, "What waits, in the order in which it would begin, and why.")
DRAINED = Operation("queue.drained", "GET", "/queue/drain", Nothing, Drained, "Whether jobs begin, and how many are at work.")
DRAIN = Operation("queue.drain", "POST", "/queue/drain", DrainRequest, Drained, "Begin no more jobs, for maintenance.", "admin")
RESUME = Operation("queue.resume", "POST", "/queue/resume", Nothing, Done, "Begin jobs again.", "admin")
PRIORITIZE = Operation(
    "queue.prioritize", "PUT", "/jobs/{job}/priority", PriorityRequest, Done, "Let a waiting job begin earlier or later.", "admin"
)


class Queue:
    """The queue of an installation."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def get(self) -> QueueState:
        """What waits and why: all of it for an administrator, a user's own jobs for a user."""
        return self._caller.call(GET, Nothing())

    def drained(self) -> Drained:
        """Whether jobs begin, and how many are at work."""
        return self._caller.call(DRAINED, Nothing())

    def drain(self, reason: str = "") -> Drained:
        """Begin no more jobs; those at work go on."""
        return self._caller.call(DRAIN, DrainRequest(reason=reason))

    def resume(self) -> str:
        """Begin jobs again; returns a sentence."""
        return self._caller.call(RESUME, Nothing()).message

    def prioritize(self, job: int, priority: int) -> str:
        """Give a waiting job a priority; returns a sentence. Raises Refused where it does not wait."""
        return self._caller.call(PRIORITIZE, PriorityRequest(job=job, priority=priority)).message
