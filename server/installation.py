"""This installation: its id, which all it makes in a cloud carries, and who of its processes runs.

Owns ``installation-id``, ``controller.lock`` and ``controller.json`` in the home folder.
"""

import fcntl
import json
import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import psutil

from server.errors import CumulusError

NUDGE = signal.SIGUSR1
LOOKED_AT_S = 0.3  # for a moment the lock is held by who only looks, see is_held
LOOK_S = 0.02


class AlreadyRunning(CumulusError):
    """A second controller on one installation would manage the same machines."""

    code = "already_running"


@dataclass(frozen=True)
class Running:
    """A controller that answers. ``began``: when its process did (Unix seconds); another process may get its number."""

    pid: int
    began: float
    url: str


def installation_id(home: Path) -> str:
    """The id of this installation; made at the first call, the same ever after."""
    path = home / "installation-id"
    home.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        beside = home / f"installation-id.{secrets.token_hex(6)}"
        beside.write_text(f"c{secrets.token_hex(6)}\n")
        with suppress(FileExistsError):  # another process was quicker
            os.link(beside, path)
        beside.unlink()
    return path.read_text().strip()


@contextmanager
def only_controller(home: Path) -> Iterator[None]:
    """Hold the installation while the controller runs. Raises AlreadyRunning; a killed controller holds nothing."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "controller.lock").open("a") as lock:
        until = time.monotonic() + LOOKED_AT_S
        while not _take(lock, fcntl.LOCK_EX):
            if time.monotonic() > until:
                raise AlreadyRunning(f"a controller already runs on {home}{_holder(home)}")
            time.sleep(LOOK_S)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def is_held(home: Path) -> bool:
    """Whether a controller, or a command that must be alone, has the installation; it may be starting or ending."""
    try:
        with (home / "controller.lock").open() as lock:
            return not _take(lock, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _take(lock: TextIO, how: int) -> bool:
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
        os.kill(running.pid, NUDGE)


def end_controller(home: Path, limit_s: float) -> None:
    """End the controller in order, if one runs. Raises AlreadyRunning if it does not end in time."""
    running = running_controller(home)
    if running is None:
        return
    os.kill(running.pid, signal.SIGTERM)
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
    return found if alive else None
