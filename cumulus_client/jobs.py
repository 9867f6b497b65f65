"""Jobs as the API gives them, the operations on them, and the client of these."""

import builtins
from typing import Annotated, Any

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.operations import Done, Operation, Request, Response

JobNumber = Annotated[int, Field(ge=1, le=999_999_999_999_999)]
MAX_LISTED = 10_000_000


class Job(Response):
    """A job in a list. ``blame``: who can fix a failure; ``folder``: its path in the storage; ``figures``: what its app found."""

    id: int
    owner: str
    app: str
    flavor: str
    state: str
    attempt: int
    reason: str
    blame: str
    message: str
    warning: str
    figures: list[dict[str, Any]]
    created: float
    started: float | None
    ended: float | None
    folder: str


class Event(Response):
    """Something that happened to a job; ``advice``: what can be done about it."""

    at: float
    who: str
    old: str
    new: str
    reason: str
    text: str
    advice: str


class FileOutcome(Response):
    """How the app ended with one of the files that it takes one by one."""

    name: str
    outcome: str
    message: str


class ResultFile(Response):
    """A file among a job's results. ``path``: relative to all of them; ``size``: bytes."""

    path: str
    size: int


class JobDetails(Job):
    """All that is shown of one job."""

    events: list[Event]
    per_file: list[FileOutcome]
    files: list[ResultFile]


class JobList(Response):
    """Jobs, newest first."""

    jobs: list[Job]


class JobsQuery(Request):
    """Which jobs. ``owner``: only of owners whose name contains this; ``limit``: how many at most, 0 for all."""

    owner: str = Field(default="", max_length=1000)
    limit: int = Field(default=100, ge=0, le=MAX_LISTED)


class OneJob(Request):
    """Which job."""

    job: JobNumber


LIST = Operation("jobs.list", "GET", "/jobs", JobsQuery, JobList, "List jobs, newest first.")
GET = Operation("jobs.get", "GET", "/jobs/{job}", OneJob, JobDetails, "One job: its state, its events, its result files.")
CANCEL = Operation("jobs.cancel", "POST", "/jobs/{job}/cancel", OneJob, Done, "End a job with its workflow.", "submit")


class Jobs:
    """The jobs of an installation."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self, owner: str = "", limit: int = 100) -> "builtins.list[Job]":
        """The newest jobs of owners whose name contains ``owner``; ``limit``: how many at most, 0 for all."""
        return self._caller.call(LIST, JobsQuery(owner=owner, limit=limit)).jobs

    def get(self, job: int) -> JobDetails:
        """One job with its events and its result files. Raises Refused where there is none."""
        return self._caller.call(GET, OneJob(job=job))

    def cancel(self, job: int) -> str:
        """End a job with its workflow, whatever it is doing; returns a sentence."""
        return self._caller.call(CANCEL, OneJob(job=job)).message
