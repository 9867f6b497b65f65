"""What a new snapshot is tried with on a machine of it; this computer's shell stands for the machine's."""

import subprocess

import pytest

from server.errors import InfrastructureError
from server.workers.clouds.base import Trial
from server.workers.clouds.ssh import CommandFailed
from server.workers.clouds.trial import try_apps


def ask(script: str) -> str:
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    if done.returncode:
        raise CommandFailed(f"exit code {done.returncode}", done.stdout)
    return done.stdout


def test_an_app_that_needs_a_licence_is_told_as_not_installed_and_one_that_is_there_says_its_version() -> None:
    told: list[str] = []
    versions = [("paid_1", "no-such-program --version"), ("free_1", "echo 1.0"), ("bought_1", "echo 2.0; cat /dev/null")]
    optional = {"paid_1": "no-such-program", "bought_1": "cat"}
    assert try_apps(ask, Trial(versions, ["sh", "no-such-program", "cat"], optional), told.append) == ["sh", "cat"]
    assert told == ["paid_1: not installed", "free_1: 1.0", "bought_1: 2.0"]


@pytest.mark.parametrize("program", [{}, {"broken_1": "sh"}])
def test_an_app_that_should_run_and_does_not_fails_the_snapshot(program: dict[str, str]) -> None:
    trial = Trial([("broken_1", "no-such-program --version")], ["sh"], program)
    with pytest.raises(InfrastructureError, match="the app broken_1 does not run in the new snapshot"):
        try_apps(ask, trial, lambda _: None)
