"""Machines as the API gives them, what the cloud says of them, the operations on them, and the client of these."""

import builtins

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.jobs import JobNumber, OneJob
from cumulus_client.operations import Nothing, Operation, Request, Response

LONGEST_HOLD_H = 24.0 * 30


class Worker(Response):
    """A machine made for a job, or one that waits for a job.

    ``job``: None for one that waits; ``boot``: how it started; ``held_until``: it is kept so long should its job fail, 0 for not;
    ``message``: why it is held, or could not be removed yet.
    """

    name: str
    job: int | None
    owner: str
    flavor: str
    weight: int
    state: str
    state_since: float
    attempt: int
    boot: str
    held_until: float
    message: str


class WorkerList(Response):
    """The machines that there are, oldest first."""

    workers: list[Worker]


class Held(Response):
    """A machine that is held, or no longer. ``message``: how it stands; ``login``: how to log in, "" where it is not held."""

    worker: str
    message: str
    login: str


class Orphan(Response):
    """Something of this installation that no job accounts for. ``worker``: "" where it belongs to none."""

    kind: str
    worker: str
    identifier: str
    removed: bool


class OrphanList(Response):
    """What no job accounts for."""

    orphans: list[Orphan]


class Quota(Response):
    """How much of something the cloud lets the project have; ``limit``: None for no limit. RAM is in MB."""

    name: str
    used: int
    limit: int | None


class QuotaList(Response):
    """The cloud's limits; none where it sets none. ``cloud``: its name."""

    cloud: str
    quotas: list[Quota]


class HoldRequest(Request):
    """Which job's machine is kept, and for how many hours at most."""

    job: JobNumber
    hours: float = Field(24.0, ge=0, le=LONGEST_HOLD_H, allow_inf_nan=False)


LIST = Operation("workers.list", "GET", "/workers", Nothing, WorkerList, "The machines that there are.")
HOLD = Operation(
    "workers.hold", "POST", "/jobs/{job}/hold", HoldRequest, Held, "Keep the machine of a job, should it fail.", "admin"
)
RELEASE = Operation("workers.release", "DELETE", "/jobs/{job}/hold", OneJob, Held, "Keep a job's machine no longer.", "admin")
ORPHANS = Operation(
    "workers.orphans", "GET", "/orphans", Nothing, OrphanList, "What the cloud has and no job accounts for.", takes_long=True
)
REMOVE_ORPHANS = Operation(
    "workers.remove_orphans",
    "POST",
    "/orphans/remove",
    Nothing,
    OrphanList,
    "Remove what is an orphan at two inspections, a few seconds apart.",
    "admin",
    takes_long=True,
)
QUOTA = Operation("workers.quota", "GET", "/quota", Nothing, QuotaList, "The cloud's limits, and what is used.", takes_long=True)


class Workers:
    """The machines of an installation."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self) -> "builtins.list[Worker]":
        """The machines that there are: all for an administrator, those of the own jobs for a user."""
        return self._caller.call(LIST, Nothing()).workers

    def hold(self, job: int, hours: float = 24.0) -> Held:
        """Keep the machine of a job, should it fail, for so long. Raises Refused where it has none."""
        return self._caller.call(HOLD, HoldRequest(job=job, hours=hours))

    def release(self, job: int) -> Held:
        """Keep the machine of a job no longer."""
        return self._caller.call(RELEASE, OneJob(job=job))

    def orphans(self) -> "builtins.list[Orphan]":
        """What the cloud and Terraform have that no job accounts for."""
        return self._caller.call(ORPHANS, Nothing()).orphans

    def remove_orphans(self) -> "builtins.list[Orphan]":
        """Remove it; those that stay have ``removed`` False."""
        return self._caller.call(REMOVE_ORPHANS, Nothing()).orphans

    def quota(self) -> QuotaList:
        """The cloud's limits, and how much is used."""
        return self._caller.call(QUOTA, Nothing())
