"""How the administrator's services come to the cloud and its machines: those of the running controller, or a command's own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cumulus_client.workers import Quota
from server.settings import Settings
from server.workers.clouds.base import Cloud
from server.workers.clouds.capabilities import HasQuota

if TYPE_CHECKING:
    from server.db.models import Worker
    from server.workers.fleet import Fleet
    from server.workers.workspaces import Workspaces


@dataclass(frozen=True)
class CloudAccess:
    """The cloud of one installation.

    ``known``: to change what it has, raises NoInstallation; ``to_inspect``: only to look, also where there is no installation.
    ``remove_here``: removes a machine as a controller does, None in the controller itself, whose loop does it.
    """

    known: Callable[[], Cloud]
    to_inspect: Callable[[], Cloud]
    make_fleet: "Callable[[Settings, Cloud], Fleet]"
    make_workspaces: "Callable[[Settings, Cloud], Workspaces]"
    remove_here: "Callable[[Settings, Worker], None] | None" = None

    @property
    def serves(self) -> bool:
        """Whether this process is the controller, whose cloud is ready for everything as long as it runs."""
        return self.remove_here is None

    @contextmanager
    def ready(self, settings: Settings, *, to_change: bool = True) -> "Iterator[tuple[Cloud, Fleet]]":
        """The cloud and its machines; ``to_change``: with what the cloud needs on this computer for that. Raises SetupMissing."""
        cloud = self.known()
        is_own = to_change and not self.serves
        if is_own:
            cloud.start()
        try:
            yield cloud, self.make_fleet(settings, cloud)
        finally:
            if is_own:
                cloud.stop()


def quotas_of(cloud: Cloud) -> list[Quota]:
    """The limits of the cloud's project; none where it sets none. Raises CloudError."""
    found = cloud.quota.listed() if isinstance(cloud, HasQuota) else []
    return [Quota(name=one.name, used=one.used, limit=one.limit) for one in found]
