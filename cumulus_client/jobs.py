"""Jobs as the API gives them, the operations on them, and the client of these."""

import builtins
from typing import Annotated, Any, Literal
from urllib.parse import unquote, unquote_to_bytes

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.operations import Done, Operation, Request, Response

JobNumber = Annotated[int, Field(ge=1, le=999_999_999_999_999)]
Time = Annotated[float, Field(ge=0, le=1e11)]
State = Literal[
    "uploading",
    "queued",
    "provisioning",
    "starting",
    "running",
    "lost",
    "finishing",
    "done",
    "failed",
    "cancelled",
    "archived",
]
MAX_LISTED = 10_000_000
MAX_TEXT = 1000
MAX_SETTINGS = 10_000  # fields


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
    """A file among a job's results. ``path``: relative to all of them, as it can be read; ``size``: bytes.

    ``url``: the same path as a URL has it; it names each file, also one whose name is no UTF-8. ``tag``: another text where the
    content is another.
    """

    path: str
    size: int
    url: str
    tag: str = ""

    @property
    def name(self) -> bytes:
        """The path as a file system has it."""
        return unquote_to_bytes(unquote(self.url))


class Phase(Response):
    """A part of an attempt: queued, machine, boot, convert, run or save. ``ended``: None while it lasts."""

    name: str
    attempt: int
    began: float
    ended: float | None


class Attempt(Response):
    """One try to run a job on one machine. ``outcome``: the job's state after it."""

    number: int
    worker: str
    snapshot: str
    began: float | None
    started: float | None
    ended: float | None
    outcome: str
    reason: str
    text: str


class Input(Response):
    """A file that a job reads, named by a ``field`` of its form. ``origin``: sent, shared, result (of ``job``) or converted.

    What is known of its content: ``size`` (bytes), ``sha256``, ``kind``, ``spectra``.
    """

    name: str
    field: str
    origin: str
    job: int | None
    size: int | None
    sha256: str
    kind: str
    spectra: int | None


class JobDetails(Job):
    """All that is shown of one job. ``outcome``: how it ended, also where it is archived since."""

    description: str
    workflow: str
    start_after: int | None
    outcome: str
    phases: list[Phase]
    attempts: list[Attempt]
    inputs: list[Input]
    events: list[Event]
    per_file: list[FileOutcome]
    files: list[ResultFile]


class JobList(Response):
    """Jobs, newest first. ``next``: give it as ``after`` to go on; "" at the end."""

    jobs: list[Job]
    next: str = ""


class JobsQuery(Request):
    """Which jobs: those that match all that is given. ``limit``: how many at most, 0 for all.

    ``owner`` and ``app``: part of the name; ``text``: part of the description or of an input file's name. Times are Unix seconds,
    from the first to before the last. ``after``: the ``next`` of the list before; jobs that came in since change nothing in it.
    """

    owner: str = Field(default="", max_length=MAX_TEXT)
    app: str = Field(default="", max_length=MAX_TEXT)
    text: str = Field(default="", max_length=MAX_TEXT)
    state: list[State] = Field(default=[], max_length=20)
    created_from: Time | None = None
    created_to: Time | None = None
    ended_from: Time | None = None
    ended_to: Time | None = None
    after: str = Field(default="", pattern=r"^([0-9a-f]{1,13}\.)?$")
    limit: int = Field(default=100, ge=0, le=MAX_LISTED)


class OneJob(Request):
    """Which job."""

    job: JobNumber


class OwnedJob(OneJob):
    """Which job. ``owner``: only if it is this one's; "" for whosever it is."""

    owner: str = Field(default="", max_length=MAX_TEXT)


LIST = Operation("jobs.list", "GET", "/jobs", JobsQuery, JobList, "List jobs, newest first.")
GET = Operation("jobs.get", "GET", "/jobs/{job}", OneJob, JobDetails, "One job: its state, its events, its result files.")
CANCEL = Operation("jobs.cancel", "POST", "/jobs/{job}/cancel", OwnedJob, Done, "End a job with its workflow.", "submit")
DELETE = Operation(
    "jobs.delete", "DELETE", "/jobs/{job}", OwnedJob, Done, "Delete an ended job with its workflow, for everybody.", "submit"
)


class Jobs:
    """The jobs of an installation."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self, owner: str = "", limit: int = 100, **filters: Any) -> "builtins.list[Job]":
        """The newest jobs of owners whose name contains ``owner``; ``limit``: how many at most, 0 for all.

        ``filters``: the other fields of :class:`JobsQuery`.
        """
        return self.page(JobsQuery(owner=owner, limit=limit, **filters)).jobs

    def page(self, query: JobsQuery) -> JobList:
        """The same with where it goes on."""
        return self._caller.call(LIST, query)

    def get(self, job: int) -> JobDetails:
        """One job with its events and its result files. Raises Refused where there is none."""
        return self._caller.call(GET, OneJob(job=job))

    def cancel(self, job: int, owner: str = "") -> str:
        """End a job with its workflow, whatever it is doing; returns a sentence. ``owner``: only if it is this one's."""
        return self._caller.call(CANCEL, OwnedJob(job=job, owner=owner)).message

    def delete(self, job: int, owner: str = "") -> str:
        """Delete an ended job with its workflow; returns a sentence. ``owner``: only if it is this one's."""
        return self._caller.call(DELETE, OwnedJob(job=job, owner=owner)).message
