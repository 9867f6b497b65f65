"""The sizes of machines: what is free of them, and how they compare with what the cloud has."""

from cumulus_client.flavors import Flavor as FlavorView
from cumulus_client.flavors import FlavorComparison, FlavorDifference, FlavorList
from cumulus_client.workers import Quota
from server.catalog.flavors import read_flavors
from server.catalog.flavorsfile import rewrite
from server.db.queries import living_workers
from server.errors import CumulusError
from server.services.machines.cloud_access import CloudAccess, quotas_of
from server.services.principal import Principal, Role
from server.settings import Settings
from server.workers.clouds.base import Cloud
from server.workers.clouds.capabilities import HasFlavors, HasPrewarming
from server.workers.flavor_check import compare


class FlavorService:
    """The sizes of one installation's machines. ``has_rows``: whether its database is open."""

    def __init__(self, settings: Settings, access: CloudAccess, *, has_rows: bool) -> None:
        self._settings = settings
        self._access = access
        self._has_rows = has_rows

    def listed(self, principal: Principal, *, with_quota: bool) -> FlavorList:
        """All sizes, in the order of their file, and what is free. Raises Forbidden, InvalidInput."""
        principal.require(Role.USER)
        found, cloud = read_flavors(self._settings.flavors), self._access.to_inspect()
        prewarming = cloud.prewarming if isinstance(cloud, HasPrewarming) else None
        quotas, unknown = _quotas(cloud) if with_quota else ([], "")
        return FlavorList(
            flavors=[
                FlavorView(
                    name=flavor.name,
                    weight=flavor.weight,
                    cpus=flavor.cpus,
                    memory_gb=flavor.memory_gb,
                    disk_gb=flavor.disk_gb,
                    next_boot=prewarming.next_boot(flavor) if prewarming else "",
                )
                for flavor in found.values()
            ],
            max_weight=found.max_weight,
            used=sum(worker.weight for worker in living_workers()) if self._has_rows else None,
            quotas=quotas,
            unknown=unknown,
        )

    def compared(self, principal: Principal, *, write: bool) -> FlavorComparison:
        """Compare the sizes with what the cloud has; ``write``: correct the file where that helps.

        Raises Forbidden, CloudError.
        """
        principal.require(Role.ADMINISTRATOR)
        known, cloud = list(read_flavors(self._settings.flavors).values()), self._access.to_inspect()
        offered = cloud.flavors.listed() if isinstance(cloud, HasFlavors) else None
        found = [] if offered is None else compare(known, offered, self._settings.worker_disk_gb)
        written = [one for one in found if one.cells] if write else []
        if written:
            rewrite(self._settings.flavors, {one.flavor: one.cells for one in written})
        return FlavorComparison(
            cloud=str(self._settings.cloud),
            file=self._settings.flavors.name,
            known=len(known),
            takes_any_size=offered is None,
            same=len(written) == len(found),
            differences=[
                FlavorDifference(flavor=one.flavor, text=one.text, cure=one.cure, cells=one.cells, written=one in written)
                for one in found
            ],
        )


def _quotas(cloud: Cloud) -> tuple[list[Quota], str]:
    try:
        return quotas_of(cloud), ""
    except CumulusError as error:
        return [], error.message
