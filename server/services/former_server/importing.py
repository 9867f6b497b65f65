"""Taking over a former server (2.x): what is looked at before, in which order it is done, what it leaves alone."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from programs.errors import explained
from server.catalog.apps import Catalog
from server.catalog.flavors import read_flavors
from server.engine.records.storage_owner import StorageNotOurs
from server.errors import InvalidInput
from server.home.controller_lock import only_controller
from server.home.installation import installation_id, known_id
from server.progress import Progress
from server.services.former_server.database import FormerDatabase, inspected
from server.services.former_server.plan import ImportPlan, Surveyor, read_here, surroundings
from server.services.former_server.takeover import only_new, take_over
from server.services.principal import Principal, Role
from server.settings import Settings
from server.storage.folders import Storage, StorageUnusable
from server.storage.identity import read_identity, write_identity


class FormerServerImport:
    """The import into one installation. ``storage`` and ``database``: the former server's."""

    def __init__(
        self, settings: Settings, storage: Path, database: Path, progress: Progress, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._database = database
        self._progress = progress
        self._clock = clock

    def planned(self, principal: Principal) -> ImportPlan:
        """What would be done; writes nothing. Raises Forbidden, InvalidInput, StorageNotOurs."""
        principal.require(Role.ADMINISTRATOR)
        self._require_settings(dry_run=True)
        return self._survey(inspected(self._database), self._clock())[1]

    def carry_out(self, principal: Principal) -> ImportPlan:
        """Take all over that can be. Safe to repeat. Raises Forbidden, InvalidInput, StorageNotOurs, StorageUnusable."""
        principal.require(Role.ADMINISTRATOR)
        self._require_settings(dry_run=False)
        settings, storage, now = self._settings, self._storage, self._clock()
        with only_controller(settings.home):
            former = inspected(self._database)
            surveyor, plan = self._survey(former, now)
            plan.require_possible(Storage(storage))
            again = Surveyor(former, replace(surveyor.around, checked=False), surveyor.here, settings.data_max_age_days)
            try:
                with self._progress.step("Taking over the jobs", "jobs") as step:
                    take_over(settings, former, only_new(again.each()), now, step.advance)
            except OSError as problem:
                text = f"the storage {storage} takes nothing: {explained(problem)}; do it once more after that"
                raise StorageUnusable(text) from None
            own = installation_id(settings.home)
            if (found := write_identity(settings.storage, own)) != own:
                raise StorageNotOurs(f"the storage {storage} was taken by the installation {found} meanwhile")
        return plan

    def _require_settings(self, *, dry_run: bool) -> None:
        """Raises InvalidInput, StorageNotOurs where this installation could not go on with the storage."""
        settings, storage = self._settings, self._storage
        if not (storage / "jobs").is_dir():
            raise InvalidInput(
                f"{storage} has no folder jobs: it is not the storage of a former server (its `storage.path`)", field="storage"
            )
        found = read_identity(storage)
        if found is not None and found != known_id(settings.home):
            raise StorageNotOurs(
                f"the storage {storage} belongs to the installation {found} already, and {settings.home} is another one"
            )
        if not dry_run and settings.storage.resolve() != storage.resolve():
            raise InvalidInput(
                f"the results stay where they are, so set `storage` (CUMULUS_STORAGE) to {storage.resolve()} first; "
                f"it is {settings.storage}",
                field="setting storage",
            )

    def _survey(self, former: FormerDatabase, now: float) -> tuple[Surveyor, ImportPlan]:
        settings = self._settings
        around = surroundings(Storage(self._storage), Catalog(settings.apps), read_flavors(settings.flavors), former, now)
        surveyor = Surveyor(former, around, read_here(settings.database), settings.data_max_age_days)
        with self._progress.step("Looking at the former server's jobs", "jobs") as step:
            return surveyor, surveyor.survey(step.advance)


def plan_json(plan: ImportPlan) -> dict[str, Any]:
    """A plan for programs."""
    return asdict(plan)
