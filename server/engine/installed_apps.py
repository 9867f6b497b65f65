"""Which apps the machines have: those whose version command has succeeded on the promoted snapshot.

Owns what that means for a job of an app. What a snapshot remembers is its cloud's matter.
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
    """An app is offered, and the machines do not have it yet."""

    code = "app_not_installed"


class InstalledApps:
    """What the machines of one cloud have of the apps."""

    def __init__(self, catalog: Catalog, cloud: Cloud) -> None:
        self._catalog = catalog
        self._cloud = cloud

    def require(self, app: App) -> None:
        """Raises AppNotInstalled, with who can do something about it, where machines made now do not have the app."""
        if app.program and not self._cloud.images.has_program(app.program):
            text = f"{_named(app)} is not installed on the machines: {app.licence}; ask who runs this installation"
            raise AppNotInstalled(text, field="app_name")
        if self.version(app) is None:
            raise AppNotInstalled(f"{not_installed(app)}. {Blame.ADMIN.phrase}", field="app_name")

    def require_version(self, app: App, snapshot: str = "") -> str:
        """As :meth:`version`, but raises CloudError, for which a job waits, where machines of that snapshot lack the app."""
        version = self.version(app, snapshot)
        if version is None:
            raise CloudError(f"{not_installed(app)}.", Reason.APP_NOT_INSTALLED)
        return version

    def version(self, app: App, snapshot: str = "") -> str | None:
        """What the app's version command printed on a machine of that snapshot (default: the promoted one).

        "" where that is not known: the app has no such command, or nobody wrote it down, or the cloud does not answer. None
        where it has not succeeded.
        """
        return self._tried(snapshot).version(app.id, app.version_command) if app.version_command else ""

    def missing(self, *, tries: bool = False) -> Mapping[str, str]:
        """The apps that machines made now do not have, by id, and why not.

        ``tries``: what is not known yet is found out, where that can be done; it may take seconds.
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
        """What is worth knowing of what is known, "" for nothing. Raises TemplateMissing, CloudError."""
        return "" if self._cloud.images.smoke_results().are_known else UNKNOWN

    def _optional_missing(self) -> list[str]:
        return [app for app, program in self._catalog.optional_programs().items() if not self._cloud.images.has_program(program)]

    def _tried(self, snapshot: str = "") -> SmokeResults:
        try:
            return self._cloud.images.smoke_results(snapshot)
        except (TemplateMissing, CloudError):  # jobs wait until there is one, and are looked at again then
            return NoResults()


def not_installed(app: App) -> str:
    """What people read of an app that the machines lack."""
    return f"{_named(app)} is not installed on the machines yet; run make snapshot"


def _named(app: App) -> str:
    return f"{app.name} {app.version}"
