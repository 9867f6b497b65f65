"""What the cloud holds for this installation: servers, volumes and ports, found by what they carry from their first moment.

Where machines boot from an image there are no volumes, and Cinder is not asked.

Servers and volumes carry ``cumulus_server`` and ``cumulus_worker`` in their metadata. A port has no metadata, and tags only
after it was made: its description and its name are set with it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from server.settings import Settings
from server.workers.clouds.base import Resource
from server.workers.clouds.openstack.client.access import Access, find_or_none, remove_server
from server.workers.clouds.openstack.template.kept import SERVER_ID, TEMPLATE
from server.workers.clouds.openstack.waiting import Limit, Waiting

if TYPE_CHECKING:
    from openstack.compute.v2.server import Server
    from openstack.connection import Connection
    from openstack.network.v2.port import Port

WORKER = "cumulus_worker"
NOT_RUNNING = frozenset(
    {"ERROR", "SHUTOFF", "DELETED", "SOFT_DELETED", "PAUSED", "SUSPENDED", "SHELVED", "SHELVED_OFFLOADED"}
)  # UNKNOWN runs: its host has not been heard of, which proves nothing
DELETABLE = frozenset({"available", "error", "error_deleting", "error_restoring", "error_extending", "error_managing"})


@dataclass(frozen=True)
class Limits:
    """How long removing a thing of each kind may take."""

    server: Limit
    volume: Limit
    port: Limit

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Those of the settings."""
        return cls(*(Limit.of(settings, f"{kind}_delete") for kind in ("server", "volume", "port")))


@dataclass(frozen=True)
class Thing:
    """A server, volume or port. ``status``: the service's own word."""

    kind: Literal["machine", "volume", "port"]
    identifier: str
    status: str
    worker: str


class Resources:
    """One installation's things."""

    def __init__(
        self, access: Access, server_id: str, limits: Limits, waiting: Waiting | None = None, *, has_volumes: bool = True
    ) -> None:
        self.access = access
        self._server_id = server_id
        self._limits = limits
        self._waiting = waiting or Waiting()
        self.has_volumes = has_volumes

    def listed(self, worker: str = "") -> list[Resource]:
        """All, or only what is of one worker; machines first. One listing of each kind, page by page. Raises CloudError."""
        with self.access.use() as cloud:
            found = [
                *(_machine(one) for one in self._servers(cloud)),
                *(_volume(one) for one in self._volumes(cloud)),
                *(_port(one) for one in self._ports(cloud)),
            ]
        return [one for one in found if worker in ("", one.worker)]

    def volumes(self, cloud: "Connection", worker: str) -> list[Any]:
        """The worker's volumes, as Cinder has them."""
        return [one for one in self._volumes(cloud) if one.metadata.get(WORKER) == worker]

    def machines(self, worker: str) -> list[Resource]:
        """The worker's servers: one, unless a terraform was killed. Raises CloudError."""
        with self.access.use() as cloud:
            return [found for one in self._servers(cloud) if (found := _machine(one)).worker == worker]

    def things(self, worker: str) -> "list[Thing]":
        """The worker's servers, volumes and ports, with what each of them is at. Raises CloudError."""
        with self.access.use() as cloud:
            found = [
                *(Thing("machine", str(one.id), str(one.status), one.metadata.get(WORKER, "")) for one in self._servers(cloud)),
                *(Thing("volume", str(one.id), str(one.status), one.metadata.get(WORKER, "")) for one in self._volumes(cloud)),
                *(Thing("port", str(one.id), str(one.status), str(one.name or "")) for one in self._ports(cloud)),
            ]
        return [one for one in found if one.worker == worker]

    def delete(self, resource: Resource) -> None:
        """Remove it and wait until it is gone; not an error where it is gone already. Raises CloudError."""
        remove, limit = {
            "machine": (self._delete_server, self._limits.server),
            "volume": (self._delete_volume, self._limits.volume),
            "port": (self._delete_port, self._limits.port),
        }[resource.kind]

        def has_gone() -> bool | None:
            with self.access.use() as cloud:
                return remove(cloud, resource.identifier) or None

        self._waiting.until(has_gone, limit, f"{resource.kind} {resource.identifier} is still there")

    def _servers(self, cloud: "Connection") -> "Iterator[Server]":
        for one in cloud.compute.servers(details=True, tags=f"{SERVER_ID}={self._server_id}"):
            if self._is_ours(one.metadata):
                yield one

    def _volumes(self, cloud: "Connection") -> Iterator[Any]:
        if not self.has_volumes:
            return
        for one in cloud.block_storage.volumes(details=True):
            if self._is_ours(one.metadata):
                yield one

    def _is_ours(self, metadata: Mapping[str, str] | None) -> bool:
        """Whether it is a worker's: what the template has is no worker's, and nothing that is ever swept."""
        found = metadata or {}
        return found.get(SERVER_ID) == self._server_id and TEMPLATE not in found

    def _ports(self, cloud: "Connection") -> "Iterator[Port]":
        mark = port_mark(self._server_id)
        for one in cloud.network.ports(description=mark):
            if one.description == mark:
                yield one

    def _delete_server(self, cloud: "Connection", identifier: str) -> bool:
        found = find_or_none(cloud.compute.get_server, identifier)
        if found is None:
            return True
        if found.task_state != "deleting":
            remove_server(cloud, identifier)
        return False

    def _delete_volume(self, cloud: "Connection", identifier: str) -> bool:
        found = find_or_none(cloud.block_storage.get_volume, identifier)
        if found is None:
            return True
        if found.status in DELETABLE:  # else Nova is still giving it back, or it is on its way out
            cloud.block_storage.delete_volume(identifier, ignore_missing=True)
        return False

    def _delete_port(self, cloud: "Connection", identifier: str) -> bool:
        cloud.network.delete_port(identifier, ignore_missing=True)
        return True


def port_mark(server_id: str) -> str:
    """The description of all ports of an installation."""
    return f"{SERVER_ID}={server_id}"


def _machine(one: "Server") -> Resource:
    return Resource("machine", str(one.metadata.get(WORKER, "")), str(one.id), str(one.status).upper() not in NOT_RUNNING)


def _volume(one: Any) -> Resource:
    return Resource("volume", str(one.metadata.get(WORKER, "")), str(one.id), False)


def _port(one: "Port") -> Resource:
    return Resource("port", str(one.name or ""), str(one.id), False)
