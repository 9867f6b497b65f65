"""``cumulus state`` where no controller runs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result

from server.app import Controller, make_module
from server.catalog.flavors import Flavor
from server.cli.main import main
from server.db.models import Event, Job, Worker
from server.db.transitions import Change, create
from server.errors import InfrastructureError
from server.states import JobState, WorkerState
from server.workers.clouds.base import Resource
from server.workers.clouds.capabilities import MemoryUse
from server.workers.clouds.local import LocalCloud
from server.workers.terraform.module import TerraformModule, terraform_binary
from tests.conftest import eventually, state_of, submission
from tests.workers.test_terraform import hold

FLAVOR = Flavor("m1.4xlarge", 1, 1, 1)
BAD_NAMES = ("../x", "..", "/etc/passwd", "job-1/../job-2", "Job-1", "job 1", "job-1\x1b[2J", "", "a" * 80)


@pytest.fixture(autouse=True)
def environment(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = controller.settings
    for name, value in (("HOME", settings.home), ("CLOUD", "local"), ("APPS", settings.apps), ("FLAVORS", settings.flavors)):
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))


@pytest.fixture
def module(controller: Controller) -> TerraformModule:
    return make_module(controller.settings, controller.cloud)


@pytest.fixture
def make(controller: Controller, module: TerraformModule) -> Callable[[str], Path]:
    """A machine by terraform; returns its folder."""

    def made(name: str) -> Path:
        module.apply(name, controller.cloud.terraform_vars(name, FLAVOR), 60)
        return controller.settings.home / "local" / name

    return made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["state", *arguments], catch_exceptions=False)


def listed() -> dict[str, dict[str, object]]:
    return {one["worker"]: one for one in json.loads(run("--json").stdout)}


def row(name: str, state: WorkerState, **fields: object) -> Worker:
    found: Worker = create(Worker, Change(1.0), name=name, flavor=FLAVOR.name, weight=1, state=state, **fields)
    return found


def a_running_job(controller: Controller) -> tuple[Job, Worker]:
    job = controller.jobs.submit(*submission())
    Job.update(state=JobState.RUNNING, attempt=1).where(Job.id == job.id).execute()
    return job, row(f"job-{job.id}", WorkerState.BUSY, job_id=job.id)


class SharingCloud(LocalCloud):
    """One whose machines share memory."""

    @property
    def memory(self) -> "SharingCloud":
        return self

    def use(self, worker: str) -> MemoryUse | None:
        return MemoryUse(300 << 20, 120 << 20) if worker == "job-1" else None


def test_the_state_tells_how_machines_started_and_what_memory_they_take(
    controller: Controller, make: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = SharingCloud(controller.settings, "ctest")
    monkeypatch.setattr("server.workers.clouds.registry.make_cloud", lambda _: cloud)
    _, worker = a_running_job(controller)
    Worker.update(boot="cold: no memory image").where(Worker.id == worker.id).execute()
    for name in (worker.name, "job-9"):
        make(name)
    found = listed()
    assert found["job-1"]["memory"] == {"resident": 300 << 20, "proportional": 120 << 20}
    assert (found["job-1"]["state"], found["job-1"]["boot"]) == ("busy", "cold: no memory image")
    assert (found["job-9"]["memory"], found["job-9"]["state"], found["job-9"]["boot"]) == (None, "", "")
    lines = run().output.splitlines()
    assert [word for word in ("cold: no memory image", " 300 ", " 120 ") if word not in lines[1]] == []
    assert "unknown here" in lines[2]


def test_the_list_names_job_owner_version_resources_and_lock(
    controller: Controller, module: TerraformModule, make: Callable[[str], Path]
) -> None:
    job, worker = a_running_job(controller)
    make(worker.name)
    one = listed()[worker.name]
    assert (one["job"], one["owner"], one["state"], one["alive"], one["lock"]) == (job.id, "ada", "busy", True, None)
    assert one["resources"] == ["terraform_data.boot", "terraform_data.worker"]
    assert one["serial"] == json.loads(module.store.state_file(worker.name).read_text())["serial"]
    assert (one["troubles"], one["drift"]) == ([], None)
    with hold(module.store.state_file(worker.name), 600) as holder:
        held = listed()[worker.name]["lock"]
        assert isinstance(held, dict)
        assert (held["pid"], held["held"], held["operation"], held["who"]) == (holder.pid, True, "apply", "an earlier one")
        assert 0 <= held["age_s"] < 60
        assert "apply " in run().output
        holder.kill()
    assert "left over" in run().output
    assert f"cumulus state unlock {worker.name}" in run().output


def test_each_trouble_is_told_with_its_cure(controller: Controller, module: TerraformModule, make: Callable[[str], Path]) -> None:
    for name in ("job-1", "job-2", "job-3", "job-4", "job-7", "canary-1"):
        make(name)
    for name in ("job-1", "job-2", "job-4", "job-7"):
        row(name, WorkerState.BUSY)
    module.store.state_file("job-1").write_text("")
    module.store.state_file("job-2").write_text("{")
    module.store.state_file("job-7").write_text(json.dumps({**module.store.state("job-7"), "outputs": {}}))
    taint = [terraform_binary(), f"-chdir={module.path}", "taint", "terraform_data.worker"]
    subprocess.run(taint, check=True, env={**os.environ, **module.environment("job-4")}, stdout=subprocess.DEVNULL)
    row("job-5", WorkerState.BUSY)
    row("job-6", WorkerState.REQUESTED)
    text = run().output
    for name, words in (
        ("job-1", "its machine runs and its state is empty"),
        ("job-7", "its machine runs and its state lacks it"),
        ("job-2", "its state cannot be read"),
        ("job-3", "no row knows it"),
        ("job-4", "tainted: terraform_data.worker"),
    ):
        assert any(line.startswith(f"{name}: {words}") and f"cumulus state destroy {name}" in line for line in text.splitlines())
    assert "job-5 is busy and has no workspace" in text
    assert "job-6 is" not in text
    assert "canary-1:" not in text


def test_drift_is_told_with_progress_and_changes_no_state(module: TerraformModule, make: Callable[[str], Path]) -> None:
    make("job-1")
    make("job-2")
    state = module.store.state_file("job-2")
    state.write_text(state.read_text().replace('"value": "localhost"', '"value": "elsewhere"'))
    before = state.read_bytes()
    done = run("--drift", "--json")
    found = {one["worker"]: one["drift"] for one in json.loads(done.stdout)}
    assert found["job-1"] == {"found": "none", "text": ""}
    assert found["job-2"] == {"found": "drift", "text": 'output address: "elsewhere" \u2192 "localhost"'}
    assert sorted(line.partition(": ")[0] for line in done.stderr.splitlines()) == ["1 of 2", "2 of 2"]
    assert "job-2: differs: output address" in run("--drift").stdout
    assert state.read_bytes() == before


@pytest.mark.parametrize("action", ["destroy", "unlock", "forget"])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_is_one_clear_line(action: str, name: str) -> None:
    done = run(action, "--", name)
    assert done.exit_code == 1
    assert "cannot be a workspace's name" in done.stderr
    assert done.stderr.removesuffix("\n").isprintable()


@pytest.mark.parametrize("action", ["destroy", "unlock", "forget"])
def test_a_wrong_name_is_one_clear_line(action: str) -> None:
    done = run(action, "job-77")
    assert (done.exit_code, done.stderr) == (1, "cumulus: there is no workspace job-77: `cumulus state` lists them\n")
    assert run(action, "-rf").exit_code == 2
    assert run(action).exit_code == 2


def test_options_of_the_list_do_not_go_with_an_action() -> None:
    assert run("--json", "unlock", "job-1").exit_code == 2
    assert run("nonsense").exit_code == 2


def test_a_machine_that_no_row_has_is_removed(module: TerraformModule, make: Callable[[str], Path]) -> None:
    folder = make("job-7")
    assert json.loads(run("destroy", "job-7", "--json").stdout) == {"worker": "job-7", "removed": True, "job": None}
    assert not folder.exists()
    assert module.store.names() == []


def test_a_machine_that_only_the_cloud_knows_is_removed(controller: Controller) -> None:
    folder = controller.settings.home / "local" / "job-8"
    folder.mkdir()
    assert "job-8 is gone" in run("destroy", "job-8").output
    assert not folder.exists()


def test_what_another_command_made_is_only_removed_if_forced(make: Callable[[str], Path]) -> None:
    folder = make("canary-1")
    done = run("destroy", "canary-1")
    assert (done.exit_code, "snapshot's trial" in done.stderr) == (1, True)
    assert folder.is_dir()
    assert run("destroy", "canary-1", "--force").exit_code == 0
    assert not folder.exists()


def test_without_a_controller_the_command_does_its_work(
    controller: Controller, module: TerraformModule, make: Callable[[str], Path]
) -> None:
    job, worker = a_running_job(controller)
    folder = make(worker.name)
    done = run("destroy", worker.name)
    assert (done.exit_code, f"job {job.id} is at work" in done.stderr) == (1, True)
    assert folder.is_dir()
    done = run("destroy", worker.name, "--force")
    assert (done.exit_code, done.stdout) == (0, f"{worker.name} is gone; job {job.id} is tried again on another machine\n")
    assert not folder.exists()
    assert module.store.names() == []
    assert (state_of(job.id), Worker.get_by_id(worker.id).state) == (JobState.QUEUED, WorkerState.DELETED)
    assert run("destroy", worker.name).exit_code == 1  # there is nothing of it


class LastingCloud(LocalCloud):
    """One whose machines do not go."""

    def delete(self, resource: object) -> None:
        """It stays."""


def test_a_machine_that_does_not_go_is_an_error_and_stays_on_its_way_out(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = row("pool-1", WorkerState.READY, attempt=0)
    (controller.settings.home / "local" / "pool-1").mkdir()
    monkeypatch.setattr("server.workers.clouds.registry.make_cloud", lambda _: LastingCloud(controller.settings, "ctest"))
    done = run("destroy", "pool-1")
    assert (done.exit_code, "pool-1 could not be removed: the cloud still has something" in done.stderr) == (1, True)
    found = Worker.get_by_id(worker.id)
    assert (found.state, found.failures) == (WorkerState.DELETING, 1)


def test_a_lock_is_cleared_and_a_held_one_is_not(module: TerraformModule, make: Callable[[str], Path]) -> None:
    make("job-1")
    assert run("unlock", "job-1").stdout == "job-1 is not locked\n"
    with hold(module.store.state_file("job-1"), 600) as holder:
        done = run("unlock", "job-1")
        assert done.exit_code == 1
        assert f"job-1 is locked by apply by an earlier one, process {holder.pid}" in done.stderr
        assert holder.poll() is None
        holder.kill()
    assert "its process is gone" in run("unlock", "job-1").stdout
    assert listed()["job-1"]["lock"] is None


def test_forced_the_holder_is_ended_with_a_warning(module: TerraformModule, make: Callable[[str], Path]) -> None:
    make("job-1")
    with hold(module.store.state_file("job-1"), 600) as holder:
        done = run("unlock", "job-1", "--force", "--json")
        assert done.exit_code == 0
        assert "may leave a machine that its state does not know" in done.stderr
        assert json.loads(done.stdout)["was"]["pid"] == holder.pid
        assert holder.wait(5) == -2


def test_a_lock_s_words_are_shown_as_text_only(module: TerraformModule, make: Callable[[str], Path]) -> None:
    make("job-1")
    note = {"Who": "\x1b[2J[red]root[/nonsense]\nforged line", "Operation": "OperationTypeApply[/b]"}
    (module.store.state_file("job-1").parent / ".terraform.tfstate.lock.info").write_text(json.dumps(note))
    text = run().output + run("unlock", "job-1").output
    assert "\x1b" not in text
    assert "[red]root[/nonsense]?forged line" in text


def test_a_state_is_forgotten_and_what_is_left_is_told(module: TerraformModule, make: Callable[[str], Path]) -> None:
    folder = make("job-7")
    done = run("forget", "job-7")
    assert done.exit_code == 0
    assert f"the cloud still has its machine {folder}" in done.stdout
    assert "cumulus orphans --delete" in done.stdout
    assert folder.is_dir()
    assert (module.store.names(), listed()) == ([], {})
    kept = list((module.home / "broken").glob("job-7.*/terraform.tfstate"))
    assert len(kept) == 1
    folder.rmdir()
    make("job-7")
    folder.rmdir()
    found = json.loads(run("forget", "job-7", "--json").stdout)
    assert (found["left"], found["worker"]) == ([], "job-7")
    assert Path(found["aside"]).is_dir()


def test_a_machine_in_use_is_only_forgotten_if_forced(controller: Controller, make: Callable[[str], Path]) -> None:
    job, worker = a_running_job(controller)
    make(worker.name)
    done = run("forget", worker.name)
    assert (done.exit_code, f"{worker.name} is busy" in done.stderr) == (1, True)
    done = run("forget", worker.name, "--force")
    assert (done.exit_code, "removed by its tag at its end" in done.stdout) == (0, True)
    assert Event.select().where(Event.subject == "worker", Event.text == "its state was set aside").count() == 1
    assert (state_of(job.id), Worker.get_by_id(worker.id).state) == (JobState.RUNNING, WorkerState.BUSY)


@pytest.mark.parametrize("state", [WorkerState.REQUESTED, WorkerState.CREATING, WorkerState.BOOTING])
def test_a_machine_that_is_being_made_is_never_forgotten(make: Callable[[str], Path], state: WorkerState) -> None:
    make("pool-1")
    row("pool-1", state, attempt=0)
    done = run("forget", "pool-1", "--force")
    assert (done.exit_code, "is being made" in done.stderr) == (1, True)
    assert "pool-1" in listed()


def test_what_a_plain_terraform_needs_is_printed_for_a_shell(controller: Controller, make: Callable[[str], Path]) -> None:
    make("job-1")
    script = f'eval "$1"; cd "$MODULE"; ls "$STATES" "$VARS" >&2; TF_WORKSPACE=job-1 {terraform_binary()} state list'
    told = run("env").stdout
    shown = subprocess.run(["sh", "-ec", script, "sh", told], capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["terraform_data.boot", "terraform_data.worker"]


class SecretiveCloud(LocalCloud):
    """One whose terraform needs what nobody is to see."""

    def terraform_env(self) -> dict[str, str]:
        return {
            "OS_CLOUD": "lab",
            "OS_PASSWORD": "hunter2",
            "OS_TOKEN": "",
            "TF_REATTACH_PROVIDERS": "{}",
            "TF_VAR_key": "private",
        }


def test_no_secret_is_printed(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.workers.clouds.registry.make_cloud", lambda _: SecretiveCloud(controller.settings, "ctest"))
    lines = run("env").stdout.splitlines()
    assert [line for line in lines if "OS_" in line or "private" in line] == ["export OS_CLOUD=lab", "export OS_TOKEN=''"]
    assert [line.partition("=")[0] for line in lines if "OS_" not in line] == [
        f"export {name}" for name in ("TF_DATA_DIR", "MODULE", "STATES", "VARS")
    ]


def test_a_former_owner_is_told_while_the_machine_is_there(controller: Controller, make: Callable[[str], Path]) -> None:
    job, worker = a_running_job(controller)
    make(worker.name)
    Job.update(state=JobState.DONE, ended=time.time()).where(Job.id == job.id).execute()
    assert listed()[worker.name]["owner"] == "ada"


def test_a_machine_to_be_held_is_told_in_the_words_of_hold(controller: Controller, make: Callable[[str], Path]) -> None:
    job, worker = a_running_job(controller)
    make(worker.name)
    told = CliRunner().invoke(main, ["hold", str(job.id)], catch_exceptions=False).output.splitlines()[0]
    assert told in run().output.splitlines()


class AwayCloud(LocalCloud):
    """One that does not answer."""

    def resources(self, worker: str = "") -> list[Resource]:
        raise InfrastructureError("it does not answer\x1b[2J")


def test_a_cloud_that_is_away_keeps_nobody_from_looking_and_forgetting(
    controller: Controller, make: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make("job-7")
    monkeypatch.setattr("server.workers.clouds.registry.make_cloud", lambda _: AwayCloud(controller.settings, "ctest"))
    done = run()
    assert (done.exit_code, done.stdout.splitlines()[1].split()[:5]) == (0, ["job-7", "-", "-", "unknown", "here"])
    assert done.stderr == "cumulus: the cloud cannot be asked which machines run: it does not answer?[2J\n"
    done = run("forget", "job-7")
    assert (done.exit_code, "cannot be asked what it still has" in done.stdout) == (0, True)
    assert json.loads(run("--json").stdout) == []
    assert run("destroy", "job-7").exit_code == 1
    assert folder.is_dir()


def test_ctrl_c_ends_a_look_for_drift_and_leaves_nothing_at_work(
    module: TerraformModule, make: Callable[[str], Path], tmp_path: Path
) -> None:
    """In a terminal Ctrl-C goes to the command's group; its terraforms are in sessions of their own."""
    make("job-1")
    slow, begun = tmp_path / "bin" / "terraform", tmp_path / "begun"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\ncase "$1" in plan) touch {begun}; exec sleep 600;; esac\nexec {terraform_binary()} "$@"\n')
    slow.chmod(0o755)
    environment = {**os.environ, "PATH": f"{slow.parent}{os.pathsep}{os.environ['PATH']}"}
    command = [str(Path(sys.executable).with_name("cumulus")), "state", "--drift"]
    with subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL) as child:
        eventually(begun.exists)
        os.killpg(child.pid, signal.SIGINT)
        assert child.wait(20) == 130
    assert not any(
        str(module.data) in str(one.info["environ"]) for one in psutil.process_iter(["environ"]) if one.pid != os.getpid()
    )
