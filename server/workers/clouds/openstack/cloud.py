"""The cloud ``openstack`` as the controller sees it. Workers are made by Terraform with the official provider only.

Owns how the parts of the driver are joined and how a job is reached. No service of it runs on this computer: the NFS server is
the site's.
"""

import shutil
from pathlib import Path

from server.catalog.flavors import Flavor
from server.errors import SetupMissing
from server.settings import CloudName, Settings
from server.workers.clouds.base import Cloud, Layout, Resource
from server.workers.clouds.keys import ensure_key
from server.workers.clouds.openstack.client.access import Access, terraform_environment
from server.workers.clouds.openstack.client.gateway_process import GatewayProcess
from server.workers.clouds.openstack.console import Console
from server.workers.clouds.openstack.flavors import ProjectFlavors
from server.workers.clouds.openstack.names import Names
from server.workers.clouds.openstack.project import Project
from server.workers.clouds.openstack.quotas import ProjectQuota
from server.workers.clouds.openstack.resources import Limits, Resources
from server.workers.clouds.openstack.resuming import Resumption
from server.workers.clouds.openstack.site import SiteCheck, missing_settings
from server.workers.clouds.openstack.template.build import is_at_work
from server.workers.clouds.openstack.template.canary import CANARY
from server.workers.clouds.openstack.template.cinder_copies import CinderCopies
from server.workers.clouds.openstack.template.glance_copies import GlanceCopies
from server.workers.clouds.openstack.template.snapshots import Snapshots
from server.workers.clouds.openstack.template.worker_images import OpenstackImages
from server.workers.clouds.openstack.waiting import Waiting
from server.workers.clouds.openstack.worker_variables import WorkerVariables
from server.workers.terraform.module import TerraformModule, terraform_binary

WORK_DIR = "/var/lib/cumulus/job"
JOB_DIR = "/srv/job"
WORKER_PROGRAM = "/usr/local/sbin/cumulus-worker"
AS_ROOT = ("sudo", "-n")


class OpenstackCloud(Cloud):
    """One installation's machines in a project of an OpenStack cloud."""

    name = CloudName.OPENSTACK
    boots_after_creation = True
    images: OpenstackImages

    def __init__(self, settings: Settings, server_id: str, access: Access | None = None) -> None:
        self._settings = settings
        waiting = Waiting(patience_s=settings.cloud_patience_s)
        self._project = project = Project(settings, server_id, access or Access(settings), waiting)
        kind = CinderCopies if project.has_volumes else GlanceCopies
        copies = kind(project.access, settings.openstack_template)
        limits = project.limit("snapshot_create"), project.limit("snapshot_delete")
        self._snapshots = Snapshots(copies, waiting, *limits)
        self._resources = Resources(project.access, server_id, Limits.of(settings), waiting, has_volumes=project.has_volumes)
        self._gateway = GatewayProcess(project.access, settings)
        names = Names(project.access, settings)
        self._variables = WorkerVariables(project, names, self._resources)
        self.quota = ProjectQuota(project)
        self.flavors = ProjectFlavors(project, self._snapshots)
        self.console = Console(self._resources)
        making = project.limit("volume_create"), project.limit("server_create")
        self.resumption = Resumption(self._resources, waiting, *making)
        self.images = OpenstackImages(project, self._snapshots, self._variables, self.resumption, self._module, self.problems)
        self._site = SiteCheck(project, self.quota, names, self._snapshots, self._variables.require_size)

    @property
    def ssh_key(self) -> Path:
        """The private key that logs in on workers; made at its first use."""
        return self._project.ssh_key

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
        return self._site.problems()

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

    def translate_output(self, text: str) -> str:
        """The provider was given the gateway's addresses."""
        return self._gateway.with_cloud_addresses(text)

    def terraform_vars(self, worker: str, flavor: Flavor) -> dict[str, object]:
        """The values of the worker module's variables. Raises TemplateMissing, CloudError."""
        return self._variables.of(worker, flavor, self._snapshots.current())

    def layout(self, worker: str, job_dir: Path) -> Layout:  # noqa: ARG002  # each machine has one job
        """The worker mounts the job's folder itself: from its boot on, or by its start command, which runs as root."""
        command = (WORKER_PROGRAM,) if self._settings.openstack_user == "root" else (*AS_ROOT, WORKER_PROGRAM)
        host, port = self._settings.openstack_nfs_host, str(self._settings.openstack_nfs_port)
        start = (*command, "start", "--nfs", host, "--port", port, "--job", job_dir.name)
        job_variables = {"job": job_dir.name, "storage": f"{host} {port}"}
        return Layout("ssh", WORK_DIR, JOB_DIR, start, (*command, "stop"), (*command, "status"), job_variables=job_variables)

    def resources(self, worker: str = "") -> list[Resource]:
        """Servers, volumes and ports. The sweeper's look at all also renews what is known of the snapshots."""
        if not worker:
            self._snapshots.fetch()
        found = self._resources.listed(worker)
        return [one for one in found if worker or not (one.worker.startswith(CANARY) and is_at_work(self._settings.home))]

    def alive(self, worker: str) -> bool:
        """Whether the worker's server runs, or is on its way."""
        return any(machine.alive for machine in self._resources.machines(worker))

    def delete(self, resource: Resource) -> None:
        """Remove a server, a volume or a port; returns when it is gone. Raises CloudError."""
        self._resources.delete(resource)

    def _module(self, name: str) -> TerraformModule:
        """Raises SetupMissing where there is no terraform."""
        module, home = self._project.module_paths(name)
        return TerraformModule(module, home, terraform_binary(), self.terraform_env, self.translate_output)
