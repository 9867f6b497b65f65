"""Carrying out a machine's removal, beside a controller or without one.

Where a controller runs it does the work, as for any machine on its way out: so no two terraforms are ever at one workspace. Where
none runs, this process holds the installation meanwhile and does what a controller would do.
"""

import time
from contextlib import suppress
from pathlib import Path

from server import app as parts
from server.db.models import Worker
from server.errors import InfrastructureError
from server.home.controller_lock import only_controller
from server.home.running import AlreadyRunning, nudge, running_controller
from server.settings import Settings
from server.states import WorkerState
from server.workers.clouds import registry

LOOK_S = 0.1


class NotGone(InfrastructureError):
    """A machine could not be removed, or not yet."""

    code = "not_gone"


def finish_removal(settings: Settings, worker: Worker, limit_s: float) -> None:
    """Return when the machine, whose row is on its way out, is gone. Raises NotGone, SetupMissing."""
    end = time.monotonic() + limit_s
    nudge(settings.home)
    while (row := Worker.get_by_id(worker.id)).state != WorkerState.DELETED:
        if time.monotonic() > end:
            raise NotGone(f"{worker.name} is not gone after {limit_s:.0f} s, its controller goes on with it: {row.message}")
        if running_controller(settings.home) is None:
            with suppress(AlreadyRunning):  # one is just starting, or ending
                _remove_here(settings, worker)
        time.sleep(LOOK_S)


def remove_unowned(settings: Settings, name: str) -> None:
    """Remove what the cloud and Terraform have of a name that no living row has. Raises InfrastructureError."""
    cloud = registry.known_cloud(settings)
    cloud.start()
    try:
        parts.make_fleet(settings, cloud).remove(name, Path(settings.storage) / "jobs" / name)
    finally:
        cloud.stop()


def _remove_here(settings: Settings, worker: Worker) -> None:
    with only_controller(settings.home):
        controller = parts.make_controller(settings)
        controller.cloud.start()
        try:
            controller.stages.teardown.remove(worker)
        finally:
            controller.cloud.stop()
    row = Worker.get_by_id(worker.id)
    if row.state != WorkerState.DELETED:
        raise NotGone(f"{worker.name} could not be removed: {row.message}; the next controller tries it again")
