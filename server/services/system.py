"""The installation itself: its version, its cloud, its folders, its health."""

from collections.abc import Callable

from cumulus_client.system import Installation
from programs.version import VERSION
from server.db.migrations import STEPS
from server.errors import CumulusError
from server.home.installation import known_id
from server.home.running import running_controller
from server.services.principal import Principal, Role
from server.settings import CloudName, Settings


class SystemService:
    """One installation. ``damage``: what is wrong with its database, "" for nothing."""

    def __init__(self, settings: Settings, damage: Callable[[], str]) -> None:
        self._settings = settings
        self._damage = damage

    def view(self, principal: Principal) -> Installation:
        """How it stands. Raises Forbidden."""
        principal.require(Role.USER)
        settings = self._settings
        return Installation(
            version=VERSION,
            installation=known_id(settings.home) or "",
            cloud=str(settings.cloud),
            controller=running_controller(settings.home) is not None,
            home=str(settings.home),
            storage=str(settings.storage),
            accelerator=_accelerator(settings),
            damage=self._damage(),
            schema_version=len(STEPS),  # a database of another one is not opened
        )


def _accelerator(settings: Settings) -> str:
    if settings.cloud is not CloudName.QEMU:
        return ""
    from server.workers.clouds.qemu.accelerator import described  # no other cloud needs it
    from server.workers.clouds.qemu.paths import QemuHome

    try:
        return described(QemuHome(settings.home, settings.accelerator))
    except CumulusError as error:
        return error.message
