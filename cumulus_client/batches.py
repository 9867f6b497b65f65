"""Batches of jobs as the API gives them, the operations on them, and the client of these.

A batch is one form for many files, a job each, or a sample sheet with a job in each row.
"""

import builtins
from typing import Annotated, Any, Literal

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.operations import Done, Operation, Request, Response

BatchNumber = Annotated[int, Field(ge=1, le=999_999_999_999_999)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]
MAX_JOBS = 10_000  # of one batch
MAX_SHEET = 10_000_000  # characters of a sample sheet
MAX_PAGE = 10_000


class NewBatch(Request):
    """What is submitted: ``form`` is that of all jobs; they differ by a file of ``files`` each, or by a row of ``sheet``.

    ``each``: the field that gets the file, "" where the app has one field that it can be. ``sheet``: the text of a sample sheet,
    as CSV (separated by commas, semicolons or tabs) or SDRF-Proteomics; ``columns``: which field a column is for, where their
    names differ, "" for none. ``sends``: names of the files that will be sent; all others have to be in the storage. ``key``: any
    text; the same request with the same key makes no second batch. ``preset``: a form to begin with. ``owner``: "" for oneself.
    """

    app: str = Field(max_length=200)
    name: str = Field(default="", max_length=200)
    flavor: str = Field(default="", max_length=200)
    description: str = Field(default="", max_length=10_000)
    form: dict[str, Any] = Field(default_factory=dict)
    preset: str = Field(default="", max_length=200)
    each: str = Field(default="", max_length=1000)
    files: list[Name] = Field(default_factory=list, max_length=MAX_JOBS)
    sheet: str = Field(default="", max_length=MAX_SHEET)
    columns: dict[str, str] = Field(default_factory=dict, max_length=1000)
    sends: list[Name] = Field(default_factory=list, max_length=10 * MAX_JOBS)
    key: str = Field(default="", max_length=200)
    owner: str = Field(default="", max_length=200)


class PlannedFile(Response):
    """A file that a job of a batch needs. ``path``: as it was given; ``is_shared``: it belongs into the shared data.

    ``is_stored``: the shared data has a file of that name. ``is_sent``: it is to be sent.
    """

    name: str
    path: str
    field: str
    is_shared: bool
    is_stored: bool
    is_sent: bool


class PlannedJob(Response):
    """A job of a batch before it is submitted. ``place``: where it was asked for, such as ``row 3``."""

    position: int
    label: str
    place: str
    flavor: str
    files: list[PlannedFile]


class BatchPlan(Response):
    """What a batch would be. ``remarks``: sentences about what was left out of a preset."""

    jobs: list[PlannedJob]
    remarks: list[str]


class SubmittedJob(Response):
    """A job of a new batch. ``folder``: its name in the storage; ``waits_for``: the names of its files that are to be sent."""

    job: int
    position: int
    label: str
    folder: str
    waits_for: list[str]


class Submitted(Response):
    """A new batch; ``is_new``: False where it was submitted before with the same key."""

    batch: int
    is_new: bool
    jobs: list[SubmittedJob]
    remarks: list[str]


class Batch(Response):
    """A batch in a list. ``size``: jobs that were submitted; ``states``: how many of those that are left are in which state.

    An archived job counts with the state in which it ended, and in ``archived``, too. ``is_over``: none of them is to come.
    """

    id: int
    owner: str
    app: str
    name: str
    size: int
    created: float
    states: dict[str, int]
    archived: int
    is_over: bool


class BatchJob(Response):
    """A job in its batch's matrix. ``files``: names of its input files; ``figures``: what its app found.

    ``blame``: who can fix a failure. ``tries``: how many jobs there were in this position, it included.
    """

    position: int
    label: str
    job: int
    state: str
    is_archived: bool
    attempt: int
    reason: str
    blame: str
    message: str
    warning: str
    files: list[str]
    figures: list[dict[str, Any]]
    tries: int
    started: float | None
    ended: float | None


class BatchDetails(Batch):
    """A batch with its jobs, failures first; ``next``: for ``cursor``, to get more, "" where there are no more."""

    jobs: list[BatchJob]
    next: str


class BatchList(Response):
    """Batches, newest first; ``next``: for ``cursor``, to get older ones, "" where there are none."""

    batches: list[Batch]
    next: str


class BatchesQuery(Request):
    """Which batches. ``owner``: only of this owner; ``cursor``: from an earlier answer."""

    owner: str = Field(default="", max_length=200)
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str = Field(default="", max_length=20, pattern=r"^([1-9][0-9]{0,14})?$")


class OneBatch(Request):
    """Which batch."""

    batch: BatchNumber


State = Literal["uploading", "queued", "provisioning", "starting", "running", "lost", "finishing", "done", "failed", "cancelled"]


class BatchQuery(OneBatch):
    """Which jobs of a batch: ``state``: only those in one of these."""

    state: list[State] = Field(default_factory=list, max_length=20)
    limit: int = Field(default=1000, ge=1, le=MAX_PAGE)
    cursor: str = Field(default="", max_length=20, pattern=r"^([1-9][0-9]{0,14})?$")


CHECK = Operation(
    "batches.check", "POST", "/batches/check", NewBatch, BatchPlan, "Check a batch without submitting it.", "submit"
)
CREATE = Operation(
    "batches.create", "POST", "/batches", NewBatch, Submitted, "Submit a batch: all of its jobs or none.", "submit", 201
)
LIST = Operation("batches.list", "GET", "/batches", BatchesQuery, BatchList, "List batches, newest first.")
GET = Operation("batches.get", "GET", "/batches/{batch}", BatchQuery, BatchDetails, "One batch: its jobs, failures first.")
CANCEL = Operation(
    "batches.cancel", "POST", "/batches/{batch}/cancel", OneBatch, Done, "End the jobs of a batch that have not ended.", "submit"
)
RETRY = Operation(
    "batches.retry",
    "POST",
    "/batches/{batch}/retry",
    OneBatch,
    Submitted,
    "Submit the failed jobs of a batch again.",
    "submit",
    201,
)
DELETE = Operation("batches.delete", "DELETE", "/batches/{batch}", OneBatch, Done, "Delete a batch with its jobs.", "submit")


class Batches:
    """The batches of an installation."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def check(self, batch: NewBatch) -> BatchPlan:
        """What a batch would be. Raises Refused that names the row and the column of what is wrong."""
        return self._caller.call(CHECK, batch)

    def submit(self, batch: NewBatch) -> Submitted:
        """Submit all of its jobs. Raises Refused, and then there are none."""
        return self._caller.call(CREATE, batch)

    def list(self, owner: str = "", limit: int = 50, cursor: str = "") -> BatchList:
        """The newest batches; ``owner``: only of this owner."""
        return self._caller.call(LIST, BatchesQuery(owner=owner, limit=limit, cursor=cursor))

    def get(self, batch: int, state: "builtins.list[State] | None" = None, limit: int = 1000, cursor: str = "") -> BatchDetails:
        """One batch with its jobs. Raises Refused where there is none."""
        return self._caller.call(GET, BatchQuery(batch=batch, state=state or [], limit=limit, cursor=cursor))

    def cancel(self, batch: int) -> str:
        """End what has not ended; returns a sentence."""
        return self._caller.call(CANCEL, OneBatch(batch=batch)).message

    def retry(self, batch: int) -> Submitted:
        """Submit the failed jobs again."""
        return self._caller.call(RETRY, OneBatch(batch=batch))

    def delete(self, batch: int) -> str:
        """Delete the batch with its jobs; returns a sentence."""
        return self._caller.call(DELETE, OneBatch(batch=batch)).message
