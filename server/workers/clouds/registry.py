"""The clouds that there are, by the name in the settings. A driver's module is imported when it is asked for."""

from collections.abc import Callable
from importlib import import_module

from server.db.opening import require_installation
from server.home.installation import installation_id, known_id
from server.settings import CloudName, Settings
from server.workers.clouds.base import Cloud

_DRIVERS = {
    CloudName.QEMU: ("server.workers.clouds.qemu.cloud", "QemuCloud"),
    CloudName.OPENSTACK: ("server.workers.clouds.openstack.cloud", "OpenstackCloud"),
    CloudName.LOCAL: ("server.workers.clouds.local", "LocalCloud"),
}
INTERACTIVE_RETRIES = 2
_NO_INSTALLATION = "none"  # no installation has this id


def make_cloud(settings: Settings) -> Cloud:
    """The driver of the cloud that the settings name; makes the installation's id where there is none."""
    return _driver(settings, installation_id(settings.home))


def known_cloud(settings: Settings) -> Cloud:
    """The same for the installation that there is. Raises NoInstallation."""
    require_installation(settings)
    return make_cloud(settings)


def cloud_for_inspection(settings: Settings) -> Cloud:
    """The same for reading only, also before there is an installation. Makes nothing.

    Somebody waits for the answer: what a controller asks again for a minute is asked again for seconds here.
    """
    settings = settings.model_copy(update={"openstack_retries": min(settings.openstack_retries, INTERACTIVE_RETRIES)})
    return make_cloud(settings) if known_id(settings.home) else _driver(settings, _NO_INSTALLATION)


def _driver(settings: Settings, server_id: str) -> Cloud:
    module, name = _DRIVERS[settings.cloud]
    driver: Callable[[Settings, str], Cloud] = getattr(import_module(module), name)
    return driver(settings, server_id)
