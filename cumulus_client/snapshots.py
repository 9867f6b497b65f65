"""Snapshots of the template as the API gives them, the operations on them, and the client of these."""

import builtins

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.operations import Done, Nothing, Operation, Request, Response

MOST_KEPT = 1_000_000


class Snapshot(Response):
    """A copy of the template's disk. ``promoted``: workers start from it."""

    name: str
    promoted: bool
    created: float


class SnapshotList(Response):
    """All snapshots, oldest first."""

    snapshots: list[Snapshot]


class Pruned(Response):
    """The names of the snapshots that were removed."""

    removed: list[str]


class PruneRequest(Request):
    """How many of the newest stay."""

    keep: int = Field(2, ge=1, le=MOST_KEPT)


LIST = Operation("snapshots.list", "GET", "/snapshots", Nothing, SnapshotList, "The snapshots of the template.", takes_long=True)
ROLL_BACK = Operation(
    "snapshots.roll_back",
    "POST",
    "/snapshots/rollback",
    Nothing,
    Done,
    "Promote the previous snapshot again.",
    "admin",
    takes_long=True,
)
PRUNE = Operation(
    "snapshots.prune", "POST", "/snapshots/prune", PruneRequest, Pruned, "Remove old snapshots.", "admin", takes_long=True
)


class Snapshots:
    """The snapshots of an installation's template."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self) -> "builtins.list[Snapshot]":
        """All snapshots, oldest first."""
        return self._caller.call(LIST, Nothing()).snapshots

    def roll_back(self) -> str:
        """Promote the previous one again; returns a sentence."""
        return self._caller.call(ROLL_BACK, Nothing()).message

    def prune(self, keep: int = 2) -> "builtins.list[str]":
        """Remove all but the newest ``keep``, the promoted one and those in use; returns the names of the removed ones."""
        return self._caller.call(PRUNE, PruneRequest(keep=keep)).removed
