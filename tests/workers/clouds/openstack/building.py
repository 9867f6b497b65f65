"""A template on an OpenStack that is in memory: real openstacksdk over real HTTP; Terraform, ssh and Ansible act on that cloud.

Every change that reaches the cloud, every script on a machine and every play is a step at which a test may break it off.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import requests
from keystoneauth1.identity.v3 import Password
from keystoneauth1.session import Session
from openstack.connection import Connection
from requests.adapters import HTTPAdapter

from server.catalog.flavors import Flavor
from server.cloud_settings.openstack import OpenstackBoot
from server.progress import Lines
from server.settings import CloudName, Settings
from server.workers.ansible.playbooks import PlayOutcome
from server.workers.clouds.images import SmokeTest
from server.workers.clouds.openstack.client.access import Access
from server.workers.clouds.openstack.flavors import require_disk
from server.workers.clouds.openstack.names import Names
from server.workers.clouds.openstack.resources import Limits, Resources
from server.workers.clouds.openstack.resuming import Resumption
from server.workers.clouds.openstack.servers import Servers
from server.workers.clouds.openstack.template.build import Making, OpenstackTemplate
from server.workers.clouds.openstack.template.canary import Canaries
from server.workers.clouds.openstack.template.cinder_copies import CinderCopies
from server.workers.clouds.openstack.template.glance_copies import GlanceCopies
from server.workers.clouds.openstack.template.guest import HOLD, SEAL, UNMOUNT, Guests
from server.workers.clouds.openstack.template.image_machine import ImageMachine, ServerOriginals
from server.workers.clouds.openstack.template.kept import TEMPLATE, Kept
from server.workers.clouds.openstack.template.originals import Originals
from server.workers.clouds.openstack.template.snapshots import Snapshots
from server.workers.clouds.openstack.template.template_machine import SERVER, VOLUME, TemplateMachine
from server.workers.clouds.openstack.waiting import Limit, Waiting
from server.workers.clouds.smoke_test import once_ready
from server.workers.clouds.ssh import CommandFailed, Login
from server.workers.terraform.module import TerraformError, TerraformModule
from tests.workers.clouds.openstack.double import Double

NAME = "cumulus-template"
LIMITS = Limits(Limit(60), Limit(60), Limit(60))
FLAVORS = "NAME\tWEIGHT\tCPU\tRAM\nm1.4xlarge\t1\t1\t1\nMAX_ACCUMULATED_WEIGHT = 4\n"
TRIAL = SmokeTest([("probe_1", "probe --version")], ["msconvert", "diann"])


class Killed(BaseException):
    """The process is gone: nothing that it would still do happens."""


@dataclass
class Steps:
    """Counts the steps. ``at``: the one to break off at, 0 for none; ``by``: with what; ``for_ever``: at all later ones, too."""

    at: int = 0
    by: type[BaseException] = Killed
    for_ever: bool = True
    taken: list[str] = field(default_factory=list)

    def __call__(self, what: str) -> None:
        self.taken.append(what)
        if self.at and (len(self.taken) == self.at or (self.for_ever and len(self.taken) > self.at)):
            raise self.by(what)


class _Wire(HTTPAdapter):
    """A request that changes something is a step before it, and one after the cloud has done it."""

    def __init__(self, double: Double) -> None:
        super().__init__()
        self._double = double

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        what = f"{request.method} {request.path_url}"
        if request.method == "GET" or "/auth/" in what:
            return super().send(request, *arguments, **options)
        self._double.step(f"before {what}")
        answer = super().send(request, *arguments, **options)
        self._double.step(f"after {what}")
        return answer


@cache
def connection(double: Double) -> Connection:
    """A real connection to the cloud in memory; the same one each time, since the SDK takes half a second to make one."""
    wire = requests.Session()
    wire.mount("http://", _Wire(double))
    who = {"username": "cumulus", "password": double.password, "project_name": "cumulus"}
    auth = Password(auth_url=f"{double.url}/identity/v3", user_domain_id="default", project_domain_id="default", **who)
    return Connection(session=Session(auth=auth, session=wire), region_name="RegionOne")


@dataclass
class Site:
    """One installation and its cloud. ``refused``: scripts with this in them fail on any machine; ``unreachable``: so do all.

    ``tried``: what a canary was asked, and whether it had the storage mounted.
    """

    double: Double
    home: Path
    server_id: str = "ctest"
    steps: Steps = field(default_factory=Steps)
    now: float = 1_800_000_000.0
    refused: str = ""
    unreachable: bool = False
    play_fails: bool = False
    creation_fails: str = ""
    told: list[str] = field(default_factory=list)
    played: list[Mapping[str, object]] = field(default_factory=list)
    tried: list[tuple[str, bool]] = field(default_factory=list)
    mounted: bool = False
    settings_given: dict[str, Any] = field(default_factory=lambda: {"openstack_template_image": "debian"})

    @property
    def settings(self) -> Settings:
        self.home.mkdir(exist_ok=True)
        flavors = self.home / "flavors.tsv"
        flavors.write_text(FLAVORS)
        return Settings(
            home=self.home, cloud=CloudName.OPENSTACK, flavors=flavors, openstack_nfs_host="nfs.example", **self.settings_given
        )

    def template(self) -> OpenstackTemplate:
        """The template as another process would find it."""
        settings, waiting = self.settings, Waiting(self._tick, lambda _: None)
        self.double.step = self.steps
        access = Access(settings, lambda _: connection(self.double))
        on_image = settings.openstack_boot is OpenstackBoot.IMAGE
        copies = Snapshots((GlanceCopies if on_image else CinderCopies)(access, NAME), waiting)
        originals = (ServerOriginals if on_image else Originals)(access, NAME, self.server_id, waiting)

        def making() -> Making:
            guests = Guests(settings, settings.home / "openstack" / "key", waiting, self._run)
            holdings = Resources(access, self.server_id, LIMITS, waiting, has_volumes=not on_image)
            machine_module = _TemplateModule(self, "template")
            servers = Servers(access, NAME, waiting)
            kind = ImageMachine if on_image else TemplateMachine
            names = Names(access, settings)
            machine = kind(settings, self.server_id, machine_module, originals, servers, guests, names)
            canaries = Canaries(
                _WorkerModule(self, "worker"),
                self._variables,
                holdings,
                guests,
                Resumption(holdings, waiting, Limit(60), Limit(60)),
                60,
                60,
            )
            return Making(machine, canaries, self)  # type: ignore[arg-type]

        def require_size(flavor: Flavor, needed_gb: int, source: str) -> None:
            require_disk(settings, flavor, needed_gb, source)

        parts = copies, originals, making, list, require_size
        return OpenstackTemplate(settings, self.server_id, *parts, clock=lambda: self.now)

    def holdings(self) -> Resources:
        """What the sweeper sees."""
        return Resources(Access(self.settings, lambda _: connection(self.double)), self.server_id, LIMITS)

    def servers(self) -> Servers:
        """The template's machines in Nova."""
        access = Access(self.settings, lambda _: connection(self.double))
        return Servers(access, NAME, Waiting(self._tick, lambda _: None))

    def build(self, *, fresh: bool = False) -> None:
        self.template().build(Lines(self.told.append), fresh=fresh)

    def take(self) -> str:
        self.now += 100
        return self.template().take_snapshot(TRIAL, Lines(self.told.append)).name

    def promoted(self) -> list[str]:
        """Names of the promoted snapshots, by what the cloud has."""
        return [one.name for one in Site(self.double, self.home).template().snapshots() if one.promoted]

    def copied(self) -> list[tuple[str, bool]]:
        """Names of this template's copies, and which is promoted."""
        return [(one.name, one.promoted) for one in self.template().snapshots()]

    def listed(self) -> list[str]:
        return [one.name for one in Site(self.double, self.home).template().snapshots()]

    def _tick(self) -> float:
        """A clock that goes on by a second at each look."""
        self.now += 1
        return self.now

    def _variables(self, worker: str, flavor: Flavor, snapshot: Kept) -> dict[str, object]:
        return {"server_id": self.server_id, "worker": worker, "flavor": flavor.name, "snapshot": snapshot.name}

    def _run(self, login: Login, script: str, timeout_s: float) -> str:
        """What a machine does; its address is its server's id."""
        self.steps(f"script {script.split()[0]}")
        server = self.double.servers.get(login.address)
        if self.unreachable or server is None or server["status"] != "ACTIVE":
            raise CommandFailed("the machine does not answer", "")
        if self.refused and self.refused in script:
            raise CommandFailed(f"{script} failed (exit code 1): no", "no\n")
        if script == SEAL:
            server["status"] = "SHUTOFF"
        elif script.startswith(once_ready("")) or script == UNMOUNT:
            self.mounted = "mount_storage" in script
        elif script not in ("true", HOLD):
            self.tried.append((script, self.mounted))
        return "msconvert\n" if "command -v" in script else "Probe 1.0\n"

    def announce(self, directory: Path, host: object) -> None:
        """Playbooks': where the machine is."""

    def run(
        self, playbook: str, directory: Path, variables: Mapping[str, object], timeout_s: float, cancelled: Callable[[], bool]
    ) -> PlayOutcome:
        """Playbooks': one play."""
        self.steps(f"play {playbook}")
        self.played.append(variables)
        return PlayOutcome(not self.play_fails, "no package today" if self.play_fails else "", "all of it")


class _InMemory(TerraformModule):
    """A module whose states are real files, and whose terraform acts on the cloud in memory."""

    def __init__(self, site: Site, name: str) -> None:
        home = site.home / "terraform" / f"openstack-{name}"
        super().__init__(Path(name), home, "no-terraform", dict)
        self.site = site

    def resource(self, workspace: str, kind: str) -> str:
        """The id in the state, "" where there is none."""
        found = [one for one in self.store.state(workspace).get("resources", []) if one["type"] == kind]
        return str(found[0]["instances"][0]["attributes"]["id"]) if found else ""

    def write(self, workspace: str, resources: dict[str, str], outputs: dict[str, object]) -> dict[str, Any]:
        folder = self.store.states / workspace
        folder.mkdir(parents=True, exist_ok=True)
        listed = [
            {"mode": "managed", "type": kind, "name": "x", "instances": [{"attributes": {"id": one}}]}
            for kind, one in resources.items()
            if one
        ]
        state = {"version": 4, "serial": 1, "resources": listed}
        state["outputs"] = {name: {"value": value} for name, value in outputs.items()}
        (folder / "terraform.tfstate").write_text(json.dumps(state))
        return outputs


class _TemplateModule(_InMemory):
    """openstack/template."""

    def apply(self, workspace: str, variables: Mapping[str, object], timeout_s: float) -> dict[str, Any]:
        site, double = self.site, self.site.double
        site.steps(f"before apply running={variables['running']}")
        tags = {"cumulus_server": variables["server_id"], "cumulus_worker": workspace, TEMPLATE: variables["name"]}
        kept = self.resource(workspace, VOLUME)
        if variables["volume_id"] and kept in double.volumes:
            raise TerraformError("terraform apply: Instance cannot be destroyed")
        volume = str(variables["volume_id"]) or (kept if kept in double.volumes else "")
        if variables["boot"] == "image":
            return self._on_image(workspace, tags)
        if not volume and not variables["image_id"]:
            raise TerraformError("terraform apply: image_id must be the id of an image")
        if not volume:
            volume = double.add_volume(metadata=dict(tags), status="creating")
            site.steps("volume made")
            double.volumes[volume]["status"] = "available"
        server = self._server(volume, self.resource(workspace, SERVER), tags, running=bool(variables["running"]))
        site.steps("apply before its state")
        managed = "" if variables["volume_id"] else volume
        outputs = {"id": server, "address": server, "port": 22, "user": "debian", "host_key": "ssh-ed25519 AAAA"}
        made = self.write(workspace, {VOLUME: managed, SERVER: server}, outputs)
        site.steps("after apply")
        return made

    def _on_image(self, workspace: str, tags: Mapping[str, object]) -> dict[str, Any]:
        double = self.site.double
        known = self.resource(workspace, SERVER)
        server = (
            known if known in double.servers else double.add_server(metadata={**tags, "cumulus_host_key": "ssh-ed25519 AAAA"})
        )
        double.servers[server] |= {"status": "ACTIVE", "addresses": {"lab": [{"version": 6, "addr": server}]}}
        self.site.steps("server made, no state yet")
        outputs = {"id": server, "address": server, "port": 22, "user": "debian", "host_key": "ssh-ed25519 AAAA"}
        made = self.write(workspace, {SERVER: server}, outputs)
        self.site.steps("after apply")
        return made

    def _server(self, volume: str, known: str, tags: Mapping[str, object], *, running: bool) -> str:
        double = self.site.double
        if not running:
            if known in double.servers:
                double.remove_server(known)
            return ""
        if known in double.servers:
            if double.servers[known]["status"] == "ERROR":
                raise TerraformError(f"terraform apply: Cannot 'start' instance {known} while it is in vm_state error")
            double.servers[known]["status"] = "ACTIVE"
            return known
        if double.volumes[volume]["status"] != "available":
            raise TerraformError("terraform apply: the volume has another machine")
        return double.add_server(volume=volume, keeps_volume=True, metadata=dict(tags))


class _WorkerModule(_InMemory):
    """openstack/worker."""

    def apply(self, workspace: str, variables: Mapping[str, object], timeout_s: float) -> dict[str, Any]:
        site, double = self.site, self.site.double
        site.steps("before canary")
        tags = {"cumulus_server": variables["server_id"], "cumulus_worker": workspace}
        copies = (double.snapshots if double.has_cinder else double.images).values()
        snapshot = next(one["id"] for one in copies if one["name"] == variables["snapshot"])
        volume = double.add_volume(metadata=dict(tags), snapshot_id=snapshot) if double.has_cinder else ""
        site.steps("canary's volume made")
        server = double.add_server(volume=volume, metadata=dict(tags), image={"id": "" if double.has_cinder else snapshot})
        site.steps("canary made, no state yet")
        if site.creation_fails:
            double.servers[server] |= {"status": "ERROR", "fault": {"message": site.creation_fails}}
            self.write(workspace, {VOLUME: volume, SERVER: server}, {})
            raise TerraformError("terraform apply: unexpected state 'ERROR'")
        outputs = {"id": server, "address": server, "port": 22, "user": "debian", "host_key": "ssh-ed25519 AAAA"}
        return self.write(workspace, {VOLUME: volume, SERVER: server}, outputs)

    def destroy(self, workspace: str, timeout_s: float) -> None:
        self.site.steps("before destroy")
        double = self.site.double
        if (server := self.resource(workspace, SERVER)) in double.servers:
            double.remove_server(server)
        self.site.steps("canary's server gone")
        double.volumes.pop(self.resource(workspace, VOLUME), None)
        if workspace in self.store.workspaces():
            self._forget_state(workspace)

    def _forget_state(self, workspace: str) -> None:
        self.write(workspace, {}, {})
        self.store.forget(workspace)


def template_volumes(site: Site) -> list[dict[str, Any]]:
    return [one for one in site.double.volumes.values() if "cumulus_template" in one["metadata"]]


def others(site: Site) -> list[object]:
    """What should not be there when nobody is at work."""
    volumes = [one for one in site.double.volumes.values() if "cumulus_template" not in one["metadata"]]
    half = [one for one in site.double.snapshots.values() if "cumulus_promoted" not in one["metadata"]]
    return [*site.double.servers.values(), *volumes, *half]


def broken_off(site: Site, steps: Steps, what: str) -> bool:
    """Whether it was broken off; what is done afterwards is done by another process."""
    site.steps = steps
    try:
        site.build() if what == "build" else site.take()
    except (Killed, KeyboardInterrupt):
        return True
    finally:
        site.steps = Steps()
    return False
