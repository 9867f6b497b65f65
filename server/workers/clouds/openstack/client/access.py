"""The way to the cloud's APIs: where the credentials are, one connection for all threads, and its errors as our own.

Credentials come from clouds.yaml or the ``OS_*`` variables only, for openstacksdk and for Terraform alike: both must mean the
same cloud, or the sweeper would not see what Terraform makes.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from server.reasons import Reason
from server.settings import Settings
from server.workers.clouds.openstack.errors import cloud_error, is_of_the_cloud

if TYPE_CHECKING:
    from openstack.config.cloud_region import CloudRegion
    from openstack.connection import Connection

    from server.workers.clouds.openstack.client.wire import Patience

Found = TypeVar("Found")
FILE = "OS_CLIENT_CONFIG_FILE"
_FILES = frozenset({FILE, "OS_CLIENT_SECURE_FILE", "OS_CLIENT_VENDOR_FILE"})


class Access:
    """One installation's access. ``connect`` makes the connection, at the first use and again after it was refused."""

    def __init__(self, settings: Settings, connect: "Callable[[Settings], Connection] | None" = None) -> None:
        self._settings = settings
        self._connect = connect or connected
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    @contextmanager
    def use(self) -> "Iterator[Connection]":
        """The connection, for a few calls. Renews an expired token by itself; raises CloudError for any failure."""
        try:
            yield self._made()
        except Exception as problem:
            if not _loaded() or not is_of_the_cloud(problem):
                raise
            error = cloud_error(problem, self._connection)
            if error.reason in (Reason.CLOUD_REFUSED, Reason.SETUP_INCOMPLETE, Reason.REGION_UNKNOWN):
                self._forget()  # the administrator may have written other credentials meanwhile
            raise error from problem

    def _made(self) -> "Connection":
        with self._lock:
            if self._connection is None:
                self._connection = self._connect(self._settings)
            return self._connection

    def _forget(self) -> None:
        with self._lock:
            self._connection = None


def connected(settings: Settings, patience: "Patience | None" = None) -> "Connection":
    """A new connection; nothing is asked yet. ``patience``: default: that of the settings. Raises what the SDK raises."""
    from openstack.connection import Connection

    logging.getLogger("keystoneauth.identity").setLevel(logging.ERROR)  # it warns of what it raises in the next moment
    return Connection(config=_region(settings, patience))


def find_or_none(get: "Callable[[str], Found]", identifier: str) -> "Found | None":
    """What has that id, or the name that ``get`` looks for; None where nothing has, or has any longer."""
    from openstack.exceptions import NotFoundException

    try:
        return get(identifier)
    except NotFoundException:
        return None


def remove_server(cloud: "Connection", identifier: str) -> None:
    """Have Nova remove it for ever; not an error where it is gone already: the SDK's ``ignore_missing`` says nothing by force."""
    from openstack.exceptions import NotFoundException

    with suppress(NotFoundException):
        cloud.compute.delete_server(identifier, force=True)


def terraform_environment(settings: Settings) -> dict[str, str]:
    """What makes the provider use the same cloud, and not what else the controller's environment names."""
    file = os.environ.get(FILE) or next((str(path) for path in _places() if path.is_file()), "")
    found = {FILE: str(Path(file).absolute())} if file else {}  # terraform runs in another folder
    found |= {f"TF_CLI_ARGS_{command}": f"-parallelism={settings.openstack_parallelism}" for command in ("apply", "destroy")}
    if not settings.openstack_cloud:
        return found
    others = {name: "" for name in os.environ if name.startswith("OS_") and name not in _FILES}
    return {**others, **found, "OS_CLOUD": settings.openstack_cloud}


def terraform_settings(settings: Settings) -> dict[str, object]:
    """The variables of all OpenStack modules that say how patient its provider is."""
    return {"limits": settings.terraform_limits(), "max_retries": settings.openstack_retries}


def _region(settings: Settings, patience: "Patience | None") -> "CloudRegion":
    from keystoneauth1.session import Session
    from openstack.config import OpenStackConfig

    from server.workers.clouds.openstack.client.wire import Patience, patient_session

    limit_s = settings.openstack_api_timeout_s
    session = cast("type[Session]", partial(Session, session=patient_session(patience or Patience.of(settings))))
    if not settings.openstack_cloud:
        return OpenStackConfig(session_constructor=session).get_one(api_timeout=limit_s, app_name="cumulus")
    # A cloud that is named is the one in the file, whatever else the variables say.
    files = [os.environ[FILE]] if os.environ.get(FILE) else [str(path) for path in _places()]
    config = OpenStackConfig(config_files=files, load_envvars=False, session_constructor=session)
    return config.get_one(cloud=settings.openstack_cloud, api_timeout=limit_s, app_name="cumulus")


def _places() -> list[Path]:
    """Where clouds.yaml is looked for, as OpenStack's own programs do."""
    folders = (Path.cwd(), Path.home() / ".config" / "openstack", Path("/etc/openstack"))
    return [folder / f"clouds.{ending}" for folder in folders for ending in ("yaml", "yml")]


def _loaded() -> bool:
    """Whether the SDK is there; an error before that is none of its."""
    import sys

    return "openstack.exceptions" in sys.modules
