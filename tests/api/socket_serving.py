"""The API of a controller over its Unix socket, as commands on its computer find it."""

import contextlib
import threading
from collections.abc import Iterator

from cumulus_client.client import Cumulus
from cumulus_client.http import HttpCaller
from server.api.http import open_local_door
from server.app import Controller, create_app
from server.home.folder import SOCKET_FILE
from server.home.running import announce, withdraw


@contextlib.contextmanager
def at_socket(controller: Controller) -> Iterator[Cumulus]:
    """A client of the controller within the block, in which commands find it, too."""
    settings = controller.settings
    door = open_local_door(settings, create_app(controller))
    thread = threading.Thread(target=door.run, daemon=True)
    thread.start()
    announce(settings.home, "http://127.0.0.1:9")
    caller = HttpCaller(socket=str(settings.home / SOCKET_FILE))
    try:
        yield Cumulus(caller)
    finally:
        caller.close()
        withdraw(settings.home)
        (settings.home / SOCKET_FILE).unlink(missing_ok=True)
        door.end()
        thread.join(15)
