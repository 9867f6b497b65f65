"""The shared storage as the API gives it, the operations on it, and the client of these."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Annotated, BinaryIO, Literal
from urllib.parse import quote, unquote

from pydantic import Field

from cumulus_client.calling import Caller, Stream
from cumulus_client.errors import Problem, Refused
from cumulus_client.jobs import ResultFile
from cumulus_client.operations import Done, Download, Nothing, Operation, Request, Response
from cumulus_client.results import MAX_PATH, fetch_whole

LONGEST_NAME = 1000  # characters
PAGE = 1000


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


class StoredFile(ResultFile):
    """A file or folder of the shared data. ``path``: below it; ``size``: bytes, of a folder with all in it.

    ``modified``: Unix seconds. ``owner``: who has sent it by HTTP and may remove it, "" where nobody has; ``tag``: of a file.
    """

    kind: Literal["file", "folder"]
    modified: float
    owner: str


class StoredFiles(Response):
    """What is in a folder of the shared data, by the names; ``next``: for ``cursor``, to get more, "" where there are no more."""

    files: list[StoredFile]
    next: str


class FilesQuery(Request):
    """``path``: of a folder of the shared data, "" for their top; ``name``: only what has this name there.

    A path is spelt as the files' ``url`` has it; ``cursor``: from an earlier answer.
    """

    path: str = Field(default="", max_length=MAX_PATH)
    name: str = Field(default="", max_length=LONGEST_NAME)
    limit: int = Field(default=100, ge=1, le=PAGE)
    cursor: str = Field(default="", max_length=MAX_PATH)


class OneFile(Request):
    """A file of the shared data, by its path as its ``url`` spells it."""

    path: str = Field(min_length=1, max_length=MAX_PATH)


class GroupQuota(Response):
    """What the members of a group may store together, and do, in bytes."""

    group: str
    used_bytes: int
    limit_bytes: int


class Quota(Response):
    """What one stores and may store, in bytes. ``limit_bytes``: None for no limit; ``groups``: those that have a limit.

    ``left_bytes``: how much more may come; None where nothing limits it.
    """

    owner: str
    used_bytes: int
    limit_bytes: int | None
    groups: list[GroupQuota]
    left_bytes: int | None


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

FILES = Operation(
    "storage.files", "GET", "/storage/files", FilesQuery, StoredFiles, "Browse the shared data, by the names.", takes_long=True
)
FILE = Download(
    "storage.file",
    "/storage/files/{path}",
    OneFile,
    "application/octet-stream",
    "One shared file, or the part that a Range header asks for; its ETag is the file's tag in the list.",
)
REMOVE = Operation(
    "storage.remove",
    "DELETE",
    "/storage/files/{path}",
    OneFile,
    Done,
    "Remove a shared file that one has sent, into the trash, while no job waits for it or runs with it.",
    "submit",
)
QUOTA = Operation("storage.quota", "GET", "/storage/quota", Nothing, Quota, "How much one stores, and how much one may.")


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

    def files(self, folder: StoredFile | None = None) -> Iterator[StoredFile]:
        """The shared data, or what is in a folder of them, by the names. Raises Refused."""
        path, cursor = unquote(folder.url) if folder else "", ""
        while True:
            found = self._caller.call(FILES, FilesQuery(path=path, cursor=cursor, limit=PAGE))
            yield from found.files
            if not (cursor := found.next):
                return

    def find(self, name: str, folder: str = "") -> StoredFile | None:
        """What has this name in a folder of the shared data, in whatever Unicode form; None for nothing."""
        if not 1 <= len(name) <= LONGEST_NAME:
            return None
        found = self._caller.call(FILES, FilesQuery(path=_spelt(folder), name=name)).files
        return found[0] if found else None

    def file(self, file: StoredFile, start: int = 0) -> AbstractContextManager[Stream]:
        """A shared file, open while the block runs: from the byte ``start`` on while it is what the list has, else all of it.

        Raises Refused, Unreachable.
        """
        return self._caller.download(FILE, OneFile(path=unquote(file.url)), start, file.tag)

    def fetch(self, file: StoredFile, target: BinaryIO, heard: Callable[[int], None] = lambda _size: None) -> None:
        """Fetch a shared file as :meth:`cumulus_client.results.Results.fetch` fetches a result."""
        fetch_whole(lambda start: self.file(file, start), file.size, target, heard)

    def remove(self, name: str) -> str:
        """Remove a shared file that one has sent; returns a sentence. Raises Refused."""
        return self._caller.call(REMOVE, OneFile(path=_spelt(name))).message

    def quota(self) -> Quota:
        """How much one stores, and how much one may."""
        return self._caller.call(QUOTA, Nothing())


def _spelt(path: str) -> str:
    """A path as a person writes it, spelt as :attr:`StoredFile.url` has it: % stands for a byte that is no readable text."""
    readable = (one if one.isprintable() and one != "%" else quote(one.encode(errors="surrogateescape"), safe="") for one in path)
    return "".join(readable)
