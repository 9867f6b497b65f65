"""Removing machines as a controller does, for a command where none runs."""

from server.app import make_controller, make_fleet
from server.db.models import Worker
from server.services.decommission import Removing
from server.settings import Settings
from server.workers.clouds import registry


def removing(settings: Settings) -> Removing:
    """What carries removals out in this installation."""
    return Removing(settings, make_fleet, _remove_here)


def _remove_here(settings: Settings, worker: Worker) -> None:
    controller = make_controller(settings, registry.known_cloud(settings))
    controller.cloud.start()
    try:
        controller.stages.teardown.remove(worker)
    finally:
        controller.cloud.stop()
