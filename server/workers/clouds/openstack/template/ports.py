"""The ports of the template's machine in Neutron, which Nova leaves behind when the machine is removed.

A port has no metadata: its description says whose it is from its first moment. Terraform makes and removes it; this module
removes what a terraform that was killed has left.
"""

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING, Any

from server.workers.clouds.openstack.client.access import Access
from server.workers.clouds.openstack.template.kept import TEMPLATE

if TYPE_CHECKING:
    from openstack.connection import Connection


def remove_stray_ports(access: Access, template: str, kept: Container[str]) -> None:
    """Remove those without a machine, but for those with an id in ``kept``. Raises CloudError."""
    with access.use() as cloud:
        for one in list(_ports(cloud, template)):
            if str(one.id) not in kept and not one.device_id:
                cloud.network.delete_port(one.id, ignore_missing=True)


def _ports(cloud: "Connection", template: str) -> Iterator[Any]:
    mark = f"{TEMPLATE}={template}"
    return (one for one in cloud.network.ports(description=mark) if one.description == mark)
