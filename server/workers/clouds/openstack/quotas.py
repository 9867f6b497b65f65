"""The project's quota: what the cloud lets it have, how much of that is used, and whether a machine more fits.

Nova, Cinder and Neutron are each asked once; Cinder is not where machines have no volumes. A limit below zero is none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.catalog.flavors import Flavor
from server.errors import CloudError
from server.reasons import Reason
from server.workers.clouds.capabilities import Quota
from server.workers.clouds.openstack.flavors import disk_gb_of
from server.workers.clouds.openstack.project import Project

if TYPE_CHECKING:
    from openstack.connection import Connection

RAM_MB = 1024


@dataclass(frozen=True)
class ProjectQuota:
    """That of one installation's project."""

    project: Project

    def listed(self) -> list[Quota]:
        """Instances, cores, RAM (MB), volumes, gigabytes, snapshots, and ports where the cloud tells. Raises CloudError."""
        with self.project.access.use() as cloud:
            return [*_compute(cloud), *(_storage(cloud) if self.project.has_volumes else ()), *_network(cloud)]

    def require_room(self, flavor: Flavor) -> None:
        """Raises CloudError, with what is lacking in it, where a machine of that flavor does not fit now."""
        wanted, quotas = wants(flavor, disk_gb_of(self.project.settings, flavor)), self.listed()
        lacking = [_sentence(one, wanted[one.name]) for one in quotas if one.name in wanted and one.lacks(wanted[one.name])]
        if lacking:
            text = f"the quota has no room for a machine of {flavor.name}: {', '.join(lacking)}"
            raise CloudError(text, Reason.QUOTA_EXCEEDED)


def wants(flavor: Flavor, disk_gb: int) -> Mapping[str, int]:
    """What one machine takes of each quota."""
    ram = int(flavor.memory_gb * RAM_MB)
    return {"instances": 1, "cores": flavor.cpus, "ram": ram, "volumes": 1, "gigabytes": disk_gb, "ports": 1}


def _sentence(one: Quota, wanted: int) -> str:
    return f"{wanted} {one.name} wanted, {one.used} of {one.limit} used"


def _compute(cloud: "Connection") -> Iterator[Quota]:
    found = cloud.compute.get_limits().absolute
    yield _quota("instances", found.total_instances_used, found.max_total_instances)
    yield _quota("cores", found.total_cores_used, found.max_total_cores)
    yield _quota("ram", found.total_ram_used, found.max_total_ram_size)


def _storage(cloud: "Connection") -> Iterator[Quota]:
    found = cloud.block_storage.get_limits().absolute
    yield _quota("volumes", found.total_volumes_used, found.max_total_volumes)
    yield _quota("gigabytes", found.total_gigabytes_used, found.max_total_volume_gigabytes)
    yield _quota("snapshots", found.total_snapshots_used, found.max_total_snapshots)


def _network(cloud: "Connection") -> Iterator[Quota]:
    """Not every cloud tells a member of a project."""
    from openstack.exceptions import ForbiddenException, NotFoundException

    try:
        found: Any = cloud.network.get_quota(cloud.current_project_id or "", details=True).ports
    except (ForbiddenException, NotFoundException):
        return
    if isinstance(found, Mapping):
        yield _quota("ports", int(found.get("used") or 0) + int(found.get("reserved") or 0), found.get("limit"))


def _quota(name: str, used: Any, limit: Any) -> Quota:
    number = -1 if limit is None else int(limit)
    return Quota(name, int(used or 0), number if number >= 0 else None)
