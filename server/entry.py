"""Where ``cumulus`` begins: inside the border, before anything is imported that may fail."""

import signal
import sys
from typing import TYPE_CHECKING

from programs.encoding import begin_in_utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def main() -> None:
    """Run the command line; never returns."""
    begin_in_utf8()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the border stands, Ctrl-C ends it without a word
    sys.exit(guarded(_commands))


def guarded(command: "Callable[[], object]") -> int:
    """The exit code of a program of the controller's side, which is run inside the border."""
    from programs.border import run

    return run("cumulus", command, _log_folders)


def _commands() -> object:
    from server.cli.main import main as commands  # here, so that Ctrl-C and a missing library end in order, too

    return commands.main(prog_name="cumulus", standalone_mode=False)


def _log_folders() -> "Iterator[Path]":
    from server.settings import load_settings

    if (home := load_settings().home).is_dir():  # it is not made for an error's sake
        yield home / "log"
