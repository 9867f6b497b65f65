"""Trying a new snapshot's programs on a machine of it. Owns what is asked there and what an answer means, not the machine.

Also how a script there waits until the machine is as a job finds it.
"""

import shlex
from collections.abc import Callable, Sequence

from server.errors import InfrastructureError
from server.progress import Progress, plain
from server.workers.clouds.base import Trial
from server.workers.clouds.ssh import CommandFailed

# Runs a shell script on the machine and returns what it prints; raises CommandFailed.
Ask = Callable[[str], str]
ANSWERS = "/run/cumulus-job/answers"  # the pipe that the service cumulus-job makes before it waits for a job
SERVICE_LIMIT_S = 60


def try_apps(ask: Ask, trial: Trial, progress: Progress) -> list[str]:
    """Let every app say its version; returns which of the trial's programs there are. Raises InfrastructureError."""
    with progress.step("Trying the apps", "apps") as step:
        found = _found(ask, trial.programs)
        for number, (app, command) in enumerate(trial.versions):
            step.advance(number, len(trial.versions))
            step.note(app)
            program = trial.optional.get(app)
            progress.say(f"{app}: {_version(ask, app, command) if program is None or program in found else 'not installed'}")
        step.advance(len(trial.versions))
    return found


def once_ready(script: str, answers: str = ANSWERS, limit_s: int = SERVICE_LIMIT_S) -> str:
    """The shell script as one that waits first for the service that jobs are given to. It ends at its first error."""
    return f"""\
set -e
tries=0
until [ -p {shlex.quote(answers)} ]; do
  tries=$((tries + 1))
  [ $tries -le {limit_s} ] || {{ echo 'the service cumulus-job does not wait for a job' >&2; exit 1; }}
  sleep 1
done
{script}"""


def _version(ask: Ask, app: str, command: str) -> str:
    try:
        lines = ask(command).strip().splitlines()
    except CommandFailed as problem:
        raise InfrastructureError(f"the app {app} does not run in the new snapshot: {problem.message}") from None
    return plain(lines[0]) if lines else "it runs"


def _found(ask: Ask, programs: Sequence[str]) -> list[str]:
    """Which of the programs the machine has."""
    script = "\n".join(f"command -v {shlex.quote(name)} > /dev/null && echo {shlex.quote(name)}" for name in programs)
    told = ask(f"{script}\ntrue").split("\n")
    return [name for name in programs if name in told]
