"""Trying a new snapshot's programs on a machine of it. Owns what is asked there and what an answer means, not the machine.

Also how a script there waits until the machine is as a job finds it.
"""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from server.errors import InfrastructureError
from server.progress import Progress, plain
from server.workers.clouds.images import SmokeTest
from server.workers.clouds.smoke_results import MAX_VERSION, AppResult, short
from server.workers.clouds.ssh import CommandFailed

# Runs a shell script on the machine and returns what it prints; raises CommandFailed.
Ask = Callable[[str], str]
ANSWERS = "/run/cumulus-job/answers"  # the pipe that the service cumulus-job makes before it waits for a job
SERVICE_LIMIT_S = 60
PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+|-]{0,199}")
MISSING = "/etc/cumulus/missing-packages"  # what the template's release lacks, see infra/ansible/roles/packages


@dataclass(frozen=True)
class Found:
    """What a machine has: those of the test's programs, and the apps whose version command succeeded, by id."""

    programs: Sequence[str]
    apps: Mapping[str, AppResult]


def run_smoke_test(ask: Ask, test: SmokeTest, progress: Progress) -> Found:
    """Let every app say its version. Raises InfrastructureError for one that should and does not.

    Where the template's release lacks packages, an app that does not is one that needs them: it is not installed.
    """
    apps: dict[str, AppResult] = {}
    if missing := _missing(ask):
        progress.say(f"the template's release has no package {', '.join(missing)}")
    with progress.step("Trying the apps", "apps") as step:
        programs = _found(ask, test.programs)
        for number, (app, command) in enumerate(test.versions):
            step.advance(number, len(test.versions))
            step.note(app)
            program = test.optional.get(app)
            version = _version(ask, app, command, missing) if program is None or program in programs else None
            if version is None:
                progress.say(f"{app}: not installed")
                continue
            apps[app] = AppResult(short(command), version)
            progress.say(f"{app}: {version or 'it runs'}")
        step.advance(len(test.versions))
    return Found(programs, apps)


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


def _version(ask: Ask, app: str, command: str, missing: Sequence[str]) -> str | None:
    """The first line that the app prints, "" where it prints none; None where it does not run, and a package is missing."""
    try:
        lines = ask(command).strip().splitlines()
    except CommandFailed as problem:
        if missing:
            return None
        raise InfrastructureError(f"the app {app} does not run in the new snapshot: {problem.message}") from None
    return plain(lines[0])[:MAX_VERSION] if lines else ""


def _missing(ask: Ask) -> list[str]:
    """The packages that the template's roles wanted and its release has not."""
    listed = ask(f"cat {MISSING}/* 2>/dev/null; true")
    return [name for name in map(str.strip, listed.split("\n")) if PACKAGE.fullmatch(name)]


def _found(ask: Ask, programs: Sequence[str]) -> list[str]:
    """Which of the programs the machine has."""
    script = "\n".join(f"command -v {shlex.quote(name)} > /dev/null && echo {shlex.quote(name)}" for name in programs)
    found = ask(f"{script}\ntrue").split("\n")
    return [name for name in programs if name in found]
