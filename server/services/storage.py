"""The shared storage: how full it is, what is no longer kept, and what can be restored."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from threading import Lock
from uuid import uuid4

from cumulus_client.storage import Cleaned, CleaningPlan, StorageRemoval, StorageUsage, TrashEntry
from server.db.transitions import Change
from server.engine.duties.restoring import Restorer
from server.engine.duties.retention import Retention
from server.engine.duties.retention_plan import Plan, Removal
from server.engine.duties.sightings import trash_bytes
from server.engine.duties.timekeeping import why_disagrees, why_doubted
from server.engine.duties.trashcan import Trashcan
from server.engine.records.storage_owner import adopt_storage, require_own_storage
from server.errors import CumulusError, NotFound
from server.home.controller_lock import only_controller
from server.home.running import nudge
from server.services.principal import Principal, Role
from server.settings import Settings, where_given
from server.storage.data import usage
from server.storage.folders import Storage
from server.storage.trash import Entry, TrashRecord

PLANS_KEPT = 8  # who has made a plan removes what it says soon, or never


class ClockDisagrees(CumulusError):
    """This computer's clock cannot say how old things are."""

    code = "clock_disagrees"


class NoStorage(CumulusError):
    """The folder of the storage is not there: it is not mounted, or the setting names another one."""

    code = "no_storage"


class CleaningPlans:
    """The latest plans, which people look at before they have them carried out."""

    def __init__(self) -> None:
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._lock = Lock()

    def keep(self, plan: Plan) -> str:
        """Remember it; returns its name."""
        name = uuid4().hex
        with self._lock:
            self._plans[name] = plan
            while len(self._plans) > PLANS_KEPT:
                self._plans.popitem(last=False)
        return name

    def take(self, name: str) -> Plan:
        """The plan, which is carried out once. Raises NotFound."""
        with self._lock:
            plan = self._plans.pop(name, None)
        if plan is None:
            raise NotFound("that plan is not known any more: make another one", field="plan")
        return plan


class StorageService:
    """The storage of one installation. All but adopting it takes an open database. Raises NoStorage where it is away."""

    def __init__(self, settings: Settings, plans: CleaningPlans | None = None, clock: Callable[[], float] = time.time) -> None:
        _require_there(settings)
        self._settings = settings
        self._storage = Storage(settings.storage)
        self._trashcan = Trashcan(self._storage, settings.trash_days)
        self._retention = Retention(self._storage, settings.data_max_age_days, self._trashcan)
        self._plans = plans or CleaningPlans()
        self._clock = clock

    def usage(self, principal: Principal) -> StorageUsage:
        """How full it is, how much of it the trash takes. Raises Forbidden."""
        principal.require(Role.ADMINISTRATOR)
        total, used, free = usage(self._storage.root)
        return StorageUsage(
            path=str(self._storage.root),
            total_bytes=total,
            used_bytes=used,
            free_bytes=free,
            trash_bytes=trash_bytes(),
            trash_days=self._settings.trash_days,
            doubted=self._why_doubted(),
        )

    def adopt(self, principal: Principal) -> str:
        """Take the storage for this installation's own; returns a sentence. Raises Forbidden, AlreadyRunning."""
        principal.require(Role.ADMINISTRATOR)
        with only_controller(self._settings.home):
            return adopt_storage(self._settings)

    def plan(self, principal: Principal, *, is_dry: bool) -> CleaningPlan:
        """What is no longer kept; removes nothing. ``is_dry``: only for looking.

        Raises Forbidden; what will be removed also StorageNotOurs, ClockDisagrees.
        """
        principal.require(Role.ADMINISTRATOR)
        if not is_dry:
            require_own_storage(self._settings)
        plan = self._retention.plan(self._clock())
        if not is_dry and plan.removals:
            self._require_clock()
        return CleaningPlan(
            plan=self._plans.keep(plan),
            removals=list(map(_removal, plan.removals)),
            unknown=list(plan.unknown),
            doubted=self._why_doubted(),
        )

    def clean(self, principal: Principal, name: str) -> Cleaned:
        """Remove what a plan says; returns what is gone. Raises Forbidden, NotFound, ClockDisagrees, StorageNotOurs."""
        principal.require(Role.ADMINISTRATOR)
        require_own_storage(self._settings)
        self._require_clock()
        removed = self._retention.remove(self._plans.take(name).removals, self._clock())
        return Cleaned(removed=list(map(_removal, removed)), doubted=self._why_doubted())

    def trash(self, principal: Principal) -> list[TrashEntry]:
        """What was removed and can be restored, the latest first. Raises Forbidden."""
        principal.require(Role.ADMINISTRATOR)
        found = [(entry, entry.record, left_s) for entry, left_s in self._trashcan.listed()]
        return [_entry(entry, record, left_s) for entry, record, left_s in found if record]

    def restore(self, principal: Principal, name: str) -> str:
        """Put something back; returns a sentence. Raises Forbidden, NotFound, NotRestorable, StorageNotOurs."""
        principal.require(Role.ADMINISTRATOR)
        require_own_storage(self._settings)
        change = Change(self._clock(), who=principal.name, text="restored from the trash")
        text = Restorer(self._storage).restore(name, change)
        nudge(self._settings.home)
        return text

    def _require_clock(self) -> None:
        """Raises ClockDisagrees where this computer's clock contradicts what was recorded."""
        if why := why_disagrees(self._clock()):
            raise ClockDisagrees(f"nothing was removed: {why}")

    def _why_doubted(self) -> str:
        """Why the controller removes nothing by its age now, "" where it does."""
        return why_doubted(self._clock())


def _require_there(settings: Settings) -> None:
    if settings.storage.is_dir():
        return
    where = where_given("storage")
    raise NoStorage(f"there is no storage {settings.storage} ({where}): mount it, or set another one", field="setting storage")


def _removal(one: Removal) -> StorageRemoval:
    return StorageRemoval(**asdict(one))


def _entry(entry: Entry, record: TrashRecord, left_s: float) -> TrashEntry:
    fields = record.model_dump(exclude={"version"})
    return TrashEntry(entry=entry.name, **fields, path=str(entry.content), stays_s=round(left_s))
