"""The flavors of an OpenStack cloud, as this project may use them, and the disks of their machines."""

from server.catalog.flavors import Flavor
from server.settings import Settings
from server.states import Reason
from server.workers.clouds.base import CloudError, Size
from server.workers.clouds.openstack.access import Access

MB_PER_GB = 1024


def read_sizes(access: Access, least_disk_gb: int) -> list[Size]:
    """All that machines can be made of, page by page. Raises CloudError.

    ``least_disk_gb``: of the snapshot that a machine's volume is made from; the disk of the flavor itself is not used then.
    """
    with access.use() as cloud:
        usable = [one for one in cloud.compute.flavors(details=True) if not one.is_disabled]
    return [Size(str(one.name), int(one.vcpus), int(one.ram) / MB_PER_GB, least_disk_gb) for one in usable]


def disk_gb_of(settings: Settings, flavor: Flavor) -> int:
    """The size of the volume that a machine of the flavor runs on."""
    return flavor.disk_gb or settings.worker_disk_gb


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
