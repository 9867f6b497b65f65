"""The home folder itself: made where there is none, and closed to other users of this computer."""

import re
import stat
from contextlib import suppress
from pathlib import Path

import structlog

from programs.errors import explained
from server.errors import CumulusError

ID_FILE, LOCK_FILE, ADDRESS_FILE = "installation-id", "controller.lock", "controller.json"
SOCKET_FILE = "controller.sock"
FOR_OTHERS = (ADDRESS_FILE, ID_FILE, SOCKET_FILE)
SMALL = 10_000  # bytes; none of these files is longer
# What Cumulus makes directly in the home, with what is set aside or beside it; and hidden names, as a user's own folder has.
OWN = re.compile(
    r"\..*|(cumulus\.sqlite|accounts|controller|installation-id|demo|backups|log|plays|terraform|qemu|openstack|local|agent|storage|ready)"
    r"([.-].*)?"
)
log = structlog.get_logger()


class HomeUnusable(CumulusError):
    """The home folder cannot be made, read or written."""

    code = "home_unusable"


def make_home(home: Path) -> None:
    """The home folder, made where it is not there. Raises HomeUnusable."""
    try:
        home.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as problem:
        raise _unusable(home, problem) from None


def close_home(home: Path, storage: Path) -> None:
    """Let other users of this computer read nothing of the home but where its controller answers; the storage keeps its rights.

    A lock that they could read they could also hold. Files of other users and of other programs stay as they are: the setting may
    name a folder of other things, such as /etc.
    """
    found = [path for path in home.iterdir() if path.name not in FOR_OTHERS and path not in (storage, *storage.parents)]
    own = [path for path in found if OWN.fullmatch(path.name)]
    if len(own) == len(found):
        home.chmod(stat.S_IMODE(home.stat().st_mode) & ~0o066)
    else:
        others = sorted(path.name for path in found if path not in own)[:3]
        log.warning("the home folder has other things, so other users may still list it", home=str(home), others=others)
    for path in own:
        if not path.is_symlink():
            with suppress(FileNotFoundError, PermissionError):
                path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o077)


def _unusable(home: Path, problem: OSError) -> HomeUnusable:
    return HomeUnusable(unusable_text(home, explained(problem)))


def unusable_text(home: Path, why: str) -> str:
    """Why the home cannot be used, with what to do."""
    return f"the home folder {home} cannot be used: {why} (CUMULUS_HOME sets another one)"
