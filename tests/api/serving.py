"""The API of a controller over a real socket, for a test."""

import contextlib
import threading
from collections.abc import Iterator

from programs.door import Door
from server.api.door import open_controller_door
from server.app import Controller, create_app


@contextlib.contextmanager
def listening(controller: Controller) -> Iterator[int]:
    """Answer requests within the block; gives the port."""
    with running(open_controller_door(controller.settings, create_app(controller), controller.settings.max_connections)) as door:
        yield int(door.effective_port)


@contextlib.contextmanager
def running(door: Door) -> Iterator[Door]:
    """Serve within the block."""
    thread = threading.Thread(target=door.run, daemon=True)
    thread.start()
    try:
        yield door
    finally:
        door.end()
        thread.join(10)
