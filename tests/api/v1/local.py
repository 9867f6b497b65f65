"""A controller that answers at the Unix socket in its home, for a test."""

import contextlib
import threading
from collections.abc import Iterator

from cumulus_client import Cumulus
from cumulus_client.http import HttpCaller
from server.api.http import open_local_door
from server.app import Controller, create_app
from server.home.folder import SOCKET_FILE


@contextlib.contextmanager
def at_the_socket(controller: Controller) -> Iterator[str]:
    """Answer within the block; gives the socket's path."""
    door = open_local_door(controller.settings, create_app(controller))
    thread = threading.Thread(target=door.run)
    thread.start()
    try:
        yield str(controller.settings.home / SOCKET_FILE)
    finally:
        door.end()
        thread.join()


@contextlib.contextmanager
def client_of(controller: Controller) -> Iterator[Cumulus]:
    """A client that asks there."""
    with at_the_socket(controller) as path:
        caller = HttpCaller(socket=path)
        try:
            yield Cumulus(caller)
        finally:
            caller.close()
