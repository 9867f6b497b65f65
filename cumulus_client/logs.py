"""The logs of jobs as the API gives them, whole or as they grow."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from pydantic import Field

from cumulus_client.calling import Caller, Stream
from cumulus_client.jobs import OneJob
from cumulus_client.operations import Download, Operation, Response

POLL_S = 0.5


class LogQuery(OneJob):
    """Of which job. ``cursor``: that of the part before; "" for the beginning."""

    cursor: str = Field(default="", max_length=8000)


class LogPart(Response):
    """What a log has gained. ``cursor``: for the next part; ``is_final``: the job has ended and there is no more.

    ``state``, ``message``: what the job is at; ``outcome``: how it ended, also where it is archived since.
    """

    text: str
    cursor: str
    state: str
    outcome: str
    message: str
    warning: str
    is_final: bool

    @property
    def is_done(self) -> bool:
        """Whether the job has ended well."""
        return "done" in (self.state, self.outcome)


LOG = Operation(
    "jobs.log",
    "GET",
    "/jobs/{job}/log",
    LogQuery,
    LogPart,
    "What a job's log has gained since a place in it. It answers at once: ask again every half a second to follow a job.",
)
WHOLE_LOG = Download(
    "jobs.whole_log", "/jobs/{job}/log.txt", OneJob, "text/plain", "All of a job's log, or the part that a Range header asks for."
)


class Logs:
    """The logs of an installation's jobs."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def part(self, job: int, cursor: str = "") -> LogPart:
        """What a job's log has gained since the place of ``cursor``. Raises Refused."""
        return self._caller.call(LOG, LogQuery(job=job, cursor=cursor))

    def whole(self, job: int) -> AbstractContextManager[Stream]:
        """All of a job's log, open while the block runs. Raises Refused."""
        return self._caller.download(WHOLE_LOG, OneJob(job=job))

    def follow(self, job: int, pause: Callable[[float], None] = time.sleep) -> Iterator[LogPart]:
        """The parts until the job has ended, as they come; the last one is final. ``pause``: what waits between two looks.

        A part without a text says what the job is at. Raises Refused, Unreachable.
        """
        cursor = ""
        while True:
            part = self.part(job, cursor)
            cursor = part.cursor
            yield part
            if part.is_final:
                return
            if not part.text:
                pause(POLL_S)
