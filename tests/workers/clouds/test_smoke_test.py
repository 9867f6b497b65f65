"""What a new snapshot is tried with on a machine of it; this computer's shell stands for the machine's."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from server.errors import InfrastructureError
from server.progress import Lines
from server.settings import CHECKOUT
from server.workers.clouds.images import SmokeTest
from server.workers.clouds.smoke_results import MAX_VERSION, from_json, to_json
from server.workers.clouds.smoke_test import ANSWERS, once_ready, run_smoke_test
from server.workers.clouds.ssh import CommandFailed


def ask(script: str) -> str:
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    if done.returncode:
        raise CommandFailed(f"exit code {done.returncode}", done.stdout)
    return done.stdout


def test_an_app_that_needs_a_licence_is_told_as_not_installed_and_one_that_is_there_says_its_version() -> None:
    told: list[str] = []
    versions = [("paid_1", "no-such-program --version"), ("free_1", "echo 1.0"), ("bought_1", "echo 2.0; cat /dev/null")]
    optional = {"paid_1": "no-such-program", "bought_1": "cat"}
    found = run_smoke_test(ask, SmokeTest(versions, ["sh", "no-such-program", "cat"], optional), Lines(told.append))
    assert found.programs == ["sh", "cat"]
    assert {app: tried.version for app, tried in found.apps.items()} == {"free_1": "1.0", "bought_1": "2.0"}
    assert told[:-1] == ["Trying the apps …", "paid_1: not installed", "free_1: 1.0", "bought_1: 2.0"]
    assert told[-1].endswith("(3 apps)")


def test_what_succeeded_is_remembered_by_its_command_also_where_it_prints_nothing_or_too_much() -> None:
    long = f"printf '%s' {'x' * 500}"
    found = run_smoke_test(ask, SmokeTest([("quiet_1", "true"), ("long_1", long)], ["sh"]), Lines(lambda _: None))
    apps = from_json(json.loads(json.dumps(to_json(found.apps))))
    assert apps.version("quiet_1", "true") == ""
    assert apps.version("long_1", long) == "x" * MAX_VERSION
    assert apps.version("quiet_1", "true ") is None
    assert apps.version("long_1", "true") is None
    assert apps.version("other_1", "true") is None


@pytest.mark.parametrize("garbage", [[], 1, None, {"a": 1}, {"a": {}}, {"a": {"command": "x"}}])
def test_what_is_no_memory_of_apps_is_refused(garbage: object) -> None:
    with pytest.raises(ValueError, match="no apps"):
        from_json(garbage)


def test_what_an_app_says_of_itself_cannot_move_the_cursor() -> None:
    told: list[str] = []
    run_smoke_test(ask, SmokeTest([("gaudy_1", "printf '\\033[2J\\033[31mGaudy\\033[0m 1.0\\a\\n'")]), Lines(told.append))
    assert "gaudy_1: Gaudy 1.0" in told


@pytest.mark.parametrize("program", [{}, {"broken_1": "sh"}])
def test_an_app_that_should_run_and_does_not_fails_the_snapshot(program: dict[str, str]) -> None:
    trial = SmokeTest([("broken_1", "no-such-program --version")], ["sh"], program)
    with pytest.raises(InfrastructureError, match="the app broken_1 does not run in the new snapshot"):
        run_smoke_test(ask, trial, Lines(lambda _: None))


def test_a_script_runs_once_the_service_waits_for_a_job(tmp_path: Path) -> None:
    pipe = tmp_path / "a service's" / "answers"
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    assert ask(once_ready("echo mounted\n", str(pipe), 0)) == "mounted\n"


@pytest.mark.parametrize("there", [False, True], ids=["nothing", "a file"])
def test_a_script_does_not_run_where_the_service_never_comes(tmp_path: Path, there: bool) -> None:
    pipe, trace = tmp_path / "answers", tmp_path / "trace"
    if there:
        pipe.touch()
    done = subprocess.run(["sh", "-c", once_ready(f"touch {trace}\n", str(pipe), 0)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "the service cumulus-job does not wait for a job\n")
    assert not trace.exists()


def test_a_script_ends_at_its_first_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "answers")
    with pytest.raises(CommandFailed):
        ask(once_ready("false\ntrue\n", str(tmp_path / "answers"), 0))


def test_the_pipe_that_is_waited_for_is_the_one_that_a_job_s_orders_are_answered_by() -> None:
    script = (CHECKOUT / "infra/ansible/roles/worker_base/files/cumulus-worker").read_text()
    folder, name = ANSWERS.rsplit("/", 1)
    assert f"\nPIPES={folder}\n" in script
    assert f'exec 3< "$PIPES/{name}"' in script


def test_an_app_whose_package_the_release_lacks_is_not_installed_and_the_others_are_tried() -> None:
    told: list[str] = []
    versions = [("lacking_1", "no-such-program --version"), ("free_1", "echo 1.0")]

    def with_missing(script: str) -> str:
        return "comet-ms\n<b>\n" if "/etc/cumulus/missing-packages" in script else ask(script)

    found = run_smoke_test(with_missing, SmokeTest(versions, ["sh"]), Lines(told.append))
    assert list(found.apps) == ["free_1"]
    assert "the template's release has no package comet-ms" in told
    assert "lacking_1: not installed" in told
