"""The flavors of an OpenStack cloud, as this project may use them, and the disks of their machines."""

from collections.abc import Mapping
from dataclasses import dataclass

from server.catalog.flavors import Flavor
from server.errors import CloudError, TemplateMissing
from server.reasons import Reason
from server.settings import Settings
from server.workers.clouds.capabilities import CloudFlavor
from server.workers.clouds.openstack.client.access import Access
from server.workers.clouds.openstack.project import Project
from server.workers.clouds.openstack.template.snapshots import Snapshots

MB_PER_GB = 1024


@dataclass(frozen=True)
class ProjectFlavors:
    """Those that one installation may use."""

    project: Project
    snapshots: Snapshots

    def listed(self) -> list[CloudFlavor]:
        """All that machines of the promoted snapshot can be made with, page by page. Raises CloudError.

        Machines that boot from an image have the flavor's own disk: those whose disk is too small are left out.
        """
        try:
            least_disk_gb = self.snapshots.current().size_gb
        except TemplateMissing:
            least_disk_gb = 0
        with self.project.access.use() as cloud:
            usable = [one for one in cloud.compute.flavors(details=True) if not one.is_disabled]
        if not self.project.has_volumes:
            usable = [one for one in usable if int(one.disk or 0) >= max(least_disk_gb, 1)]
            least_disk_gb = 0
        return [CloudFlavor(str(one.name), int(one.vcpus), int(one.ram) / MB_PER_GB, least_disk_gb) for one in usable]


def disk_gb_of(settings: Settings, flavor: Flavor) -> int:
    """The size of the volume that a machine of the flavor runs on."""
    return flavor.disk_gb or settings.worker_disk_gb


def read_own_disks(access: Access) -> dict[str, int]:
    """Flavor's name -> GB of its own disk, which machines that boot from an image have. Raises CloudError."""
    with access.use() as cloud:
        return {str(one.name): int(one.disk or 0) for one in cloud.compute.flavors(details=True)}


def require_own_disk(flavor: Flavor, disks: Mapping[str, int], needed_gb: int, source: str) -> None:
    """Nova makes no machine on a flavor whose own disk is smaller than its image. Raises CloudError.

    ``disks``: those of the cloud's flavors; one that it does not know is another trouble.
    """
    if (disk_gb := disks.get(flavor.name)) is None or (disk_gb and disk_gb >= needed_gb):
        return
    has = f"has a disk of {disk_gb} GB of its own" if disk_gb else "has no disk of its own"
    raise CloudError(
        f"the flavor {flavor.name} {has}, and {source} needs {needed_gb} GB: "
        "take another flavor, or make the template on a smaller one",
        Reason.FLAVOR_TOO_SMALL,
    )


def require_disk(settings: Settings, flavor: Flavor, needed_gb: int, source: str) -> None:
    """Cinder makes no volume that is smaller than what it is made from. ``source``: what that is. Raises CloudError."""
    disk_gb = disk_gb_of(settings, flavor)
    if disk_gb >= needed_gb:
        return
    where = "its DISK in flavors.tsv" if flavor.disk_gb else "the setting worker_disk_gb, or give it a DISK in flavors.tsv"
    raise CloudError(
        f"machines of {flavor.name} have a disk of {disk_gb} GB, and {source} needs {needed_gb} GB: raise {where}",
        Reason.FLAVOR_TOO_SMALL,
    )
