"""What a command asks: the controller that runs on this installation, else the installation's database; both answer the same."""

import os
from enum import Enum, auto
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cumulus_client.client import Cumulus
from server.cli.accounts.credentials import current_login
from server.cli.shared.opening import administrator, at_the_end, until_the_end
from server.errors import CumulusError
from server.home.folder import SOCKET_FILE
from server.home.running import running_controller
from server.services.addresses import public_url
from server.settings import Settings, load_settings

if TYPE_CHECKING:
    from server.app import Controller
    from server.services.administration import Administration
    from server.services.machines.cloud_access import CloudAccess
    from server.services.services import Services
    from server.workers.clouds.base import Cloud

LONGEST = 100  # bytes of a path that a socket can have


class Rows(Enum):
    """What an operation needs of the database where no controller runs. IF_THERE: it does without, too."""

    READ = auto()
    CHANGE = auto()
    IF_THERE = auto()


def opened(*, to_change: bool = False, rows: Rows = Rows.READ) -> Cumulus:
    """The controller elsewhere that this user has logged in to, or the installation of the settings.

    ``to_change``: where no controller runs, its database is opened for changes, too; ``with_rows``: False for what needs none, so
    that it is had without an installation.

    Raises NoInstallation, DatabaseMissing and the like, Unreachable.
    """
    if elsewhere := current_login():
        return Cumulus.at(elsewhere.url, elsewhere.token)
    settings, rows = load_settings(), Rows.CHANGE if to_change else rows
    path = settings.home / SOCKET_FILE
    if running_controller(settings.home) and path.is_socket():
        from cumulus_client.http import HttpCaller

        return Cumulus(HttpCaller(socket=short_path(path)))
    from server.api.v1.direct import DirectCaller

    return Cumulus(DirectCaller(_services(settings, rows), administrator()))


def short_path(path: Path) -> str:
    """The path of a socket, however long it is; the folder stays open as long as this process."""
    if len(os.fsencode(path)) <= LONGEST:
        return str(path)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{folder}/{path.name}"


def _services(settings: Settings, rows: Rows) -> "Services":
    from server.services.services import Services, Wiring

    has_rows = _open(settings, rows)

    @cache
    def parts() -> "Controller":
        """All parts of a controller, none of which runs."""
        from server.app import make_controller
        from server.workers.clouds.registry import known_cloud

        return make_controller(settings, known_cloud(settings))

    wiring = Wiring(
        jobs=lambda: parts().jobs,
        batches=lambda: parts().batches,
        url=lambda: public_url(settings),
        cloud=lambda: _cloud(settings),
        administration=lambda: _administration(settings, has_rows=has_rows),
    )
    return Services(settings, wiring)


def _open(settings: Settings, rows: Rows) -> bool:
    """Open the database; False where it cannot be opened and that is no matter."""
    from server.db.opening import open_to_change, open_to_read

    try:
        until_the_end((open_to_change if rows is Rows.CHANGE else open_to_read)(settings))
    except CumulusError:
        if rows is not Rows.IF_THERE:
            raise
        return False
    return True


def _administration(settings: Settings, *, has_rows: bool) -> "Administration":
    from server.services.administration import Administration, AdministrationWiring

    def access() -> "CloudAccess":
        from server.cli.shared.clouds import own_access  # `cumulus queue` does without

        return own_access(settings)

    found = Administration(settings, AdministrationWiring(access, has_rows))
    at_the_end(found.close)
    return found


def _cloud(settings: Settings) -> "Cloud":
    from server.workers.clouds.registry import cloud_for_inspection

    return cloud_for_inspection(settings)
