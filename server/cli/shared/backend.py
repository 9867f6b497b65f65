"""What a command asks: the controller that runs on this installation, else the installation's database; both answer the same."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cumulus_client.client import Cumulus
from server.cli.shared.credentials import current_login
from server.cli.shared.opening import administrator, until_the_end
from server.home.folder import SOCKET_FILE
from server.home.running import running_controller
from server.services.addresses import public_url
from server.settings import Settings, load_settings

if TYPE_CHECKING:
    from server.services.jobs.service import JobService
    from server.services.services import Services, Wiring
    from server.workers.clouds.base import Cloud

LONGEST = 100  # bytes of a path that a socket can have


def opened(*, to_change: bool = False, with_rows: bool = True) -> Cumulus:
    """The controller elsewhere that this user has logged in to, or the installation of the settings.

    ``to_change``: where no controller runs, its database is opened for changes, too; ``with_rows``: False for what needs none, so
    that it is had without an installation.

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

    if with_rows:
        _open_rows(settings, to_change=to_change)
    return Cumulus(DirectCaller(_services(settings), administrator()))


def short_path(path: Path) -> str:
    """The path of a socket, however long it is; the folder stays open as long as this process."""
    if len(os.fsencode(path)) <= LONGEST:
        return str(path)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{folder}/{path.name}"


def _open_rows(settings: Settings, *, to_change: bool) -> None:
    from server.db.opening import open_to_change, open_to_read

    until_the_end((open_to_change if to_change else open_to_read)(settings))


def _services(settings: Settings) -> "Services":
    from server.services.services import Services

    return Services(settings, _wiring(settings))


def _wiring(settings: Settings) -> "Wiring":
    from server.services.services import Wiring

    return Wiring(jobs=lambda: _jobs(settings), url=lambda: public_url(settings), cloud=lambda: _cloud(settings))


def _jobs(settings: Settings) -> "JobService":
    from server.app import make_controller
    from server.workers.clouds.registry import known_cloud

    return make_controller(settings, known_cloud(settings)).jobs


def _cloud(settings: Settings) -> "Cloud":
    from server.workers.clouds.registry import cloud_for_inspection

    return cloud_for_inspection(settings)
