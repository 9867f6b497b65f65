"""The shared storage: how full it is, what is no longer kept, and what can be had back."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from server.db.transitions import Change
from server.engine.duties.restoring import Restorer
from server.engine.duties.retention import Retention
from server.engine.duties.retention_plan import Plan, Removal
from server.engine.duties.sightings import trash_bytes
from server.engine.duties.timekeeping import why_disagrees, why_doubted
from server.engine.duties.trashcan import Trashcan
from server.engine.records.storage_owner import adopt_storage, require_own_storage
from server.errors import CumulusError
from server.home.controller_lock import only_controller
from server.home.running import nudge
from server.progress import Step
from server.services.principal import Principal, Role
from server.settings import Settings, where_given
from server.storage.data import usage
from server.storage.folders import Storage
from server.storage.trash import Entry


class ClockDisagrees(CumulusError):
    """Ages cannot be told by this computer's clock."""

    code = "clock_disagrees"


class NoStorage(CumulusError):
    """The folder of the storage is not there: it is not mounted, or the setting names another one."""

    code = "no_storage"


@dataclass(frozen=True)
class StorageView:
    """How full the storage is, in bytes. ``doubted``: why nothing is removed by its age, "" where that is not so."""

    path: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    trash_bytes: int
    doubted: str


@dataclass(frozen=True)
class TrashView:
    """Something in the trash. ``told``: its record, field by field; ``stays_s``: seconds that it stays while controllers run."""

    entry: str
    told: dict[str, Any]
    path: str
    stays_s: int


class StorageService:
    """The storage of one installation. All but adopting it takes an open database. Raises NoStorage where it is away."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        _require_there(settings)
        self._settings = settings
        self._storage = Storage(settings.storage)
        self._trashcan = Trashcan(self._storage, settings.trash_days)
        self._retention = Retention(self._storage, settings.data_max_age_days, self._trashcan)
        self._clock = clock

    def usage(self, principal: Principal) -> StorageView:
        """How full it is, how much of it the trash takes. Raises Forbidden."""
        principal.require(Role.ADMINISTRATOR)
        total, used, free = usage(self._storage.root)
        return StorageView(str(self._storage.root), total, used, free, trash_bytes(), self.why_doubted())

    def adopt(self, principal: Principal) -> str:
        """Take the storage for this installation's own; returns a sentence. Raises Forbidden, AlreadyRunning."""
        principal.require(Role.ADMINISTRATOR)
        with only_controller(self._settings.home):
            return adopt_storage(self._settings)

    def require_own(self, principal: Principal) -> None:
        """Before something is changed. Raises Forbidden, StorageNotOurs."""
        principal.require(Role.ADMINISTRATOR)
        require_own_storage(self._settings)

    def plan(self, principal: Principal, step: Step) -> Plan:
        """What is no longer kept. Raises Forbidden."""
        principal.require(Role.ADMINISTRATOR)
        return self._retention.plan(self._clock(), step.advance)

    def require_clock(self) -> None:
        """Raises ClockDisagrees where this computer's clock contradicts what was recorded."""
        if why := why_disagrees(self._clock()):
            raise ClockDisagrees(f"nothing was removed: {why}")

    def clean(self, principal: Principal, plan: Plan, step: Step) -> list[Removal]:
        """Remove what a plan says; returns what is gone. Raises Forbidden, ClockDisagrees, StorageNotOurs."""
        self.require_own(principal)
        self.require_clock()
        return self._retention.remove(plan.removals, self._clock(), step.advance)

    def why_doubted(self) -> str:
        """Why the controller removes nothing by its age now, "" where it does."""
        return why_doubted(self._clock())

    def trash(self, principal: Principal) -> list[TrashView]:
        """What was removed and can be had back, what went last first. Raises Forbidden."""
        principal.require(Role.ADMINISTRATOR)
        return [_trash_view(entry, left_s) for entry, left_s in self._trashcan.listed()]

    def restore(self, principal: Principal, name: str) -> str:
        """Put something back; returns a sentence. Raises Forbidden, NotFound, NotRestorable, StorageNotOurs."""
        self.require_own(principal)
        change = Change(self._clock(), who=principal.name, text="restored from the trash")
        text = Restorer(self._storage).restore(name, change)
        nudge(self._settings.home)
        return text


def storage_json(view: StorageView) -> dict[str, Any]:
    """The storage for programs."""
    return asdict(view)


def cleaning_json(plan: Plan, removed: Sequence[Removal], doubted: str, *, dry_run: bool) -> dict[str, Any]:
    """What was removed, or would be, for programs."""
    found = {"dry_run": dry_run, "removed": [asdict(one) for one in removed], "unknown": plan.unknown}
    return {**found, "doubted": doubted}


def trash_json(view: TrashView) -> dict[str, Any]:
    """An entry of the trash for programs."""
    return {"entry": view.entry, **view.told, "path": view.path, "stays_s": view.stays_s}


def _require_there(settings: Settings) -> None:
    if settings.storage.is_dir():
        return
    where = where_given("storage")
    raise NoStorage(f"there is no storage {settings.storage} ({where}): mount it, or set another one", field="setting storage")


def _trash_view(entry: Entry, left_s: float) -> TrashView:
    told = entry.record.model_dump(exclude={"version"}) if entry.record else {}
    return TrashView(entry.name, told, str(entry.content), round(left_s))
