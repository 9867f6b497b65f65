"""The template on OpenStack and its snapshots."""

from server.errors import SetupMissing
from server.settings import Settings
from server.workers.clouds.base import Progress, Snapshot, Trial
from server.workers.clouds.openstack.access import Access
from server.workers.clouds.openstack.snapshots import Snapshots

BY_HAND = "on this cloud the template and its snapshots are made by hand"


class OpenstackTemplate:
    """The template of one installation: its snapshots are listed, the rest is done by hand."""

    def __init__(self, settings: Settings, access: Access, snapshots: Snapshots) -> None:
        self._settings = settings
        self._access = access
        self._snapshots = snapshots

    def build(self, progress: Progress, *, fresh: bool = False) -> None:  # noqa: ARG002
        """Raises SetupMissing."""
        raise SetupMissing(BY_HAND)

    def exists(self) -> bool:
        """Not known."""
        return False

    def boot(self, progress: Progress) -> str:  # noqa: ARG002
        """Raises SetupMissing."""
        raise SetupMissing(BY_HAND)

    def stop(self, progress: Progress) -> None:  # noqa: ARG002
        """Raises SetupMissing."""
        raise SetupMissing(BY_HAND)

    def take_snapshot(self, trial: Trial, progress: Progress) -> Snapshot:  # noqa: ARG002
        """Raises SetupMissing."""
        raise SetupMissing(BY_HAND)

    def snapshots(self) -> list[Snapshot]:
        """All that can be promoted, oldest first."""
        found = self._snapshots.look()
        latest = max((one.promoted for one in found), default=0.0)
        return [Snapshot(one.name, promoted=0 < one.promoted == latest, created=one.created) for one in found]

    def roll_back(self) -> str:
        """Raises SetupMissing."""
        raise SetupMissing(BY_HAND)
