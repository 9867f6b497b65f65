"""The cloud, as a command asks it where no controller runs."""

from programs.border import tell
from server.app import make_controller, make_fleet, make_workspaces
from server.db.models import Worker
from server.home.installation import known_id
from server.services.machines.cloud_access import CloudAccess
from server.settings import Settings, where_given
from server.workers.clouds import registry
from server.workers.clouds.base import Cloud


def own_access(settings: Settings) -> CloudAccess:
    """The cloud of the installation, and its machines."""
    return CloudAccess(
        known=lambda: registry.known_cloud(settings),
        to_inspect=lambda: _to_inspect(settings),
        make_fleet=make_fleet,
        make_workspaces=make_workspaces,
        remove_here=_remove_here,
    )


def _to_inspect(settings: Settings) -> Cloud:
    """The cloud for a command that does without an installation; where there is none, a line says so."""
    if not known_id(settings.home):
        text = f"there is no installation in {settings.home} ({where_given('home')}): what its machines have is not known"
        tell("cumulus", text)
    return registry.cloud_for_inspection(settings)


def _remove_here(settings: Settings, worker: Worker) -> None:
    controller = make_controller(settings, registry.known_cloud(settings))
    controller.cloud.start()
    try:
        controller.stages.teardown.remove(worker)
    finally:
        controller.cloud.stop()
