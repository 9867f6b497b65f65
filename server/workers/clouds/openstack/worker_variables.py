"""What Terraform is given for a machine: the names of the settings resolved, a new host key, a disk that is large enough."""

from dataclasses import dataclass

from pydantic import SecretStr

from server.catalog.flavors import Flavor
from server.errors import CloudError
from server.workers.clouds.base import worker_variables
from server.workers.clouds.keys import ensure_key, make_key
from server.workers.clouds.openstack.client.access import told_to_terraform
from server.workers.clouds.openstack.flavors import disk_gb_of, read_own_disks, require_disk, require_own_disk
from server.workers.clouds.openstack.names import Names, named_variables
from server.workers.clouds.openstack.project import Project
from server.workers.clouds.openstack.resources import Resources
from server.workers.clouds.openstack.template.snapshots import Kept


@dataclass(frozen=True)
class WorkerVariables:
    """Those of one installation's workers."""

    project: Project
    names: Names
    resources: Resources

    def of(self, worker: str, flavor: Flavor, snapshot: Kept) -> dict[str, object]:
        """For a machine of that snapshot. Raises CloudError.

        Each call makes a new host key: the module keeps the one that the machine was made with.
        """
        self._require_disk(worker, flavor, snapshot)
        host_key = make_key()
        settings = self.project.settings
        key, disk_gb = ensure_key(self.project.ssh_key), disk_gb_of(settings, flavor)
        shared = worker_variables(
            self.project.server_id, worker, flavor, disk_gb=disk_gb, snapshot=snapshot.name, ssh_public_key=key
        )
        return {
            **shared,
            **named_variables(self.names, settings),
            "server_group_id": self.names.resolved().server_group,
            "snapshot_id": snapshot.identifier,
            "user": settings.openstack_user,
            "lease_s": int(settings.lease_s),
            **told_to_terraform(settings),
            "host_key": host_key.public,
            "host_key_private": SecretStr(host_key.private),
        }

    def require_size(self, flavor: Flavor, needed_gb: int, source: str) -> None:
        """Raises CloudError where machines of the flavor have a smaller disk than so many GB, which the source needs."""
        if self.project.has_volumes:
            require_disk(self.project.settings, flavor, needed_gb, source)
        else:
            require_own_disk(flavor, read_own_disks(self.project.access), needed_gb, source)

    def _require_disk(self, worker: str, flavor: Flavor, snapshot: Kept) -> None:
        """A worker that has a disk keeps it, whatever is promoted. Raises CloudError."""
        try:
            self.require_size(flavor, snapshot.size_gb, f"the snapshot {snapshot.name}")
        except CloudError:
            kind = "volume" if self.project.has_volumes else "machine"
            if not any(one.kind == kind for one in self.resources.listed(worker)):
                raise
