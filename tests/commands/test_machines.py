"""The administrator's commands about machines."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.app import Controller, create_app, make_fleet
from server.catalog.flavors import Flavor
from server.cli import main
from server.models import Change, Event, Job, Worker, insert
from server.states import JobState, WorkerState
from server.workers.clouds.base import MemoryUse
from server.workers.clouds.local import LocalCloud
from tests.conftest import submission


@pytest.fixture(autouse=True)
def environment(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = controller.settings
    for name, value in (("HOME", settings.home), ("CLOUD", "local"), ("APPS", settings.apps), ("FLAVORS", settings.flavors)):
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))
    monkeypatch.setattr("server.commands.machines.APART_S", 0.0)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def machine(controller: Controller, name: str) -> Path:
    folder = controller.settings.home / "local" / name
    folder.mkdir()
    return folder


def a_running_job(controller: Controller) -> tuple[Job, Worker]:
    job = controller.jobs.submit(submission())
    Job.update(state=JobState.RUNNING, attempt=1).where(Job.id == job.id).execute()
    fields = {"name": f"job-{job.id}", "job_id": job.id, "flavor": job.flavor, "weight": 1}
    return job, insert(Worker, Change(1.0), state=WorkerState.BUSY, **fields)


def test_without_orphans_nothing_is_printed() -> None:
    done = run("orphans")
    assert (done.exit_code, done.output) == (0, "")


def test_orphans_are_listed_and_stay(controller: Controller) -> None:
    folder = machine(controller, "job-5")
    assert run("orphans").output.split() == ["machine", "job-5", str(folder)]
    assert json.loads(run("orphans", "--json").output) == [
        {"kind": "machine", "worker": "job-5", "identifier": str(folder), "removed": False}
    ]
    assert folder.is_dir()


def test_orphans_are_removed_where_that_is_asked(controller: Controller) -> None:
    folder = machine(controller, "job-5")
    assert run("orphans", "--delete").stdout.startswith("removed")
    assert not folder.exists()
    assert run("orphans", "--delete").output == ""


def test_what_a_job_accounts_for_is_no_orphan(controller: Controller) -> None:
    _, worker = a_running_job(controller)
    folder = machine(controller, worker.name)
    assert run("orphans", "--delete").output == ""
    assert folder.is_dir()


def test_a_machine_is_held_on_request_and_let_go(controller: Controller) -> None:
    job, worker = a_running_job(controller)
    done = run("hold", str(job.id), "--hours", "2")
    assert f"{worker.name} is held until" in done.output
    assert "ssh " in done.output
    assert 7100 < Worker.get_by_id(worker.id).held_until - time.time() <= 7200
    assert Event.select().where(Event.subject == "worker", Event.text.startswith("held until")).count() == 1
    assert "no longer held" in run("hold", str(job.id), "--release").output
    assert Worker.get_by_id(worker.id).held_until == 0


@pytest.mark.parametrize("state", [JobState.DONE, JobState.CANCELLED])
def test_a_job_without_a_machine_of_use_is_refused(controller: Controller, state: JobState) -> None:
    job, _ = a_running_job(controller)
    Job.update(state=state).where(Job.id == job.id).execute()
    for number in (str(job.id), "4711"):
        done = run("hold", number)
        assert (done.exit_code, "no machine that could be held" in done.output) == (1, True)


class SharingCloud(LocalCloud):
    """One whose machines share memory."""

    def memory_use(self, worker: str) -> MemoryUse | None:
        return MemoryUse(300 << 20, 120 << 20) if worker == "job-1" else None


def test_the_state_tells_how_machines_started_and_what_memory_they_take(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = SharingCloud(controller.settings, "ctest")
    monkeypatch.setattr("server.app.make_cloud", lambda _: cloud)
    _, worker = a_running_job(controller)
    Worker.update(boot="cold: no memory image").where(Worker.id == worker.id).execute()
    fleet = make_fleet(controller.settings, cloud)
    for name in (worker.name, "job-9"):
        fleet._module.apply(name, cloud.terraform_vars(name, Flavor("m1.4xlarge", 1, 1, 1)), 60)
    found = {one["worker"]: one for one in json.loads(run("state", "--json").output)}
    assert found["job-1"]["memory"] == {"resident": 300 << 20, "proportional": 120 << 20}
    assert (found["job-1"]["state"], found["job-1"]["boot"]) == ("busy", "cold: no memory image")
    assert (found["job-9"]["memory"], found["job-9"]["state"], found["job-9"]["boot"]) == (None, "", "")
    lines = run("state").output.splitlines()
    assert [word for word in ("cold: no memory image", " 300 ", " 120 ") if word not in lines[1]] == []
    assert "unknown here" in lines[2]


def test_the_sizes_are_listed_with_how_their_machines_would_start(monkeypatch: pytest.MonkeyPatch) -> None:
    (small, *_, heavy) = json.loads(run("flavors", "--json").output)
    assert small == {"name": "m1.4xlarge", "weight": 1, "cpus": 1, "memory_gb": 1, "disk_gb": None, "next_boot": ""}
    assert heavy["name"] == "m1.heavy"
    monkeypatch.setenv("CUMULUS_CLOUD", "qemu")
    assert "cold: there is no machine image" in run("flavors").output.splitlines()[1]


def test_metrics_count_jobs_machines_and_orphans(controller: Controller) -> None:
    a_running_job(controller)
    machine(controller, "job-1")
    machine(controller, "job-77")
    controller.sweeper.sweep()
    text = create_app(controller).test_client().get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines['cumulus_jobs{state="running"}'] == "1.0"
    assert lines['cumulus_workers{state="busy"}'] == "1.0"
    assert (lines["cumulus_weight_used"], lines["cumulus_weight_limit"]) == ("1.0", "4.0")
    assert (lines["cumulus_orphans"], lines["cumulus_orphans_removed_total"]) == ("1.0", "0.0")
    controller.sweeper.sweep()
    assert "cumulus_orphans_removed_total 1.0" in create_app(controller).test_client().get("/metrics").text
