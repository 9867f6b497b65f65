"""What the cloud, Terraform's state and the list of processes say of a worker's machine. Looks only."""

from server.errors import CloudError, TemplateMissing
from server.workers.clouds.base import Cloud
from server.workers.clouds.capabilities import HasConsole, HasResumption
from server.workers.orphaned_processes import OrphanReaper
from server.workers.terraform.module import TerraformModule


class MachineInspector:
    """The machines of one installation."""

    def __init__(self, cloud: Cloud, module: TerraformModule, orphans: OrphanReaper) -> None:
        self._cloud = cloud
        self._store = module.store
        self._orphans = orphans

    def exists(self, worker: str) -> bool:
        """Whether the cloud lists the machine itself, and not only what a dead one has left."""
        return any(resource.kind == "machine" for resource in self._cloud.resources(worker))

    def alive(self, worker: str) -> bool:
        """Whether the machine exists and runs, as the cloud says."""
        return self._cloud.alive(worker)

    def made(self, worker: str) -> frozenset[tuple[str, bool]]:
        """The addresses of the machine's resources in Terraform's state, and whether each was left half made."""
        return frozenset((address, tainted) for address, (_, tainted) in self._store.made(worker).items())

    def is_copying(self, worker: str) -> bool:
        """Whether the cloud still copies the machine's disk. Raises CloudError."""
        return isinstance(self._cloud, HasResumption) and self._cloud.resumption.is_copying(worker)

    def console_log(self, worker: str) -> str:
        """The last lines of the machine's console."""
        return self._cloud.console.log(worker) if isinstance(self._cloud, HasConsole) else ""

    def fault(self, worker: str) -> str:
        """Why the machine failed, in the cloud's own words; "" where it did not."""
        return self._cloud.console.fault(worker) if isinstance(self._cloud, HasConsole) else ""

    def snapshot_of(self, worker: str) -> str:
        """The snapshot that the machine was made of; "" where that is not known, or it was not made yet."""
        return str(self._store.variables(worker).get("snapshot") or "")

    def is_of_current_snapshot(self, worker: str) -> bool:
        """Whether a machine made now would be made of the same snapshot, or none could be made now."""
        try:
            current = self._cloud.images.current()
        except (TemplateMissing, CloudError):
            return True
        return bool(self._store.variables(worker).get("snapshot") == current)

    def workspaces(self) -> list[str]:
        """Names of all workspaces, without a look into them, and of those that have left a trace."""
        return self._store.names()

    def with_orphaned_processes(self) -> list[str]:
        """The workers for which a terraform or ansible of an earlier controller is still at work."""
        return self._orphans.workers()
