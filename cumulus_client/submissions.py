"""New jobs: submitted, or a failed one once more."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.jobs import MAX_SETTINGS, JobNumber, OneJob
from cumulus_client.operations import Operation, Request, Response

MAX_NAME = 200
MAX_DESCRIPTION = 10_000
MAX_KEY = 200


class NewJob(Request):
    """A job to submit. ``flavor``: the machine size, "" for the installation's default; ``settings``: the form by its fields.

    ``start_after``: the job whose results it may read; ``workflow``: the name of the workflow that it is a step of.
    ``owner``: whose job it is, "" for who asks; only an administrator may name another one. ``complete``: no file of it is sent,
    all that it reads is in the storage. ``idempotency_key``: the same key of the same user within a day gives the same job.
    """

    app: str = Field(min_length=1, max_length=MAX_NAME)
    flavor: str = Field(default="", max_length=MAX_NAME)
    settings: dict[str, Any] = Field(default={}, max_length=MAX_SETTINGS)
    description: str = Field(default="", max_length=MAX_DESCRIPTION)
    start_after: JobNumber | None = None
    workflow: str = Field(default="", max_length=MAX_NAME)
    owner: str = Field(default="", max_length=MAX_NAME)
    complete: bool = False
    idempotency_key: str = Field(default="", max_length=MAX_KEY)


class Submitted(Response):
    """A job that was taken. ``folder``: its folder's name in the storage; ``is_new``: False where its key has made it before."""

    id: int
    owner: str
    folder: str
    is_new: bool = True


SUBMIT = Operation(
    "jobs.submit",
    "POST",
    "/jobs",
    NewJob,
    Submitted,
    "Submit a job. Its key may also stand in the header Idempotency-Key; with another body it is refused (409).",
    "submit",
    201,
)


class RerunRequest(OneJob):
    """Which job. ``flavor``: the machine size, "" for the job's; ``owner``: whose the new job is, "" for the job's owner."""

    flavor: str = Field(default="", max_length=MAX_NAME)
    owner: str = Field(default="", max_length=MAX_NAME)


RERUN = Operation(
    "jobs.rerun",
    "POST",
    "/jobs/{job}/rerun",
    RerunRequest,
    Submitted,
    "Run a job once more, as a new job, with the files that it has read: by their checksums, as far as the storage has them.",
    "submit",
    201,
    takes_long=True,
)
RETRY = Operation(
    "jobs.retry",
    "POST",
    "/jobs/{job}/retry",
    OneJob,
    Submitted,
    "Run a job that failed or was cancelled once more, as a new job: same app, settings, machine size and files.",
    "submit",
    201,
)


class Submissions:
    """Makes jobs of an installation."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def submit(self, app: str, settings: Mapping[str, Any], **fields: Any) -> Submitted:
        """Submit a job of an app. ``fields``: the others of :class:`NewJob`. Raises Refused, which names the field at fault."""
        return self._caller.call(SUBMIT, NewJob(app=app, settings=dict(settings), **fields))

    def retry(self, job: int) -> Submitted:
        """Run a job that failed or was cancelled once more. Raises Refused where it cannot be."""
        return self._caller.call(RETRY, OneJob(job=job))

    def rerun(self, job: int, flavor: str = "", owner: str = "") -> Submitted:
        """Run a job once more with the files that it has read. Raises Refused where one of them is no longer there."""
        return self._caller.call(RERUN, RerunRequest(job=job, flavor=flavor, owner=owner))
