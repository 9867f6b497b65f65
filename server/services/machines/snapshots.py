"""The template and its snapshots: what workers are copies of."""

from collections.abc import Callable

from cumulus_client.snapshots import Snapshot
from server.progress import Progress
from server.services.principal import Principal, Role
from server.settings import Settings
from server.workers.clouds import registry
from server.workers.clouds.base import Cloud
from server.workers.clouds.images import SmokeTest, Template


class SnapshotService:
    """The template and the snapshots of one installation's cloud. All raise Forbidden, NoInstallation, CloudError."""

    def __init__(self, settings: Settings, known: Callable[[], Cloud] | None = None) -> None:
        """``known``: the cloud of the installation that there is, where somebody has it already."""
        self._settings = settings
        self._known_cloud = known or (lambda: registry.known_cloud(settings))

    def build(self, principal: Principal, progress: Progress, *, fresh: bool) -> None:
        """Build the template's disk with the apps on it, where there is none or ``fresh``; an installation may begin so."""
        self._new(principal).build(progress, fresh=fresh)

    def boot(self, principal: Principal, progress: Progress) -> str:
        """Start the template's machine; returns how to log in."""
        return self._new(principal).boot(progress)

    def stop(self, principal: Principal, progress: Progress) -> None:
        """Shut the template's machine down; its disk keeps what was installed."""
        self._known(principal).stop(progress)

    def create(self, principal: Principal, smoke_test: SmokeTest, progress: Progress) -> None:
        """Copy the template, try every app on a machine of the copy, and promote it if all is well."""
        self._new(principal).take_snapshot(smoke_test, progress)

    def listed(self, principal: Principal) -> list[Snapshot]:
        """All snapshots, oldest first."""
        found = self._known(principal).snapshots()
        return [Snapshot(name=one.name, promoted=one.promoted, created=one.created) for one in found]

    def roll_back(self, principal: Principal) -> str:
        """Promote the previous snapshot again; returns a sentence."""
        return self._known(principal).roll_back()

    def prune(self, principal: Principal, keep: int, progress: Progress) -> list[str]:
        """Remove old snapshots but the newest ``keep``, the promoted one and those in use; returns their names."""
        return self._known(principal).prune(keep, progress)

    def _known(self, principal: Principal) -> Template:
        principal.require(Role.ADMINISTRATOR)
        return self._known_cloud().images.template()

    def _new(self, principal: Principal) -> Template:
        principal.require(Role.ADMINISTRATOR)
        return registry.make_cloud(self._settings).images.template()
