"""The command line. Thin: words in, one line out, exit code 0 for success (a job that was started before counts as that)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from cumulus_runner.errors import AlreadyStarted, RunnerError

TYPE_CHECKING = False  # typing's own would cost its import
if TYPE_CHECKING:
    from cumulus_runner.programs import Account


def main(words: Sequence[str]) -> int:
    """Run one command."""
    arguments = _parser().parse_args(words)
    try:
        print(arguments.command(arguments))  # noqa: T201
    except AlreadyStarted as known:
        print(f"already started: {known}")  # noqa: T201
    except RunnerError as problem:
        print(f"cumulus-runner: {problem}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("cumulus-runner", description="Runs one job of Cumulus on this machine.")
    commands = parser.add_subparsers(required=True)
    start = commands.add_parser("start", help="start the job whose plan lies in the job folder")
    start.set_defaults(command=_start)
    for name in ("--job-dir", "--data-dir", "--work-dir"):
        start.add_argument(name, required=True, type=os.path.abspath)
    start.add_argument("--user", help="run the app as this user")
    start.add_argument("--foreground", action="store_true", help="return when the job has ended")
    stop = commands.add_parser("stop", help="end the job of the work folder")
    stop.set_defaults(command=_stop)
    stop.add_argument("--work-dir", required=True, type=os.path.abspath)
    status = commands.add_parser("status", help="say whether the job of the work folder runs")
    status.set_defaults(command=_status)
    status.add_argument("--work-dir", required=True, type=os.path.abspath)
    inspect = commands.add_parser("inspect", help="look at an input file, from its beginning to its end")
    inspect.set_defaults(command=_inspect)
    inspect.add_argument("--name", default="", help="what the file is called, where its path does not say; its ending counts")
    inspect.add_argument("path")
    serve = commands.add_parser("serve", help="wait on this machine for the job to run (systemd starts this)")
    serve.set_defaults(command=_serve)
    serve.add_argument("--user", required=True, help="run the app as this user")
    serve.add_argument("--boot", action="store_true", help="first of all start the job that this machine was made for, if it was")
    return parser


def _start(arguments: argparse.Namespace) -> str:
    from cumulus_runner import detached
    from cumulus_runner.orders import Places

    job = arguments.job_dir
    places = Places(job=job, shown_job=job, data=arguments.data_dir, work=arguments.work_dir)
    return detached.start(places, _account(arguments.user), foreground=arguments.foreground)


def _stop(arguments: argparse.Namespace) -> str:
    from cumulus_runner import detached

    return detached.stop(arguments.work_dir)


def _status(arguments: argparse.Namespace) -> str:
    from cumulus_runner import detached

    return detached.status(arguments.work_dir)


def _inspect(arguments: argparse.Namespace) -> str:
    import json

    from cumulus_runner.inspection import Fault, inspect

    name = arguments.name or os.path.basename(arguments.path)
    try:
        found = inspect(arguments.path, name)
    except Fault as fault:
        raise RunnerError(f"{name}: {fault}") from None
    except OSError as problem:
        raise RunnerError(f"{arguments.path} cannot be read: {problem.strerror}") from None
    return json.dumps({**vars(found), "features": sorted(found.features)})


def _serve(arguments: argparse.Namespace) -> str:
    from cumulus_runner import guest

    return guest.serve(_account(arguments.user), boot=arguments.boot)


def _account(name: str | None) -> Account | None:
    if name is None:
        return None
    from cumulus_runner.programs import account

    try:
        return account(name)
    except KeyError:
        raise RunnerError(f"this machine has no user {name}") from None
