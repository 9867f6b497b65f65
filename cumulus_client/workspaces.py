"""The workspaces of Terraform as the API gives them, the operations on them, and the client of these."""

import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Annotated, Literal

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.errors import Problem, Refused
from cumulus_client.operations import Nothing, Operation, Request, Response

NAME = r"[a-z][a-z0-9-]{0,62}"
AT_ONCE = 4  # workspaces that are compared with the cloud
LONGEST_DRIFT_S = 300.0
_SHOWN = 80  # characters
WorkspaceName = Annotated[str, Field(pattern=f"^{NAME}$")]
_IS_NAME = re.compile(NAME)


class Drift(Response):
    """How a state compares with the cloud; ``text``: what differs, or why that is not known."""

    found: Literal["none", "drift", "unknown"]
    text: str = ""


class Memory(Response):
    """Memory of the controller's computer that a machine takes, bytes. ``proportional``: what it shares is counted in parts."""

    resident: int
    proportional: int


class StateLock(Response):
    """Who has locked a state, or has left a lock. ``pid``: None where nobody holds it any more; ``age_s``: for how long."""

    operation: str
    who: str
    since: float
    pid: int | None
    held: bool
    age_s: float


class Workspace(Response):
    """A workspace with what its row, its job and the cloud say. ``troubles``: what is the matter with it, and what helps."""

    worker: str
    serial: int
    resources: list[str]
    tainted: list[str]
    readable: bool
    complete: bool
    alive: bool | None
    memory: Memory | None
    lock: StateLock | None
    state: str
    boot: str
    message: str
    job: int | None
    owner: str
    drift: Drift | None = None
    troubles: list[str]


class WorkspaceList(Response):
    """All workspaces. ``remarks``: what no workspace shows; ``unknown``: why the cloud cannot be asked, "" where it can."""

    workspaces: list[Workspace]
    remarks: list[str]
    unknown: str


class LockedState(Response):
    """The lock of a state, None where there is none."""

    lock: StateLock | None


class Unlocked(Response):
    """``was``: the lock that is gone, None where there was none."""

    was: StateLock | None
    message: str


class CloudResource(Response):
    """Something that the cloud has of a machine."""

    kind: str
    identifier: str


class Forgotten(Response):
    """``aside``: where the state lies now; ``left``: what the cloud still has, None where it cannot be asked."""

    aside: str | None
    left: list[CloudResource] | None
    message: str


class MachineRemoval(Response):
    """A machine on its way out.

    ``job``: the one that is tried again on another machine, None where none was at work; ``gone``: the cloud confirms that it is;
    ``message``: why it is not yet; ``limit_s``: seconds after which it should be.
    """

    worker: str
    job: int | None = None
    gone: bool
    message: str
    limit_s: float


class OneWorkspace(Request):
    """Which workspace."""

    name: WorkspaceName


class WorkspaceChange(Request):
    """Which workspace; ``force``: also where it is in use."""

    name: WorkspaceName
    force: bool = False


class DriftQuery(Request):
    """Which workspace, and for how many seconds the cloud may be asked."""

    name: WorkspaceName
    limit_s: float = Field(60.0, gt=0, le=LONGEST_DRIFT_S, allow_inf_nan=False)


_ONE = "/workspaces/{name}"
LIST = Operation("workspaces.list", "GET", "/workspaces", Nothing, WorkspaceList, "Terraform's workspaces.", takes_long=True)
DRIFT = Operation(
    "workspaces.drift", "GET", f"{_ONE}/drift", DriftQuery, Drift, "Whether the cloud is as a state says.", takes_long=True
)
LOCK = Operation("workspaces.lock", "GET", f"{_ONE}/lock", OneWorkspace, LockedState, "Who has locked a state.", takes_long=True)
UNLOCK = Operation(
    "workspaces.unlock",
    "POST",
    f"{_ONE}/unlock",
    WorkspaceChange,
    Unlocked,
    "Clear away a lock whose process is gone; with force, end its process.",
    "admin",
    takes_long=True,
)
FORGET = Operation(
    "workspaces.forget",
    "POST",
    f"{_ONE}/forget",
    WorkspaceChange,
    Forgotten,
    "Set a state aside, so that Terraform knows the machine no more.",
    "admin",
    takes_long=True,
)
DESTROY = Operation(
    "workspaces.destroy",
    "POST",
    f"{_ONE}/destroy",
    WorkspaceChange,
    MachineRemoval,
    "Begin to remove a machine and all that belongs to it.",
    "admin",
    takes_long=True,
)
REMOVAL = Operation(
    "workspaces.removal", "GET", f"{_ONE}/removal", OneWorkspace, MachineRemoval, "Whether a machine is gone.", takes_long=True
)


class Workspaces:
    """The workspaces of an installation. All raise Refused for what can be no workspace's name."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self) -> WorkspaceList:
        """The workspaces, with what rows and cloud know of them."""
        return self._caller.call(LIST, Nothing())

    def drift(self, name: str, limit_s: float = 60.0) -> Drift:
        """Ask the cloud whether it is as the state says; changes nothing."""
        return self._caller.call(DRIFT, DriftQuery(name=_named(name), limit_s=min(limit_s, LONGEST_DRIFT_S)))

    def drifts(
        self, names: Sequence[str], limit_s: float, heard: Callable[[str, Drift], None] = lambda _name, _drift: None
    ) -> dict[str, Drift]:
        """The same for several, some at once, within so many seconds for all; ``heard`` is called with each as it is known."""
        end = time.monotonic() + limit_s
        found: dict[str, Drift] = {}
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="drift")
        try:
            waiting = {pool.submit(self._drift_until, name, end): name for name in names}
            for future in as_completed(waiting):
                found[waiting[future]] = future.result()
                heard(waiting[future], future.result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return {name: found[name] for name in names}

    def _drift_until(self, name: str, end: float) -> Drift:
        left_s = end - time.monotonic()
        if left_s <= 0:
            return Drift(found="unknown", text="the time for the look at all of them was over")
        try:
            return self.drift(name, left_s)
        except Refused as refusal:  # it has gone meanwhile
            return Drift(found="unknown", text=refusal.message)

    def lock(self, name: str) -> StateLock | None:
        """Who has locked the state; None where nobody has."""
        return self._caller.call(LOCK, OneWorkspace(name=_named(name))).lock

    def unlock(self, name: str, *, force: bool = False) -> Unlocked:
        """Clear away a lock whose process is gone; ``force``: also another, by ending its process."""
        return self._caller.call(UNLOCK, WorkspaceChange(name=_named(name), force=force))

    def forget(self, name: str, *, force: bool = False) -> Forgotten:
        """Set the state aside; the cloud is not touched. ``force``: also where the machine is in use."""
        return self._caller.call(FORGET, WorkspaceChange(name=_named(name), force=force))

    def destroy(self, name: str, *, force: bool = False) -> MachineRemoval:
        """Begin to remove the machine; :meth:`removal` says when it is gone. ``force``: also where a job is at work on it."""
        return self._caller.call(DESTROY, WorkspaceChange(name=_named(name), force=force))

    def removal(self, name: str) -> MachineRemoval:
        """Whether a machine whose removal was begun is gone. Raises Refused where it cannot be removed."""
        return self._caller.call(REMOVAL, OneWorkspace(name=_named(name)))


def _named(name: str) -> str:
    """The name. Raises Refused for what can be none: it would be another path."""
    if not _IS_NAME.fullmatch(name):
        text = f"{name[:_SHOWN]!r} cannot be a workspace's name"
        raise Refused(Problem(422, "invalid_input", text, "name"))
    return name
