"""The shared storage as the API gives it, the operations on it, and the client of these."""

from typing import Annotated, Literal

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.errors import Problem, Refused
from cumulus_client.operations import Done, Nothing, Operation, Request, Response

LONGEST_NAME = 1000  # characters


class StorageUsage(Response):
    """How full the storage is, in bytes.

    ``trash_days``: how long removed files stay in the trash; ``doubted``: why nothing is removed by its age, "" where it is.
    """

    path: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    trash_bytes: int
    trash_days: float
    doubted: str


class StorageRemoval(Response):
    """Something that is no longer kept. ``bytes``: what its removal frees."""

    kind: Literal["job", "data", "converted", "upload"]
    name: str
    bytes: int
    reason: str
    job_id: int | None
    by_age: bool


class CleaningPlan(Response):
    """What a cleaning would remove.

    ``plan``: its name for the removal; ``unknown``: what stays because nobody knows it; ``doubted``: why the controller removes
    nothing by its age by itself, "" where it does.
    """

    plan: str
    removals: list[StorageRemoval]
    unknown: list[str]
    doubted: str


class Cleaned(Response):
    """What a cleaning has removed."""

    removed: list[StorageRemoval]
    doubted: str


class TrashEntry(Response):
    """Something in the trash. ``stays_s``: seconds that it stays while controllers run; ``path``: where its files are."""

    entry: str
    kind: Literal["job", "deleted", "data"]
    name: str
    job_id: int | None
    owner: str
    at: float
    reason: str
    bytes: int
    path: str
    stays_s: int


class TrashList(Response):
    """What is in the trash, the latest first."""

    entries: list[TrashEntry]


class PlanRequest(Request):
    """``is_dry``: whether the plan is only read; nothing is checked then that only a removal needs."""

    is_dry: bool = False


class CleaningRequest(Request):
    """Which plan is carried out."""

    plan: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class RestoreRequest(Request):
    """What is put back: the name of an entry of the trash, a job's number, or the name of a shared file."""

    name: str = Field(min_length=1, max_length=LONGEST_NAME)


USAGE = Operation("storage.usage", "GET", "/storage", Nothing, StorageUsage, "How full the storage is.")
PLAN = Operation(
    "storage.plan",
    "POST",
    "/storage/cleaning",
    PlanRequest,
    CleaningPlan,
    "What nobody has used for long; removes nothing.",
    takes_long=True,
)
CLEAN = Operation(
    "storage.clean",
    "POST",
    "/storage/cleaning/{plan}",
    CleaningRequest,
    Cleaned,
    "Remove what a plan says, into the trash.",
    "admin",
    takes_long=True,
)
TRASH = Operation("storage.trash", "GET", "/storage/trash", Nothing, TrashList, "What was removed and can be restored.")
RESTORE = Operation("storage.restore", "POST", "/storage/restore", RestoreRequest, Done, "Restore from the trash.", "admin")


class Storage:
    """The shared storage of an installation."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def usage(self) -> StorageUsage:
        """How full it is, and how much of it the trash takes."""
        return self._caller.call(USAGE, Nothing())

    def plan(self, *, is_dry: bool = False) -> CleaningPlan:
        """What is no longer kept; removes nothing. ``is_dry``: for looking only."""
        return self._caller.call(PLAN, PlanRequest(is_dry=is_dry))

    def clean(self, plan: str) -> Cleaned:
        """Remove what a plan says, into the trash. Raises Refused where the plan is not known any more."""
        return self._caller.call(CLEAN, CleaningRequest(plan=plan))

    def trash(self) -> list[TrashEntry]:
        """What was removed and can be restored, the latest first."""
        return self._caller.call(TRASH, Nothing()).entries

    def restore(self, name: str) -> str:
        """Put something back; returns a sentence. Raises Refused where the trash has nothing of that name."""
        if not 1 <= len(name) <= LONGEST_NAME:
            raise Refused(Problem(422, "invalid_input", f"a name in the trash has 1 to {LONGEST_NAME} characters", "name"))
        return self._caller.call(RESTORE, RestoreRequest(name=name)).message
