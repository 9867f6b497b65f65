"""What the OpenStack cloud's workers are made from: the promoted snapshot, and the template that it was copied from."""

from collections.abc import Callable
from dataclasses import dataclass

from server.errors import CloudError, TemplateMissing
from server.settings import CHECKOUT
from server.workers.ansible.playbooks import Playbooks
from server.workers.clouds.build_hash import build_hash
from server.workers.clouds.openstack.project import Project
from server.workers.clouds.openstack.resuming import Resumption
from server.workers.clouds.openstack.servers import Servers
from server.workers.clouds.openstack.template.build import Making, OpenstackTemplate
from server.workers.clouds.openstack.template.canary import Canaries
from server.workers.clouds.openstack.template.guest import Guests
from server.workers.clouds.openstack.template.image_machine import ImageMachine, ServerOriginals
from server.workers.clouds.openstack.template.promoted_apps import PromotedApps
from server.workers.clouds.openstack.template.snapshots import Snapshots
from server.workers.clouds.openstack.template.template_machine import TemplateMachine
from server.workers.clouds.openstack.volumes import Originals
from server.workers.clouds.openstack.worker_variables import WorkerVariables
from server.workers.clouds.smoke_results import SmokeResults
from server.workers.terraform.module import TerraformModule

OUTDATED = (
    "the snapshot was made by another version of Cumulus than this one: `cumulus template build` (what was installed on the "
    "template by hand stays), then `make snapshot`"
)


@dataclass(frozen=True)
class OpenstackImages:
    """Those of one installation. ``module``: makes a Terraform module of this cloud; ``problems``: what this computer lacks."""

    project: Project
    snapshots: Snapshots
    variables: WorkerVariables
    resumption: Resumption
    module: Callable[[str], TerraformModule]
    problems: Callable[[], list[str]]

    def template(self) -> OpenstackTemplate:
        """What workers are copies of."""
        project = self.project
        settings, server_id = project.settings, project.server_id
        kind = Originals if project.has_volumes else ServerOriginals
        removal = project.limit("volume_delete" if project.has_volumes else "server_delete")
        limits = project.limit("template_create"), removal
        originals = kind(project.access, settings.openstack_template, server_id, project.waiting, *limits)
        parts = self.snapshots, originals, lambda: self._making(originals), self.problems, self.variables.require_size
        return OpenstackTemplate(settings, server_id, *parts)

    def check(self) -> str:
        """Whether the promoted snapshot is of another version. Raises TemplateMissing, CloudError."""
        return "" if self.snapshots.current().build_hash in ("", build_hash()) else OUTDATED

    def current(self) -> str:
        """The promoted one's name at the last look, which the sweeper takes each minute. Raises TemplateMissing, CloudError."""
        return self.snapshots.current(remembered=True).name

    def starts_jobs_at_boot(self) -> bool:
        """Whether the promoted one was made from this version's playbook; one of an earlier version waits for an order."""
        try:
            return self.snapshots.current(remembered=True).build_hash == build_hash()
        except (TemplateMissing, CloudError):
            return False

    def has_program(self, name: str) -> bool:
        """Whether a machine of the promoted snapshot has it, by its smoke test; True while the cloud does not say."""
        try:
            return self.snapshots.current(remembered=True).has_program(name)
        except (TemplateMissing, CloudError):
            return True

    def smoke_results(self, snapshot: str = "") -> SmokeResults:
        """Those of the promoted snapshot, or of another one. Raises TemplateMissing, CloudError."""
        return self.snapshots.find(snapshot).smoke_results if snapshot else PromotedApps(self.snapshots)

    def _making(self, originals: Originals) -> Making:
        """Raises SetupMissing where there is no terraform."""
        project, settings = self.project, self.project.settings
        guests = Guests(settings, project.ssh_key, project.waiting)
        servers = Servers(project.access, settings.openstack_template, project.waiting, project.limit("server_delete"))
        kind = TemplateMachine if project.has_volumes else ImageMachine
        names, resources = self.variables.names, self.variables.resources
        machine = kind(settings, project.server_id, self.module("template"), originals, servers, guests, names)
        limits = (settings.making_limit_s, settings.removal_limit_s)
        canaries = Canaries(self.module("worker"), self.variables.of, resources, guests, self.resumption, *limits)
        return Making(machine, canaries, Playbooks(CHECKOUT / "infra" / "ansible"))
