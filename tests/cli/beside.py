"""Commands beside a controller of the same process, and without one: the same installation in both cases."""

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from server.app import Controller
from server.cli.main import main
from server.db.connection import open_database
from server.home.running import NUDGE, announce, withdraw
from tests.api.v1.local import at_the_socket


def use(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have commands work on the controller's installation."""
    given = controller.settings
    names = {"HOME": given.home, "CLOUD": "local", "APPS": given.apps, "FLAVORS": given.flavors, "STORAGE": given.storage}
    for name, value in names.items():
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))


@contextlib.contextmanager
def running(controller: Controller) -> Iterator[None]:
    """Commands find the controller within the block: it answers at its socket, and being woken does not end this process."""
    before = signal.signal(NUDGE, signal.SIG_IGN)
    try:
        with at_the_socket(controller):
            announce(controller.settings.home, f"http://127.0.0.1:1/{os.getpid()}")
            try:
                yield
            finally:
                withdraw(controller.settings.home)
    finally:
        signal.signal(NUDGE, before)


def run(controller: Controller, *arguments: str, beside: bool) -> Result:
    """One command, to its end, with or without a controller."""
    with running(controller) if beside else contextlib.nullcontext():
        done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    open_database(controller.settings.database)  # the command has bound the tables to what it has opened
    return done
