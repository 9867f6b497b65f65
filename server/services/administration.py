"""The services for who looks after an installation, each imported and made when it is asked for first."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from server.settings import Settings

if TYPE_CHECKING:
    from server.services.machines.cloud_access import CloudAccess
    from server.services.machines.flavors import FlavorService
    from server.services.machines.service import MachineService
    from server.services.machines.snapshots import SnapshotService
    from server.services.machines.workspaces import WorkspaceService
    from server.services.queue import QueueService
    from server.services.storage import CleaningPlans, StorageService
    from server.services.system import SystemService
    from server.services.uploads.files import StoredFiles


@dataclass(frozen=True)
class AdministrationWiring:
    """What these services need. ``has_rows``: whether the database is open; ``damage``: what is wrong with it."""

    access: "Callable[[], CloudAccess]"
    has_rows: bool = True
    damage: Callable[[], str] = lambda: ""


class Administration:
    """Queue, machines, workspaces, flavors, storage and snapshots of one installation."""

    def __init__(self, settings: Settings, wiring: AdministrationWiring) -> None:
        self._settings = settings
        self._wiring = wiring

    @cached_property
    def _access(self) -> "CloudAccess":
        return self._wiring.access()

    @cached_property
    def _plans(self) -> "CleaningPlans":
        from server.services.storage import CleaningPlans

        return CleaningPlans()

    @cached_property
    def queue(self) -> "QueueService":
        """What waits, and why."""
        from server.services.queue import QueueService

        return QueueService(self._settings)

    @cached_property
    def machines(self) -> "MachineService":
        """The machines."""
        from server.services.machines.service import MachineService

        return MachineService(self._settings, self._access)

    @cached_property
    def workspaces(self) -> "WorkspaceService":
        """The machines as Terraform knows them. Raises NoInstallation."""
        from server.services.machines.decommission import Removing
        from server.services.machines.workspaces import WorkspaceService

        workspaces = self._access.make_workspaces(self._settings, self._access.known())
        return WorkspaceService(self._settings, workspaces, Removing(self._settings, self._access))

    @cached_property
    def flavors(self) -> "FlavorService":
        """The sizes of machines."""
        from server.services.machines.flavors import FlavorService

        return FlavorService(self._settings, self._access, has_rows=self._wiring.has_rows)

    @cached_property
    def snapshots(self) -> "SnapshotService":
        """What workers are copies of."""
        from server.services.machines.snapshots import SnapshotService

        return SnapshotService(self._settings, self._access.known)

    @cached_property
    def system(self) -> "SystemService":
        """The installation itself."""
        from server.services.system import SystemService

        return SystemService(self._settings, self._wiring.damage)

    @cached_property
    def files(self) -> "StoredFiles":
        """The shared files, which users see, too, and who may store how much."""
        from server.services.uploads.files import StoredFiles

        return StoredFiles(self._settings, time.time)

    def storage(self) -> "StorageService":
        """The shared storage, looked for anew: it may have been mounted meanwhile. Raises NoStorage."""
        from server.services.storage import StorageService

        return StorageService(self._settings, self._plans)

    def close(self) -> None:
        """End what is still being asked, since nobody waits for the answer any more."""
        if "workspaces" in vars(self):
            self.workspaces.close()
