"""The template's machine: a server on the template's volume, made and taken away by Terraform, whatever an earlier try has left.

Owns which volume Terraform gets, and that the volume is written down as open before anything may write to it, and as sealed
only when all was flushed and nothing can write to it any more.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from server.catalog.flavors import read_flavors
from server.errors import CloudError, InfrastructureError
from server.policy.error_classification import classify
from server.progress import Progress, Step
from server.settings import Settings
from server.workers.clouds.keys import ensure_key, make_key
from server.workers.clouds.openstack.client.access import terraform_settings
from server.workers.clouds.openstack.names import Names, named_variables
from server.workers.clouds.openstack.servers import FAILED, RUNS, Servers
from server.workers.clouds.openstack.template.guest import Guests
from server.workers.clouds.openstack.template.originals import BROKEN, FREE, Original, Originals
from server.workers.clouds.openstack.template.ports import remove_stray_ports
from server.workers.clouds.ssh import CommandFailed, Login
from server.workers.orphaned_processes import OrphanReaper
from server.workers.terraform.module import TerraformError, TerraformModule

VOLUME, SERVER = "openstack_blockstorage_volume_v3", "openstack_compute_instance_v2"
PORT = "openstack_networking_port_v2"


@dataclass(frozen=True)
class TemplateMachine:
    """That of one installation; only one process at a time may use it. ``module``: Terraform's for it."""

    settings: Settings
    server_id: str
    module: TerraformModule
    originals: Originals
    servers: Servers
    guests: Guests
    names: Names
    _made = "volume and a machine on it"

    def start(self, original: Original | None, worker: str, progress: Progress) -> Login:
        """Start it on the volume, which is made where there is none yet, and wait until it lets us in. Raises CumulusError."""
        self._prepare_state(worker)
        self._clear_strays(worker, progress)
        original = self._usable(original, progress)
        if original:
            self.originals.open(original)
        text = "Starting the template's machine" if original else f"Making the template's {self._made}"
        with progress.step(text) as step:
            for _ in range(2):
                outputs = self._apply(worker, original, running=True)
                login = self.guests.login(outputs)
                step.note("made; waiting until it lets us in")
                if self._answers(login, str(outputs["id"]), step):
                    return login
        raise InfrastructureError(f"the template's machine at {login.address} switches itself off: see its console")

    def leave_to_others(self) -> None:
        """Raises InfrastructureError where another installation has one: somebody may be at work on it there."""
        if others := self.servers.of_others(self.server_id):
            identifier, owner = next(iter(others.items()))
            raise InfrastructureError(
                f"the installation {owner} has a machine of the template ({identifier}) and may be at work on it; "
                "if it is not, `cumulus template stop` takes that one away"
            )

    def running_login(self, worker: str) -> Login | None:
        """How to log in on the machine if it runs now; None where it does not."""
        outputs = self.module.store.outputs(worker)
        identifier = str(outputs.get("id") or "")
        return self.guests.login(outputs) if identifier and self.servers.status(identifier) == RUNS else None

    def exists(self) -> bool:
        """Whether there is one, whatever it does."""
        return bool(self.servers.listed())

    def seal(self, original: Original, login: Login, progress: Progress, build_hash: str = "") -> None:
        """Flush all, shut the machine down and take it away: the volume may be copied then.

        ``build_hash``: of what has just been installed; it counts from when the volume is sealed. Raises CumulusError.
        """
        with progress.step("Flushing and shutting the template's machine down") as step:
            self.guests.seal(login)
            self._take_away(original, step)
            self.originals.seal(original, build_hash or original.build_hash)

    def stop(self, original: Original, progress: Progress) -> None:
        """The same for a machine in whatever state. Where it could not be flushed, the next snapshot starts it once more."""
        self._prepare_state(original.worker)
        if login := self.running_login(original.worker):
            try:
                return self.seal(original, login, progress)
            except CommandFailed as problem:
                progress.say(f"The template's machine is switched off as it is: {problem.message}")
        with progress.step("Switching the template's machine off") as step:
            self._take_away(original, step)

    def forget(self, original: Original) -> None:
        """Take what Terraform knows of a former template out of its sight: it would not let the volume go."""
        self._prepare_state(original.worker)
        self.module.set_aside(original.worker)

    def _answers(self, login: Login, identifier: str, step: Step) -> bool:
        """Wait for it. False where it switched itself off: an earlier try had just asked for that."""
        try:
            self.guests.await_answer(login, lambda: _lost(self.servers, identifier), step.note)
        except InfrastructureError:
            if self.servers.status(identifier) == RUNS:
                raise
            return False
        return True

    def _take_away(self, original: Original, step: Step) -> None:
        servers = self.servers.listed()
        step.note("waiting until it is off")
        for identifier in servers:
            self.servers.stop(identifier)
        step.note("removing it; its volume stays")
        self._apply(original.worker, original, running=False)
        self.servers.remove(self.servers.listed())
        step.note("waiting for its volume")
        if (status := self.originals.await_free(original)) != FREE:
            text = f"the template's volume {original.identifier} is {status or 'gone'}, so it cannot be copied"
            raise InfrastructureError(text)

    def _usable(self, original: Original | None, progress: Progress) -> Original | None:
        """The volume once Cinder is done with it; None where it never came to be, so that another one is made."""
        if original is None or self.servers.listed():
            return original
        status = self.originals.await_free(original)
        if status in BROKEN and not original.build_hash:
            with progress.step(f"Removing the volume {original.identifier}, which could not be made"):
                self.originals.remove(original)
            return None
        return original if status else None

    def _clear_strays(self, worker: str, progress: Progress) -> None:
        """A volume can have one machine: those that the workspace's state does not know of go, and those that came to nothing."""
        known = self._in_state(worker, SERVER)
        if strays := [one for one in self.servers.listed() if one not in known or self.servers.status(one) == FAILED]:
            with progress.step("Removing a machine of the template that an earlier try has left"):
                self.servers.remove(strays)
        remove_stray_ports(self.servers.access, self.servers.template, self._in_state(worker, PORT))

    def _prepare_state(self, worker: str) -> None:
        """A terraform that an earlier try has left is awaited, its play ended; a state with half a volume in it is of no use."""
        OrphanReaper(self.module.data, self.settings.home / "plays").end_for(worker, self.settings.template_limit_s)
        if not self.module.store.is_readable(worker) or any(self._in_state(worker, VOLUME).values()):
            self.module.set_aside(worker)

    def _in_state(self, worker: str, kind: str) -> dict[str, bool]:
        """Id -> whether it was left half made, of the resources of a kind in the workspace's state."""
        resources = self.module.store.state(worker).get("resources", [])
        found = [one for one in resources if one["type"] == kind and one["mode"] == "managed"]
        instances = [instance for one in found for instance in one["instances"]]
        return {str(one["attributes"].get("id")): one.get("status") == "tainted" for one in instances}

    def _apply(self, worker: str, original: Original | None, *, running: bool) -> dict[str, Any]:
        """A volume that the state does not have is passed by its id: Terraform then leaves it alone."""
        stranger = original is not None and original.identifier not in self._in_state(worker, VOLUME)
        where = {
            "volume_id": original.identifier if original and stranger else "",
            "image_id": "" if original else self.names.image(),
        }
        variables = self._variables(worker, running=running) | where
        try:
            return self.module.apply(worker, variables, self.settings.template_limit_s)
        except TerraformError as problem:
            if not (fault := self.originals.fault(worker)):
                raise
            raise CloudError(f"{problem.message} ({fault})", classify(fault)) from problem

    def _variables(self, worker: str, *, running: bool) -> dict[str, object]:
        settings, host_key = self.settings, make_key()
        name = settings.openstack_template_flavor or settings.default_flavor
        flavor = read_flavors(settings.flavors).get(name)
        return {
            "server_id": self.server_id,
            "worker": worker,
            "flavor": name,
            "cpus": flavor.cpus if flavor else 1,
            "memory_gb": flavor.memory_gb if flavor else 1,
            "disk_gb": settings.openstack_template_volume_gb,
            "snapshot": "template",
            "ssh_public_key": ensure_key(self.guests.key),
            "running": running,
            "name": settings.openstack_template,
            **named_variables(self.names, settings),
            "user": settings.openstack_user,
            **terraform_settings(settings),
            "host_key": host_key.public,
            "host_key_private": SecretStr(host_key.private),
        }


def _lost(servers: Servers, identifier: str) -> str:
    """Why the server will not answer any more; "" while it runs."""
    status = servers.status(identifier)
    return "" if status == RUNS else f"is {status or 'gone'}"
