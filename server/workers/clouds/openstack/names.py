"""What the settings name in the cloud, by name or by id. Each must be exactly one thing: then its id is what Terraform gets.

Owns which settings name which kind of thing, and how each is listed. Looks only.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from server.cloud_settings.openstack import OpenstackBoot
from server.errors import CloudError
from server.reasons import Reason
from server.settings import Settings
from server.workers.clouds.openstack.client.access import Access, find_or_none
from server.workers.clouds.openstack.name_lookup import NameLookup

if TYPE_CHECKING:
    from openstack.block_storage.v3._proxy import Proxy
    from openstack.connection import Connection

ID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
REMEMBERED_S = 60.0  # what an administrator makes anew under the same name is seen after that time


@dataclass(frozen=True)
class Named:
    """What one installation's settings name. Empty: the settings leave it to the cloud."""

    network: str
    subnet: str
    security_group: str
    key_pair: str
    server_group: str
    volume_type: str


class Names:
    """The names in the settings, and what they are in the cloud. ``clock``: seconds that never jump."""

    def __init__(self, access: Access, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._lookup = NameLookup(access, settings)
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._found: Named | None = None
        self._until = 0.0

    def resolved(self) -> Named:
        """What they are, asked of the cloud once a minute at most. Raises CloudError for the first that is not one thing."""
        with self._lock:
            if self._found is None or self._clock() > self._until:
                self._found = self._resolve()
                self._until = self._clock() + REMEMBERED_S
            return self._found

    def problems(self) -> Iterator[str]:
        """Each setting that does not name exactly one thing, in one line. Raises CloudError where the cloud cannot be asked."""
        for resolve in (self._network, self._subnet, self._group, self._key_pair, self._server_group, self._volume_type):
            yield from _problem(resolve)
        yield from _problem(self._compute_zone)
        yield from _problem(self._volume_zone)

    def image_problems(self) -> Iterator[str]:
        """The same for the image that the template is made from, which is needed once."""
        yield from _problem(self.image)

    def image(self) -> str:
        """The id of the image that the template is made from. Raises CloudError."""
        return self._lookup.one("image", "openstack_template_image", _images, Reason.SNAPSHOT_MISSING)

    def _resolve(self) -> Named:
        network = self._network()
        self._compute_zone()
        self._volume_zone()
        return Named(network, self._subnet(network), self._group(), self._key_pair(), self._server_group(), self._volume_type())

    def _network(self) -> str:
        return self._lookup.one("network", "openstack_network", _networks, Reason.NETWORK_MISSING)

    def _subnet(self, network: str = "") -> str:
        if not self._settings.openstack_subnet:
            return ""
        where = network or self._network()
        listed = partial(_subnets, network=where)
        return self._lookup.one(
            f"subnet of the network {self._settings.openstack_network}", "openstack_subnet", listed, Reason.NETWORK_MISSING
        )

    def _group(self) -> str:
        return self._lookup.one("security group", "openstack_security_group", _groups, Reason.SECURITY_GROUP_MISSING)

    def _server_group(self) -> str:
        return self._lookup.one("server group", "openstack_server_group", lambda cloud, _: cloud.compute.server_groups())

    def _key_pair(self) -> str:
        """A key pair has no id: its name is one, for each user."""
        return self._lookup.one("key pair", "openstack_key_pair", _key_pairs)

    def _volume_type(self) -> str:
        """Cinder writes a type's name into its volumes, so that is what Terraform gets."""
        if self._settings.openstack_boot is OpenstackBoot.IMAGE:
            return ""
        found = self._lookup.thing("volume type", "openstack_volume_type", lambda cloud, _: cloud.block_storage.types())
        return found.name if found else ""

    def _compute_zone(self) -> str:
        return self._lookup.zone("compute", "openstack_availability_zone", lambda cloud: cloud.compute.availability_zones())

    def _volume_zone(self) -> str:
        if self._settings.openstack_boot is OpenstackBoot.IMAGE:
            return ""
        return self._lookup.zone(
            "volumes", "openstack_volume_availability_zone", lambda cloud: _storage(cloud).availability_zones()
        )


def named_variables(names: Names, settings: Settings) -> dict[str, object]:
    """What both modules of Terraform get of it. Raises CloudError."""
    found = names.resolved()
    return {
        "boot": str(settings.openstack_boot),
        "network_id": found.network,
        "subnet_id": found.subnet,
        "security_group_id": found.security_group,
        "key_pair": found.key_pair,
        "availability_zone": settings.openstack_availability_zone,
        "volume_availability_zone": settings.openstack_volume_availability_zone,
        "volume_type": found.volume_type,
    }


def _problem(resolve: Callable[[], str]) -> Iterator[str]:
    """One line where the cloud was asked and had no, or no single, answer."""
    try:
        resolve()
    except CloudError as problem:
        if problem.reason not in WRONG:
            raise
        yield problem.message


WRONG = frozenset(
    {
        *(Reason.NETWORK_MISSING, Reason.SECURITY_GROUP_MISSING, Reason.NAME_AMBIGUOUS, Reason.NAME_UNKNOWN_TO_CLOUD),
        *(Reason.ZONE_UNUSABLE, Reason.SNAPSHOT_MISSING),
    }
)


def _by(wanted: str) -> Iterator[Mapping[str, str]]:
    """How a service is asked: for the id where it could be one, and for the name."""
    if ID.fullmatch(wanted):
        yield {"id": wanted}
    yield {"name": wanted}


def _storage(cloud: "Connection") -> "Proxy":
    return cast("Proxy", cloud.block_storage)


def _networks(cloud: "Connection", wanted: str) -> Iterator[Any]:
    return (one for query in _by(wanted) for one in cloud.network.networks(**query))


def _subnets(cloud: "Connection", wanted: str, network: str) -> Iterator[Any]:
    return (one for query in _by(wanted) for one in cloud.network.subnets(network_id=network, **query))


def _groups(cloud: "Connection", wanted: str) -> Iterator[Any]:
    return (one for query in _by(wanted) for one in cloud.network.security_groups(**query))


def _key_pairs(cloud: "Connection", wanted: str) -> list[Any]:
    found = find_or_none(partial(cloud.compute.find_keypair, ignore_missing=False), wanted)
    return [found] if found else []


def _images(cloud: "Connection", wanted: str) -> list[Any]:
    """Those that are whole; one that is hidden is found by its id only."""
    by_id = find_or_none(cloud.image.get_image, wanted) if ID.fullmatch(wanted) else None
    return [by_id] if by_id else list(cloud.image.images(name=wanted, status="active"))
