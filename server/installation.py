"""This installation: its id, which all it makes in a cloud carries, and who of its processes runs.

Owns ``installation-id``, ``controller.lock`` and ``controller.json`` in the home folder.
"""

import fcntl
import json
import os
import secrets
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import psutil

from programs.errors import explained
from server.errors import CumulusError

FOR_OTHERS = ("controller.json", "installation-id")
NUDGE = signal.SIGUSR1
LOOKED_AT_S = 0.3  # for a moment the lock is held by who only looks, see is_held
LOOK_S = 0.02


class AlreadyRunning(CumulusError):
    """A second controller on one installation would manage the same machines."""

    code = "already_running"


class NotOurs(CumulusError):
    """The controller belongs to another user of this computer."""

    code = "not_ours"


class HomeUnusable(CumulusError):
    """The home folder cannot be made, read or written."""

    code = "home_unusable"


@dataclass(frozen=True)
class Running:
    """A controller that answers. ``began``: when its process did (Unix seconds); another process may get its number."""

    pid: int
    began: float
    url: str


def installation_id(home: Path) -> str:
    """The id of this installation; made at the first call, the same ever after."""
    path = home / "installation-id"
    make_home(home)
    try:
        return path.read_text().strip() or _new_id(path)
    except FileNotFoundError:
        return _new_id(path)
    except (OSError, UnicodeDecodeError) as problem:
        raise _unusable(home, problem) from None


def known_id(home: Path) -> str | None:
    """The same where it was made already; makes nothing."""
    try:
        return (home / "installation-id").read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def adopt_id(home: Path, server_id: str) -> None:
    """Have this home take the place of a lost one, whose id is known. Raises HomeUnusable."""
    make_home(home)
    path = home / "installation-id"
    beside = path.with_name(f"{path.name}.{secrets.token_hex(6)}")
    try:
        beside.write_text(f"{server_id}\n")
        beside.replace(path)
    except OSError as problem:
        raise _unusable(home, problem) from None


def _new_id(path: Path) -> str:
    beside = path.with_name(f"{path.name}.{secrets.token_hex(6)}")
    try:
        beside.write_text(f"c{secrets.token_hex(6)}\n")
        with suppress(FileExistsError):  # another process was quicker
            os.link(beside, path)
        return path.read_text().strip()
    except OSError as problem:
        raise _unusable(path.parent, problem) from None
    finally:
        with suppress(OSError):
            beside.unlink()


def make_home(home: Path) -> None:
    """The home folder, made where it is not there. Raises HomeUnusable."""
    try:
        home.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as problem:
        raise _unusable(home, problem) from None


def close_home(home: Path, storage: Path) -> None:
    """Leave other users of this computer nothing of the home but where its controller answers, and the storage with its rights.

    A lock that they could read they could also hold. What is another user's stays as it is.
    """
    home.chmod(stat.S_IMODE(home.stat().st_mode) & ~0o066)
    for path in home.iterdir():
        if path.name not in FOR_OTHERS and path not in (storage, *storage.parents) and not path.is_symlink():
            with suppress(FileNotFoundError, PermissionError):
                path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o077)


def _unusable(home: Path, problem: OSError | UnicodeDecodeError) -> HomeUnusable:
    why = explained(problem) if isinstance(problem, OSError) else "installation-id is not text: restore it from a backup"
    return HomeUnusable(f"the home folder {home} cannot be used: {why} (CUMULUS_HOME sets another one)")


@contextmanager
def only_controller(home: Path) -> Iterator[None]:
    """Hold the installation while the controller runs. Raises AlreadyRunning, HomeUnusable; a killed controller holds nothing."""
    with _lock_file(home) as lock:
        until = time.monotonic() + LOOKED_AT_S
        while not try_lock(lock):
            if time.monotonic() > until:
                raise AlreadyRunning(f"a controller already runs on {home}{_holder(home)}; `cumulus stop` ends it")
            time.sleep(LOOK_S)
        with suppress(OSError):  # the disk is full: what the file says is only for people
            os.ftruncate(lock.fileno(), 0)
            os.write(lock.fileno(), f"{os.getpid()}\n".encode())
        yield


def _lock_file(home: Path) -> IO[str]:
    make_home(home)
    try:
        return open(home / "controller.lock", "a", opener=lambda name, flags: os.open(name, flags, 0o600))
    except OSError as problem:
        raise _unusable(home, problem) from None


def is_held(home: Path) -> bool:
    """Whether a controller, or a command that must be alone, has the installation; it may be starting or ending."""
    try:
        with (home / "controller.lock").open() as lock:
            return not try_lock(lock, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def try_lock(lock: IO[str], how: int = fcntl.LOCK_EX) -> bool:
    """Lock the open file, shared or alone, unless somebody else has; whether it is locked. The lock ends with the process."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(home: Path) -> str:
    """Who has the installation, as far as it is known, in brackets."""
    if other := running_controller(home):
        return f" (process {other.pid}, {other.url})"
    with suppress(OSError, ValueError):
        return f" (process {int((home / 'controller.lock').read_text())}, which is starting or ending)"
    return ""


@contextmanager
def announced(home: Path, url: str) -> Iterator[None]:
    """Tell other commands on this computer where the controller answers, while it does."""
    path = home / "controller.json"
    beside = home / "controller.json.new"
    beside.write_text(json.dumps(asdict(Running(os.getpid(), psutil.Process().create_time(), url))))
    beside.rename(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def nudge(home: Path) -> None:
    """Have the controller look again now, if one runs: something was changed behind its back."""
    if running := running_controller(home):
        with suppress(PermissionError, ProcessLookupError):  # it looks by itself in a while
            os.kill(running.pid, NUDGE)


def end_controller(home: Path, limit_s: float) -> None:
    """End the controller in order, if one runs. Raises AlreadyRunning if it does not end in time, NotOurs."""
    running = running_controller(home)
    if running is None:
        return
    try:
        os.kill(running.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError:
        owner = psutil.Process(running.pid).username()
        raise NotOurs(f"the controller (process {running.pid}) is {owner}'s: run this as {owner}") from None
    deadline = time.monotonic() + limit_s
    while running_controller(home) == running:
        if time.monotonic() > deadline:
            raise AlreadyRunning(f"the controller (process {running.pid}) does not end")
        time.sleep(0.1)


def running_controller(home: Path) -> Running | None:
    """The controller that answers on this installation; None where there is none."""
    try:
        found = Running(**json.loads((home / "controller.json").read_text()))
        alive = psutil.Process(found.pid).create_time() == found.began
    except (OSError, ValueError, TypeError, psutil.Error):
        return None
    return found if alive and isinstance(found.url, str) else None
