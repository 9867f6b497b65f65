"""The apps of the promoted snapshot, which is remembered between two looks at the cloud. Owns what a refusal needs to know."""

from contextlib import suppress

from server.errors import CloudError, TemplateMissing
from server.workers.clouds.openstack.template.snapshots import Snapshots


class PromotedApps:
    """Those of the snapshot that was promoted at the last look. Before one is said to be missing, the cloud is asked again."""

    def __init__(self, snapshots: Snapshots) -> None:
        """Raises TemplateMissing, CloudError."""
        self._snapshots = snapshots
        self._seen = snapshots.current(remembered=True).smoke_results

    @property
    def are_known(self) -> bool:
        """Whether that snapshot remembers any."""
        return self._seen.are_known

    def version(self, app: str, command: str) -> str | None:
        """What the app's version command printed; another snapshot may have been promoted since the last look."""
        found = self._seen.version(app, command)
        if found is not None:
            return found
        with suppress(TemplateMissing, CloudError):
            self._seen = self._snapshots.current().smoke_results
        return self._seen.version(app, command)

    def lacks(self, app: str, command: str) -> bool:
        """As at the last look."""
        return self._seen.lacks(app, command)
