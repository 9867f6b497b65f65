"""The controller that the demonstration uses: one that already runs on this installation, or its own.

Decides which, and starts its own. A controller that already ran is left running.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.children import Child, words
from scripts.lifetime import Life, Say
from server.client import Client
from server.errors import CumulusError
from server.home.controller_lock import is_held
from server.home.running import Running, running_controller
from server.settings import Settings

START_LIMIT_S = 60.0
POLL_S = 0.05


class _Taken(Exception):
    """Another controller started first."""


@contextmanager
def controller(settings: Settings, life: Life, say: Say) -> Iterator[Client]:
    """A controller of this installation. Raises CumulusError where none can be used."""
    until = time.monotonic() + START_LIMIT_S
    while True:
        if running := _await_running(settings.home, until):
            yield _shared(settings, running, say)
            return
        try:
            with _own(settings, life) as client:
                yield client
                return
        except _Taken:
            continue


def _await_running(home: Path, until: float) -> Running | None:
    """The running controller, once it answers; None where none runs, starts or ends."""
    while True:
        running = running_controller(home)
        if running and Client(running.url).healthy():
            return running
        if not running and not is_held(home):
            return None
        if time.monotonic() > until:
            who = f" (process {running.pid}, {running.url})" if running else ""
            raise CumulusError(f"the controller that holds {home}{who} neither answers nor ends: `cumulus stop` ends it")
        time.sleep(POLL_S)


def _shared(settings: Settings, running: Running, say: Say) -> Client:
    client = Client(running.url)
    if (cloud := client.health()["cloud"]) != settings.cloud:
        raise CumulusError(
            f"a controller of the cloud {cloud} runs on this installation (process {running.pid}, {running.url}): "
            f"make demo CLOUD={cloud}, or end it with `cumulus stop`"
        )
    say(f"using the controller that runs here already (process {running.pid}, {running.url}); it is left running")
    return client


@contextmanager
def _own(settings: Settings, life: Life) -> Iterator[Client]:
    log = settings.home / "log" / "demo.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).with_name("cumulus")), "serve", "--port", "0"]
    with log.open("w") as output, life.child("controller", command, output) as child:
        yield Client(_wait_ready(settings.home, child, log))


def _wait_ready(home: Path, child: Child, log: Path) -> str:
    """The URL of the controller once it answers. Raises CumulusError with the last lines of its output, _Taken."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and child.poll() is None:
        running = running_controller(home)
        if running and running.pid == child.pid and Client(running.url).healthy():
            return running.url
        time.sleep(POLL_S)
    if child.poll() is not None and (running_controller(home) or is_held(home)):
        raise _Taken
    raise CumulusError(f"the controller did not start:\n{words(log)}")
