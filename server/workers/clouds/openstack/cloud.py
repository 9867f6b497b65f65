"""The cloud ``openstack`` as the controller sees it. Workers are made by Terraform with the official provider only.

Owns what Terraform is told and how a job is reached; looking, removing and quota are in the modules beside. Nothing of the cloud
runs on this computer: the storage's NFS server is the site's.
"""

import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from pydantic import SecretStr

from server.catalog.flavors import Flavor, read_flavors
from server.cloud_settings.openstack import OpenstackBoot
from server.errors import CloudError, CumulusError, SetupMissing, TemplateMissing
from server.reasons import Reason
from server.settings import CHECKOUT, CloudName, Settings
from server.workers.ansible.playbooks import Playbooks
from server.workers.clouds.base import Layout, MemoryUse, Quota, Resource, Size, worker_variables
from server.workers.clouds.build_hash import build_hash
from server.workers.clouds.keys import ensure_key, make_key
from server.workers.clouds.openstack.client.access import Access, terraform_environment, told_to_terraform
from server.workers.clouds.openstack.client.gateway_process import GatewayProcess
from server.workers.clouds.openstack.flavors import disk_gb_of, read_own_disks, read_sizes, require_disk, require_own_disk
from server.workers.clouds.openstack.names import Names, named_variables
from server.workers.clouds.openstack.quotas import read_quotas, require_room
from server.workers.clouds.openstack.resources import Limits, Resources
from server.workers.clouds.openstack.resuming import Resumption
from server.workers.clouds.openstack.servers import Servers
from server.workers.clouds.openstack.site import missing_settings, site_problems
from server.workers.clouds.openstack.template.build import Making, OpenstackTemplate, is_at_work
from server.workers.clouds.openstack.template.canary import CANARY, Canaries
from server.workers.clouds.openstack.template.guest import Guests
from server.workers.clouds.openstack.template.image_machine import ImageMachine, ServerOriginals
from server.workers.clouds.openstack.template.images import Images
from server.workers.clouds.openstack.template.promoted_apps import PromotedApps
from server.workers.clouds.openstack.template.snapshots import Kept, Snapshots
from server.workers.clouds.openstack.template.template_machine import TemplateMachine
from server.workers.clouds.openstack.volumes import Originals
from server.workers.clouds.openstack.waiting import Limit, Waiting
from server.workers.clouds.smoke_results import TriedApps
from server.workers.terraform.module import TerraformModule, terraform_binary

OUTDATED = (
    "the snapshot was made by another version of Cumulus than this one: `cumulus template build` (what was installed on the "
    "template by hand stays), then `make snapshot`"
)
WORK_DIR = "/var/lib/cumulus/job"
JOB_DIR = "/srv/job"
WORKER_PROGRAM = "/usr/local/sbin/cumulus-worker"
AS_ROOT = ("sudo", "-n")
NFS_LIMIT_S = 3.0


class OpenstackCloud:
    """One installation's machines in a project of an OpenStack cloud. Constructing it asks nothing."""

    name = CloudName.OPENSTACK
    boots_after_creation = True

    def __init__(self, settings: Settings, server_id: str, access: Access | None = None) -> None:
        self._settings = settings
        self._server_id = server_id
        self._access = access or Access(settings)
        self._has_volumes = settings.openstack_boot is OpenstackBoot.VOLUME
        self._waiting = Waiting(patience_s=settings.cloud_patience_s)
        self._holdings = Resources(self._access, server_id, Limits.of(settings), self._waiting, has_volumes=self._has_volumes)
        making = Limit.of(settings, "volume_create"), Limit.of(settings, "server_create")
        self._resumption = Resumption(self._holdings, self._waiting, *making)
        limits = Limit.of(settings, "snapshot_create"), Limit.of(settings, "snapshot_delete")
        copies = Snapshots if self._has_volumes else Images
        self._snapshots = copies(self._access, settings.openstack_template, self._waiting, *limits)
        self._names = Names(self._access, settings)
        self._gateway = GatewayProcess(self._access, settings)

    @property
    def ssh_key(self) -> Path:
        """The private key that logs in on workers; made at its first use."""
        return self._settings.home / "openstack" / "key"

    def template(self) -> OpenstackTemplate:
        """What workers are copies of."""
        settings, server_id = self._settings, self._server_id
        kind = Originals if self._has_volumes else ServerOriginals
        removal = Limit.of(settings, "volume_delete" if self._has_volumes else "server_delete")
        limits = Limit.of(settings, "template_create"), removal
        originals = kind(self._access, settings.openstack_template, server_id, self._waiting, *limits)
        parts = self._snapshots, originals, lambda: self._making(originals), self.problems, self._require_size
        return OpenstackTemplate(settings, server_id, *parts)

    def check_snapshot(self) -> str:
        """What is worth knowing of the promoted one. Raises TemplateMissing, CloudError."""
        return "" if self._snapshots.current().recipe in ("", build_hash()) else OUTDATED

    def current_snapshot(self) -> str:
        """The promoted one's name at the last look, which the sweeper takes each minute. Raises TemplateMissing, CloudError."""
        return self._snapshots.current(remembered=True).name

    def starts_jobs_at_boot(self) -> bool:
        """Whether the promoted one was made from this version's playbook; one of an earlier version waits for an order."""
        try:
            return self._snapshots.current(remembered=True).recipe == build_hash()
        except (TemplateMissing, CloudError):
            return False

    def has_program(self, name: str) -> bool:
        """Whether a machine of the promoted snapshot has it, as its trial found; True while the cloud does not say."""
        try:
            return self._snapshots.current(remembered=True).has_program(name)
        except (TemplateMissing, CloudError):
            return True

    def tried_apps(self, snapshot: str = "") -> TriedApps:
        """What the promoted one, or another one, remembers of its trial. Raises TemplateMissing, CloudError."""
        return self._snapshots.find(snapshot).tried_apps if snapshot else PromotedApps(self._snapshots)

    def problems(self) -> list[str]:
        """Programs and settings that are missing; the cloud is not asked."""
        lacking = [] if shutil.which("ssh") else ["ssh is not installed: apt-get install openssh-client"]
        try:
            terraform_binary()
        except SetupMissing as problem:
            lacking.append(problem.message)
        return lacking + missing_settings(self._settings)

    def site_problems(self) -> list[str]:
        """Credentials, names, flavors and quota in the cloud, and the NFS server."""
        try:
            flavors = list(read_flavors(self._settings.flavors).values())
        except CumulusError:  # whoever reads flavors.tsv for itself says what is wrong with it
            flavors = []
        names = [flavor.name for flavor in flavors]
        told = site_problems(self._access, self._settings, names, lambda: self._source_problems(flavors))
        return [*told, *self._nfs_problems()]

    def start(self) -> None:
        """Make the login key; the gateway is started when it is needed. May be repeated. Raises SetupMissing."""
        if problems := self.problems():
            raise SetupMissing("\n".join(problems))
        ensure_key(self.ssh_key)
        self._gateway.allow()

    def stop(self) -> None:
        """The gateway ends with the last terraform."""
        self._gateway.stop()

    def terraform_env(self) -> dict[str, str]:
        """The same cloud that the controller asks."""
        return {**terraform_environment(self._settings), **self._gateway.environment()}

    def plain_terraform_env(self) -> dict[str, str]:
        """The same, without the gateway."""
        return terraform_environment(self._settings)

    def said_by_terraform(self, text: str) -> str:
        """The provider was told the gateway's addresses."""
        return self._gateway.in_the_clouds_words(text)

    def terraform_vars(self, worker: str, flavor: Flavor) -> dict[str, object]:
        """The values of the worker module's variables. Raises TemplateMissing, CloudError."""
        return self.variables(worker, flavor, self._snapshots.current())

    def variables(self, worker: str, flavor: Flavor, snapshot: Kept) -> dict[str, object]:
        """The same for any snapshot. Each call makes a new host key: the module keeps the one that the machine was made with."""
        self._require_disk(worker, flavor, snapshot)
        host_key = make_key()
        settings = self._settings
        key, disk_gb = ensure_key(self.ssh_key), disk_gb_of(settings, flavor)
        shared = worker_variables(self._server_id, worker, flavor, disk_gb=disk_gb, snapshot=snapshot.name, ssh_public_key=key)
        return {
            **shared,
            **named_variables(self._names, settings),
            "server_group_id": self._names.resolved().server_group,
            "snapshot_id": snapshot.identifier,
            "user": settings.openstack_user,
            "lease_s": int(settings.lease_s),
            **told_to_terraform(settings),
            "host_key": host_key.public,
            "host_key_private": SecretStr(host_key.private),
        }

    def quotas(self) -> list[Quota]:
        """Those of the project. Raises CloudError."""
        return read_quotas(self._access, has_volumes=self._has_volumes)

    def require_room(self, flavor: Flavor) -> None:
        """Ask Nova, Cinder and Neutron. Raises CloudError where one's quota has no room for such a machine."""
        require_room(self.quotas(), flavor, disk_gb_of(self._settings, flavor))

    def warm_up(self, flavor: Flavor, unwanted: Callable[[], bool]) -> None:
        """Nothing could start sooner."""

    def sizes(self) -> list[Size]:
        """The project's flavors; no disk is smaller than the promoted snapshot. Raises CloudError.

        Machines that boot from an image have the flavor's own disk: those whose disk is too small are left out.
        """
        try:
            least_disk_gb = self._snapshots.current().size_gb
        except TemplateMissing:
            least_disk_gb = 0
        return read_sizes(self._access, least_disk_gb, own_disks=not self._has_volumes)

    def next_boot(self, flavor: Flavor) -> str:  # noqa: ARG002
        """All boot."""
        return ""

    def tidy(self, now: float) -> None:
        """Nothing is kept for later machines."""

    def layout(self, worker: str, job_dir: Path) -> Layout:  # noqa: ARG002  # each machine has one job
        """The worker mounts the job's folder itself: from its boot on, or by its start command, which runs as root."""
        command = (WORKER_PROGRAM,) if self._settings.openstack_user == "root" else (*AS_ROOT, WORKER_PROGRAM)
        host, port = self._settings.openstack_nfs_host, str(self._settings.openstack_nfs_port)
        start = (*command, "start", "--nfs", host, "--port", port, "--job", job_dir.name)
        orders = {"job": job_dir.name, "storage": f"{host} {port}"}
        return Layout("ssh", WORK_DIR, JOB_DIR, start, (*command, "stop"), (*command, "status"), orders=orders)

    def admit(self, job_dir: Path) -> None:
        """The storage's server makes all users the controller's own."""

    def resources(self, worker: str = "") -> list[Resource]:
        """Servers, volumes and ports. The sweeper's look at all also renews what is known of the snapshots."""
        if not worker:
            self._snapshots.look()
        found = self._holdings.listed(worker)
        return [one for one in found if worker or not (one.worker.startswith(CANARY) and is_at_work(self._settings.home))]

    def alive(self, worker: str) -> bool:
        """Whether the worker's server runs, or is on its way."""
        return any(machine.alive for machine in self._holdings.machines(worker))

    def take_up(self, worker: str, module: TerraformModule) -> None:
        """The volume's copy goes on, the server that was built counts."""
        self._resumption.take_up(worker, module)

    def is_copying(self, worker: str) -> bool:
        """Whether Cinder is still at its volume. Raises CloudError."""
        return self._resumption.is_copying(worker)

    def memory_use(self, worker: str) -> MemoryUse | None:  # noqa: ARG002
        """It takes none of this computer."""
        return None

    def delete(self, resource: Resource) -> None:
        """Remove a server, a volume or a port; returns when it is gone. Raises CloudError."""
        self._holdings.delete(resource)

    def console_log(self, worker: str) -> str:
        """The last lines of the server's console."""
        return self._holdings.console(worker)

    def fault(self, worker: str) -> str:
        """Nova's own word for why a server is in ERROR."""
        return self._holdings.fault(worker)

    def _making(self, originals: Originals) -> Making:
        """Raises SetupMissing where there is no terraform."""
        settings, waiting = self._settings, self._waiting
        guests = Guests(settings, self.ssh_key, waiting)
        servers = Servers(self._access, settings.openstack_template, waiting, Limit.of(settings, "server_delete"))
        kind = TemplateMachine if self._has_volumes else ImageMachine
        machine = kind(settings, self._server_id, self._module("template"), originals, servers, guests, self._names)
        limits = (settings.making_limit_s, settings.removal_limit_s)
        canaries = Canaries(self._module("worker"), self.variables, self._holdings, guests, self._resumption, *limits)
        return Making(machine, canaries, Playbooks(CHECKOUT / "infra" / "ansible"))

    def _module(self, name: str) -> TerraformModule:
        folder = f"{CloudName.OPENSTACK}-{name}"
        path, home = CHECKOUT / "infra" / "terraform" / CloudName.OPENSTACK / name, self._settings.home / "terraform" / folder
        return TerraformModule(path, home, terraform_binary(), self.terraform_env, self.said_by_terraform)

    def _require_disk(self, worker: str, flavor: Flavor, snapshot: Kept) -> None:
        """A worker that has a disk keeps it, whatever is promoted. Raises CloudError."""
        try:
            self._require_size(flavor, snapshot.size_gb, f"the snapshot {snapshot.name}")
        except CloudError:
            kind = "volume" if self._has_volumes else "machine"
            if not any(one.kind == kind for one in self._holdings.listed(worker)):
                raise

    def _require_size(self, flavor: Flavor, needed_gb: int, source: str) -> None:
        if self._has_volumes:
            require_disk(self._settings, flavor, needed_gb, source)
        else:
            require_own_disk(flavor, read_own_disks(self._access), needed_gb, source)

    def _source_problems(self, flavors: Sequence[Flavor]) -> Iterator[str]:
        """Of what machines are made from: their snapshot, and before there is one the template's image. Raises CloudError."""
        try:
            snapshot = self._snapshots.current()
        except TemplateMissing:
            yield from self._names.image_problems()
            return
        for flavor in flavors:
            try:
                self._require_size(flavor, snapshot.size_gb, f"the snapshot {snapshot.name}")
            except CloudError as problem:
                if problem.reason is not Reason.FLAVOR_TOO_SMALL:
                    raise
                yield problem.message

    def _nfs_problems(self) -> list[str]:
        host, port = self._settings.openstack_nfs_host, self._settings.openstack_nfs_port
        if not host:
            return []
        try:
            with closing(socket.create_connection((host, port), NFS_LIMIT_S)):
                return []
        except OSError as problem:
            return [f"no NFS server answers at {host}:{port} ({problem.strerror or problem}): see openstack_nfs_host"]
