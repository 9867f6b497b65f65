"""The flavors of an OpenStack cloud, as this project may use them."""

from server.workers.clouds.base import Size
from server.workers.clouds.openstack.access import Access

MB_PER_GB = 1024


def read_sizes(access: Access, least_disk_gb: int) -> list[Size]:
    """All that machines can be made of, page by page. Raises CloudError.

    ``least_disk_gb``: of the snapshot that a machine's volume is made from; the disk of the flavor itself is not used then.
    """
    with access.use() as cloud:
        usable = [one for one in cloud.compute.flavors(details=True) if not one.is_disabled]
    return [Size(str(one.name), int(one.vcpus), int(one.ram) / MB_PER_GB, least_disk_gb) for one in usable]
