"""The template where machines boot from an image: a server that stays, switched off while nobody works on it.

It is on the flavor's own disk, so what is installed is in that server and nowhere else until an image is made of it. Terraform
makes it; from then on it is started and stopped here, whatever became of Terraform's state.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from server.errors import CloudError, InfrastructureError, InvalidInput
from server.progress import Progress, Step
from server.workers.clouds.openstack.client.access import find_or_none, remove_server
from server.workers.clouds.openstack.resources import WORKER
from server.workers.clouds.openstack.servers import FAILED, GONE, RUNS
from server.workers.clouds.openstack.template.kept import BUILD_HASH, TEMPLATE
from server.workers.clouds.openstack.template.originals import (
    BROKEN,
    FREE,
    PREFIX,
    SEALED,
    STATE,
    Original,
    Originals,
)
from server.workers.clouds.openstack.template.ports import remove_stray_ports
from server.workers.clouds.openstack.template.template_machine import PORT, TemplateMachine
from server.workers.clouds.openstack.waiting import Limit
from server.workers.clouds.ssh import Login

if TYPE_CHECKING:
    from openstack.compute.v2.server import Server
    from openstack.connection import Connection

OFF = "SHUTOFF"
HOST_KEY = "cumulus_host_key"
START_LIMIT_S = 600.0
STATUS = {OFF: FREE, FAILED: "error"}  # in the words of volumes


class ServerOriginals(Originals):
    """The servers of one template, of which the newest that is built counts. ``identifier`` is a server's id."""

    noun = "machine"

    def fetch(self) -> list[Original]:
        """All, oldest first. Raises CloudError."""
        with self._access.use() as cloud:
            found = [_original(one) for one in template_servers(cloud, self._template)]
        return sorted(found, key=lambda one: one.number)

    def fault(self, worker: str) -> str:
        """Why Nova could not make the machine; "" where nobody knows. Raises CloudError."""
        with self._access.use() as cloud:
            found = [one for one in template_servers(cloud, self._template) if one.metadata.get(WORKER) == worker]
            faults = [find_or_none(cloud.compute.get_server, str(one.id)) for one in found]
        return "\n".join(str((one.fault or {}).get("message") or "") for one in faults if one is not None)

    def take_over(self, name: str, number: int) -> Original:  # noqa: ARG002
        """Raises InvalidInput: a volume is of no use here."""
        raise InvalidInput(
            f"openstack_template_volume = {name} needs openstack_boot = volume: name openstack_template_image instead",
            field="setting openstack_template_volume",
        )

    def mark(self, one: Original, **metadata: str) -> None:
        """Write down how far it is. Raises CloudError."""
        with self._access.use() as cloud:
            cloud.compute.set_server_metadata(one.identifier, **metadata)

    def await_free(self, one: Original) -> str:
        """Wait until it is off; returns its status in the words of volumes, "" where it is gone. Raises CloudError."""
        late = f"the template's machine {one.identifier} is not off"
        return self._waiting.until(lambda: self._settled(one.identifier), self._removal, late)

    def remove(self, one: Original) -> None:
        """Remove it for ever and wait until it is gone. Raises CloudError."""
        with self._access.use() as cloud:
            remove_server(cloud, one.identifier)
        late = f"the template's machine {one.identifier} is still there"
        self._waiting.until(lambda: True if self._status(one.identifier) in ("", *GONE) else None, self._removal, late)
        remove_stray_ports(self._access, self._template, ())

    def _settled(self, identifier: str) -> str | None:
        status = self._status(identifier)
        return STATUS.get(status, "" if status in ("", *GONE) else None)

    def _status(self, identifier: str) -> str:
        with self._access.use() as cloud:
            found = find_or_none(cloud.compute.get_server, identifier)
        return "" if found is None else str(found.status).upper()


class ImageMachine(TemplateMachine):
    """The machine of a template of that kind."""

    _made = "machine"

    def start(self, original: Original | None, worker: str, progress: Progress) -> Login:
        """Start it, or have it made where there is none yet, and wait until it lets us in. Raises CumulusError."""
        self._prepare_state(worker)
        original = self._usable(original, progress)
        if original is None:
            return super().start(None, worker, progress)
        self.originals.open(original)
        with progress.step("Starting the template's machine") as step:
            for _ in range(2):
                self._switch_on(original.identifier, step)
                login = self._login(original.identifier)
                step.note("on; waiting until it lets us in")
                if self._answers(login, original.identifier, step):
                    return login
        raise InfrastructureError(f"the template's machine at {login.address} switches itself off: see its console")

    def leave_to_others(self) -> None:
        """One of another installation that is off is not in use."""
        others = {one: owner for one, owner in self.servers.of_others(self.server_id).items() if self.servers.status(one) != OFF}
        if others:
            super().leave_to_others()

    def running_login(self, worker: str) -> Login | None:
        """How to log in on the machine if it runs now; None where it does not."""
        for one in self.originals.fetch():
            if one.worker == worker and self.servers.status(one.identifier) == RUNS:
                return self._login(one.identifier)
        return None

    def exists(self) -> bool:
        """Whether one is not off."""
        return any(self.servers.status(one) != OFF for one in self.servers.listed())

    def _take_away(self, original: Original, step: Step) -> None:
        step.note("waiting until it is off")
        self.servers.stop(original.identifier)
        if (status := self.originals.await_free(original)) != FREE:
            text = f"the template's machine {original.identifier} is {status or 'gone'}, so it cannot be copied"
            raise InfrastructureError(text)

    def _usable(self, original: Original | None, progress: Progress) -> Original | None:
        """None where it never came to be, so that another one is made."""
        if original is None or original.status not in BROKEN or original.build_hash:
            return original
        with progress.step(f"Removing the machine {original.identifier}, which could not be made"):
            self.module.set_aside(original.worker)
            self.originals.remove(original)
        return None

    def _clear_strays(self, worker: str, progress: Progress) -> None:  # noqa: ARG002
        """A server that was made and is in no state is found by its metadata, and is the template."""
        remove_stray_ports(self.servers.access, self.servers.template, self._in_state(worker, PORT))

    def _switch_on(self, identifier: str, step: Step) -> None:
        from openstack.exceptions import ConflictException

        step.note("switching it on")
        with self.servers.access.use() as cloud:
            try:
                if self.servers.status(identifier) == OFF:
                    cloud.compute.start_server(identifier)
            except ConflictException as problem:  # it is being switched off: the next look finds it off
                step.note(str(problem))
        late = f"the template's machine {identifier} does not start"
        self.servers.waiting.until(lambda: self._runs(identifier), Limit(START_LIMIT_S), late)

    def _runs(self, identifier: str) -> bool | None:
        status = self.servers.status(identifier)
        if status in ("", FAILED):
            raise InfrastructureError(f"the template's machine {identifier} is {status or 'gone'}")
        return True if status == RUNS else None

    def _login(self, identifier: str) -> Login:
        """By what Nova says of the server: Terraform's state may be gone."""
        with self.servers.access.use() as cloud:
            found = cloud.compute.get_server(identifier)
        address = first_address(found.addresses or {})
        if not address:
            raise CloudError(f"the template's machine {identifier} has no address")
        host_key = str(found.metadata.get(HOST_KEY, ""))
        return self.guests.login({"host_key": host_key, "address": address, "port": 22, "user": self.settings.openstack_user})


def template_servers(cloud: "Connection", template: str) -> "list[Server]":
    """All servers of that template."""
    return [
        one
        for one in cloud.compute.servers(details=True)
        if (one.metadata or {}).get(TEMPLATE) == template and str(one.status).upper() not in GONE
    ]


def first_address(networks: dict[str, Collection[dict[str, Any]]]) -> str:
    """An address of a server, IPv4 where it has one; "" where it has none."""
    found = [one for addresses in networks.values() for one in addresses]
    return next((str(one["addr"]) for version in (4, 6) for one in found if one.get("version") == version), "")


def _original(one: "Server") -> Original:
    metadata = {str(name): str(value) for name, value in (one.metadata or {}).items()}
    number = metadata.get(WORKER, "").removeprefix(PREFIX)
    disk_gb = int(getattr(one.flavor, "disk", 0) or 0)
    status = STATUS.get(str(one.status).upper(), str(one.status).lower())
    return Original(
        str(one.id),
        int(number) if number.isascii() and number.isdigit() else 1,
        disk_gb,
        status,
        metadata.get(BUILD_HASH, ""),
        metadata.get(STATE) == SEALED,
    )
