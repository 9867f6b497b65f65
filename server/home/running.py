"""Which controller runs on an installation: where it answers, how it is woken and ended. Owns ``controller.json``."""

import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from server.errors import CumulusError
from server.home.files import read_own_text, write_own
from server.home.folder import ADDRESS_FILE, SMALL

NUDGE = signal.SIGUSR1


class AlreadyRunning(CumulusError):
    """A second controller on one installation would manage the same machines."""

    code = "already_running"


class NotOurs(CumulusError):
    """The controller belongs to another user of this computer."""

    code = "not_ours"


@dataclass(frozen=True)
class Running:
    """A controller that answers. ``began``: when its process did (Unix seconds); another process may get its number."""

    pid: int
    began: float
    url: str


def announce(home: Path, url: str) -> None:
    """Tell other commands on this computer where this process answers. Raises InTheWay."""
    running = Running(os.getpid(), psutil.Process().create_time(), url)
    write_own(home / ADDRESS_FILE, json.dumps(asdict(running)), 0o644)


def withdraw(home: Path) -> None:
    """Remove what :func:`announce` has written."""
    with suppress(OSError):
        (home / ADDRESS_FILE).unlink()


def nudge(home: Path) -> None:
    """Wake the controller, if one runs: a command has changed something."""
    if running := running_controller(home):
        with suppress(PermissionError, ProcessLookupError):  # it notices by itself in a while
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
        found = Running(**json.loads(read_own_text(home / ADDRESS_FILE, SMALL)))
        alive = psutil.Process(found.pid).create_time() == found.began
    except (OSError, ValueError, TypeError, psutil.Error):
        return None
    return found if alive and isinstance(found.url, str) else None
