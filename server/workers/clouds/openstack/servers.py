"""The template's machines in Nova: found by their metadata, stopped in order, removed.

There is one at most, unless a terraform was killed: so Terraform, which makes them, is not asked here.
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from server.workers.clouds.openstack.client.access import Access, find_or_none, remove_server
from server.workers.clouds.openstack.template.kept import SERVER_ID, TEMPLATE
from server.workers.clouds.openstack.waiting import QUICK, Limit, Waiting

if TYPE_CHECKING:
    from openstack.compute.v2.server import Server

RUNS, FAILED = "ACTIVE", "ERROR"
GONE = frozenset({"DELETED", "SOFT_DELETED"})


@dataclass(frozen=True)
class Servers:
    """Those of one template. ``limit``: of stopping one, and of removing it."""

    access: Access
    template: str
    waiting: Waiting
    limit: Limit = QUICK

    def status(self, identifier: str) -> str:
        """Nova's word in capitals; "" where there is no such server. Raises CloudError."""
        with self.access.use() as cloud:
            found = find_or_none(cloud.compute.get_server, identifier)
        return "" if found is None or str(found.status).upper() in GONE else str(found.status).upper()

    def listed(self) -> list[str]:
        """Ids of all, whatever their status. Raises CloudError."""
        return [str(one.id) for one in self._all()]

    def of_others(self, server_id: str) -> dict[str, str]:
        """Id -> installation, of those that another one than this has made. Raises CloudError."""
        owners = ((str(one.id), str(one.metadata.get(SERVER_ID, ""))) for one in self._all())
        return {identifier: owner for identifier, owner in owners if owner not in ("", server_id)}

    def stop(self, identifier: str) -> None:
        """Have it shut down and wait until it is off, or gone. Raises CloudError."""
        from openstack.exceptions import ConflictException, NotFoundException

        if self.status(identifier) == RUNS:
            with self.access.use() as cloud, suppress(ConflictException, NotFoundException):  # off by itself, or gone, meanwhile
                cloud.compute.stop_server(identifier)
        late = f"the template's machine {identifier} does not shut down"
        self.waiting.until(lambda: None if self.status(identifier) == RUNS else True, self.limit, late)

    def remove(self, identifiers: Collection[str]) -> None:
        """Shut them down, delete them and wait until they are gone; their volumes stay. Raises CloudError."""
        for identifier in identifiers:
            self.stop(identifier)
            with self.access.use() as cloud:
                remove_server(cloud, identifier)
            late = f"the template's machine {identifier} is still there"
            self.waiting.until(partial(self._gone, identifier), self.limit, late)

    def _all(self) -> "list[Server]":
        with self.access.use() as cloud:
            return [
                one
                for one in cloud.compute.servers(details=True)
                if (one.metadata or {}).get(TEMPLATE) == self.template and str(one.status).upper() not in GONE
            ]

    def _gone(self, identifier: str) -> bool | None:
        return True if self.status(identifier) == "" else None
