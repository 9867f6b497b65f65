"""The API of a controller over a real socket, for a test."""

import contextlib
from collections.abc import Iterator

from server.api.http import open_controller_door
from server.app import Controller
from server.application import create_app
from tests.programs.doors import running


@contextlib.contextmanager
def listening(controller: Controller) -> Iterator[int]:
    """Answer requests within the block; gives the port."""
    with running(open_controller_door(controller.settings, create_app(controller), controller.settings.max_connections)) as door:
        yield int(door.effective_port)
