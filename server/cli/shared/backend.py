"""What a command asks: the controller that runs on this installation, else the installation's database; both answer the same."""

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cumulus_client.client import Cumulus
from server.cli.shared.credentials import current_login
from server.cli.shared.opening import administrator, until_the_end
from server.home.folder import SOCKET_FILE
from server.home.running import running_controller
from server.settings import Settings, load_settings

if TYPE_CHECKING:
    from server.app import Controller
    from server.services.services import Services

LONGEST = 100  # bytes of a path that a socket can have


def opened(*, to_change: bool = False) -> Cumulus:
    """The controller elsewhere that this user has logged in to, or the installation of the settings.

    ``to_change``: where no controller runs, its database is opened for changes, too.

    Raises NoInstallation, DatabaseMissing and the like, Unreachable.
    """
    if elsewhere := current_login():
        return Cumulus.at(elsewhere.url, elsewhere.token)
    settings = load_settings()
    path = settings.home / SOCKET_FILE
    if running_controller(settings.home) and path.is_socket():
        from cumulus_client.http import HttpCaller

        return Cumulus(HttpCaller(socket=short_path(path)))
    from server.api.v1.direct import DirectCaller

    return Cumulus(DirectCaller(_services(settings, to_change=to_change), administrator()))


def short_path(path: Path) -> str:
    """The path of a socket, however long it is; the folder stays open as long as this process."""
    if len(os.fsencode(path)) <= LONGEST:
        return str(path)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{folder}/{path.name}"


def _services(settings: Settings, *, to_change: bool) -> "Services":
    from server.db.opening import open_to_change, open_to_read
    from server.services.services import Services, Wiring

    until_the_end((open_to_change if to_change else open_to_read)(settings))

    @cache
    def parts() -> "Controller":
        """All parts of a controller, none of which runs."""
        from server.app import make_controller
        from server.workers.clouds.registry import known_cloud

        return make_controller(settings, known_cloud(settings))

    return Services(settings, Wiring(jobs=lambda: parts().jobs, batches=lambda: parts().batches))
