"""Which apps the machines have: those whose version command has succeeded on the promoted snapshot.

Owns what that means for a job of an app. What a snapshot records is up to its cloud.
"""

from collections.abc import Mapping

from server.catalog.apps import Catalog
from server.catalog.model import App
from server.errors import CloudError, CumulusError, InvalidInput, TemplateMissing
from server.reason_texts import Blame
from server.reasons import Reason
from server.workers.clouds.base import Cloud
from server.workers.clouds.smoke_results import NoResults, SmokeResults

UNKNOWN = "this snapshot does not say which apps it has, so jobs of any are taken: make snapshot"


class AppNotInstalled(InvalidInput):
    """An app is offered that the machines do not have yet."""

    code = "app_not_installed"


class InstalledApps:
    """The apps that one cloud's machines have."""

    def __init__(self, catalog: Catalog, cloud: Cloud) -> None:
        self._catalog = catalog
        self._cloud = cloud

    def require(self, app: App) -> None:
        """Raises AppNotInstalled, with who can fix it, where machines made now do not have the app."""
        if app.program and not self._cloud.images.has_program(app.program):
            text = f"{_named(app)} is not installed on the machines: {app.licence}; ask who runs this installation"
            raise AppNotInstalled(text, field="app")
        if self.version(app) is None:
            raise AppNotInstalled(f"{not_installed(app)}. {Blame.ADMIN.phrase}", field="app")

    def require_version(self, app: App, snapshot: str = "") -> str:
        """As :meth:`version`, but raises CloudError, for which a job waits, where machines of that snapshot lack the app."""
        version = self.version(app, snapshot)
        if version is None:
            raise CloudError(f"{not_installed(app)}.", Reason.APP_NOT_INSTALLED)
        return version

    def version(self, app: App, snapshot: str = "") -> str | None:
        """What the app's version command printed on a machine of that snapshot (default: the promoted one).

        "" where that is unknown: the app has no such command, or the snapshot has no record of it, or the cloud does not answer.
        None where the command has not succeeded.
        """
        return self._tried(snapshot).version(app.id, app.version_command) if app.version_command else ""

    def missing(self, *, tries: bool = False) -> Mapping[str, str]:
        """The apps that machines made now do not have, by id, and why not.

        ``tries``: find out what is not known yet, where possible; that may take seconds.
        """
        try:
            optional = {app: f"needs a licence: {self._catalog.get(app).licence}" for app in self._optional_missing()}
        except CumulusError:
            optional = dict.fromkeys(self._catalog.optional_programs(), "no machine has it")
        tried, apps = self._tried(), self._catalog.apps()
        known = [app for app in apps.values() if app.version_command]
        if tries:
            lacking = [app for app in known if tried.version(app.id, app.version_command) is None]
        else:
            lacking = [app for app in known if tried.lacks(app.id, app.version_command)]
        return {**{app.id: not_installed(app) for app in lacking}, **optional}

    def hint(self) -> str:
        """A hint about the snapshot, "" for none. Raises TemplateMissing, CloudError."""
        return "" if self._cloud.images.smoke_results().are_known else UNKNOWN

    def _optional_missing(self) -> list[str]:
        return [app for app, program in self._catalog.optional_programs().items() if not self._cloud.images.has_program(program)]

    def _tried(self, snapshot: str = "") -> SmokeResults:
        try:
            return self._cloud.images.smoke_results(snapshot)
        except (TemplateMissing, CloudError):  # jobs wait until there is one, and are checked again then
            return NoResults()


def not_installed(app: App) -> str:
    """The message about an app that the machines lack."""
    return f"{_named(app)} is not installed on the machines yet; run make snapshot"


def _named(app: App) -> str:
    return f"{app.name} {app.version}"
