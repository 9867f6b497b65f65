"""Making a worker's machine by Terraform, and removing what Terraform does not know of."""

from collections.abc import Callable
from dataclasses import dataclass

from server.catalog.flavors import Flavor
from server.settings import Settings
from server.workers.address import Address
from server.workers.clouds.base import Cloud
from server.workers.clouds.capabilities import HasQuota, HasResumption
from server.workers.orphaned_processes import OrphanReaper
from server.workers.terraform.module import TerraformModule


@dataclass(frozen=True)
class Provisioning:
    """That of one installation's machines; each is a workspace of the cloud's worker module."""

    cloud: Cloud
    module: TerraformModule
    settings: Settings
    orphans: OrphanReaper

    def variables(self, worker: str, flavor: Flavor) -> dict[str, object]:
        """The variables to make the machine with, once nothing stands in its way.

        A terraform that was killed or refused has not written down all that the cloud has made for it: the apply continues
        from there, or it is removed where the cloud cannot. Raises CloudError, TerraformError, TemplateMissing.
        """
        self.end_orphans(worker)
        store = self.module.store
        before = store.variables(worker)
        if before and isinstance(self.cloud, HasResumption):
            self.cloud.resumption.take_up(worker, self.module)
        if not store.state(worker).get("resources"):
            if worker in store.names():
                self.delete_all(worker)
            if isinstance(self.cloud, HasQuota):
                self.cloud.quota.require_room(flavor)
        variables = self.cloud.terraform_vars(worker, flavor)
        # What was begun stays what it is, whatever was promoted meanwhile: the job's record names its snapshot.
        return {**variables, "snapshot": before["snapshot"]} if before.get("snapshot") and store.made(worker) else variables

    def apply(self, worker: str, variables: dict[str, object], on_machine: Callable[[Address], None]) -> Address:
        """Make the machine; ``on_machine`` is called with its address. Raises TerraformError."""
        address = Address.of(self.module.apply(worker, variables, self.settings.making_limit_s))
        on_machine(address)
        return address

    def end_orphans(self, worker: str) -> None:
        """Return when no terraform or ansible of an earlier controller is at work for the worker."""
        self.orphans.end_for(worker, self.settings.making_limit_s)

    def delete_unknown_machine(self, worker: str) -> None:
        """Where an apply never came to its end, the machine may be there and not in the state, and hold on to what is.

        A boot volume cannot be taken from its server, so that no destroy would ever succeed.
        """
        if not self.module.store.outputs(worker).get("id"):
            for resource in self.cloud.resources(worker):
                if resource.kind == "machine":
                    self.cloud.delete(resource)

    def delete_all(self, worker: str) -> bool:
        """Remove all that carries the worker's tag; whether there was anything."""
        found = self.cloud.resources(worker)
        for resource in found:
            self.cloud.delete(resource)
        return bool(found)
