"""Which controller elsewhere this user has logged in to. Owns the file that remembers it, which only its user can read."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from programs.errors import explained, login
from server.errors import CumulusError

URL, TOKEN = "CUMULUS_URL", "CUMULUS_TOKEN"  # names of variables
HOME = "CUMULUS_HOME"


class LoginUnreadable(CumulusError):
    """The file of the login is none that was written here, or others may read it."""

    code = "login_unreadable"


@dataclass(frozen=True)
class Login:
    """A controller and the token for it."""

    url: str
    token: str = field(repr=False)


def login_file() -> Path:
    """Where the login is remembered (XDG Base Directory)."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "cumulus" / "login.json"


def current_login() -> Login | None:
    """The controller that commands ask: of CUMULUS_URL, or the one logged in to. None: that of this computer.

    Where CUMULUS_HOME names an installation here, it is that one. Raises LoginUnreadable.
    """
    if url := os.environ.get(URL):
        return Login(url.rstrip("/"), os.environ.get(TOKEN, ""))
    return None if os.environ.get(HOME) else remembered()


def default_owner() -> str:
    """Whose a new job is where nobody is named: this user's; "" for the token's where commands ask a controller elsewhere."""
    return "" if current_login() else login()


def remembered() -> Login | None:
    """The login that was remembered last; None where there is none. Raises LoginUnreadable."""
    path = login_file()
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise LoginUnreadable(f"{path} can be read by others: `chmod 600 {path}`, and revoke the token if somebody has")
            return Login(**json.loads(file.read(100_000)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, RecursionError):
        raise LoginUnreadable(f"{path} is no login: `cumulus login URL` writes it anew") from None


def remember(login: Login) -> Path:
    """Remember a login; returns where. Raises LoginUnreadable where it cannot be written."""
    path = login_file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = path.with_suffix(".new")
        with suppress(FileNotFoundError):
            beside.unlink()
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(login), file)
        beside.replace(path)
    except OSError as error:
        raise LoginUnreadable(f"the login cannot be remembered: {explained(error)}") from None
    return path


def forget() -> bool:
    """Forget the login; False where there was none."""
    try:
        login_file().unlink()
    except FileNotFoundError:
        return False
    return True
