"""What machines and the cloud say of themselves: consoles, and the faults of servers and volumes that are in error."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.errors import CloudError
from server.workers.clouds.openstack.client.access import find_or_none
from server.workers.clouds.openstack.messages import volume_fault
from server.workers.clouds.openstack.resources import Resources

if TYPE_CHECKING:
    from openstack.connection import Connection

CONSOLE_LINES = 300


@dataclass(frozen=True)
class Console:
    """That of one installation's machines."""

    resources: Resources

    def log(self, worker: str) -> str:
        """The last lines of the machine's console; why there are none, where the cloud does not give them."""
        try:
            return self._of_each_server(worker, _console)
        except CloudError as problem:
            return f"(not known: {problem.message})"

    def fault(self, worker: str) -> str:
        """Why the machine, or its volume, is in error; "" where neither is. Nova tells it of one server only, never in a list."""
        server, volume = "", ""
        with suppress(CloudError):  # it is asked beside another failure, and must not hide it
            server = self._of_each_server(worker, _fault)
        with suppress(CloudError):
            volume = self._of_each_volume(worker)
        return "\n".join(text for text in (server, volume) if text)

    def _of_each_volume(self, worker: str) -> str:
        with self.resources.access.use() as cloud:
            found = self.resources.volumes(cloud, worker)
            return "\n".join(text for one in found if (text := volume_fault(cloud, one)))

    def _of_each_server(self, worker: str, ask: "Callable[[Connection, str], str]") -> str:
        """Raises CloudError."""
        found = self.resources.machines(worker)
        with self.resources.access.use() as cloud:
            return "\n".join(ask(cloud, one.identifier) for one in found)


def _console(cloud: "Connection", identifier: str) -> str:
    return str((cloud.compute.get_server_console_output(identifier, length=CONSOLE_LINES) or {}).get("output") or "")


def _fault(cloud: "Connection", identifier: str) -> str:
    found = find_or_none(cloud.compute.get_server, identifier)
    fault = getattr(found, "fault", None) or {}
    return str(fault.get("message") or "")
