"""The results of jobs as the API gives them, and how a file is fetched that breaks off now and then."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import BinaryIO
from urllib.parse import unquote

from pydantic import Field

from cumulus_client.calling import Caller, Stream
from cumulus_client.errors import Unreachable
from cumulus_client.jobs import OneJob, ResultFile
from cumulus_client.operations import Download, Operation, Response

MAX_PATH = 20_000
TRIES = 5  # in a row without a byte


class ResultList(Response):
    """The results of a job that has ended. ``state``: how."""

    state: str
    message: str
    warning: str
    files: list[ResultFile]


class OneResult(OneJob):
    """A result file, by its path as its ``url`` spells it: % and two digits stand for a byte that is no readable text."""

    path: str = Field(min_length=1, max_length=MAX_PATH)


RESULTS = Operation("jobs.results", "GET", "/jobs/{job}/results", OneJob, ResultList, "The result files of a job that has ended.")
RESULT = Download(
    "jobs.result",
    "/jobs/{job}/results/{path}",
    OneResult,
    "application/octet-stream",
    "One result file, or the part that a Range header asks for; its ETag is the file's tag in the list.",
)


class Results:
    """The results of an installation's jobs."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self, job: int) -> ResultList:
        """The result files of a job that has ended. Raises Refused, also while it has none."""
        return self._caller.call(RESULTS, OneJob(job=job))

    def file(self, job: int, file: ResultFile, start: int = 0) -> AbstractContextManager[Stream]:
        """A result file, open while the block runs: from the byte ``start`` on while it is what the list has, else all of it.

        Raises Refused, Unreachable.
        """
        return self._caller.download(RESULT, OneResult(job=job, path=unquote(file.url)), start, file.tag)

    def fetch(self, job: int, file: ResultFile, target: BinaryIO, heard: Callable[[int], None] = lambda _size: None) -> None:
        """Fetch a result file into an open one, after what that has of it already; begins again where a connection breaks.

        ``heard``: is told how many bytes have come. Raises Refused, Unreachable after several tries in vain.
        """
        fetch_whole(lambda start: self.file(job, file, start), file.size, target, heard)


Opened = Callable[[int], AbstractContextManager[Stream]]  # from which byte on


def fetch_whole(opened: Opened, size: int, target: BinaryIO, heard: Callable[[int], None]) -> None:
    """Fetch a file of ``size`` bytes into an open one, as :meth:`Results.fetch` says."""
    failures = 0
    while True:
        before = target.seek(0, 2)
        try:
            _go_on(opened, size, target, before, heard)
        except Unreachable:
            failures = 0 if target.seek(0, 2) > before else failures + 1
            if failures >= TRIES:
                raise
        else:
            return


def _go_on(opened: Opened, size: int, target: BinaryIO, start: int, heard: Callable[[int], None]) -> None:
    if start >= size > 0:
        target.truncate(size)
        return
    with opened(start) as stream:
        if stream.start != start:  # it has changed since
            target.seek(stream.start)
            target.truncate()
        for part in stream.parts():
            target.write(part)
            heard(len(part))
    target.flush()
