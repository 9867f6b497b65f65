"""The administrator's commands about machines."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.app import Controller
from server.application import create_app
from server.cli.main import main
from server.db.models import Event, Job, Worker
from server.db.transitions import Change, create
from server.states import JobState, WorkerState
from server.workers.clouds.base import Resource
from server.workers.clouds.local import LocalCloud
from tests.conftest import submission


@pytest.fixture(autouse=True)
def environment(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = controller.settings
    for name, value in (("HOME", settings.home), ("CLOUD", "local"), ("APPS", settings.apps), ("FLAVORS", settings.flavors)):
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))
    monkeypatch.setattr("server.services.machines.service.APART_S", 0.0)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def machine(controller: Controller, name: str) -> Path:
    folder = controller.settings.home / "local" / name
    folder.mkdir()
    return folder


def a_running_job(controller: Controller) -> tuple[Job, Worker]:
    job = controller.jobs.submit(*submission())
    Job.update(state=JobState.RUNNING, attempt=1).where(Job.id == job.id).execute()
    fields = {"name": f"job-{job.id}", "job_id": job.id, "flavor": job.flavor, "weight": 1}
    return job, create(Worker, Change(1.0), state=WorkerState.BUSY, **fields)


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


class LastingCloud(LocalCloud):
    """One whose machines do not go, and whose names are not to be trusted."""

    def resources(self, worker: str = "") -> list[Resource]:
        return [Resource("disk", "job-5", "disk\x1b[2J\n5", alive=False)]

    def delete(self, resource: Resource) -> None:
        """It stays."""


def test_orphans_that_stay_are_told_on_one_line_each_and_by_the_exit_code(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.workers.clouds.registry.make_cloud", lambda _: LastingCloud(controller.settings, "ctest"))
    done = run("orphans", "--delete")
    assert (done.exit_code, done.stdout.split()) == (1, ["left", "disk", "job-5", "disk?[2J?5"])


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
    for number, words in ((str(job.id), "no machine that could be held"), ("4711", "there is no job 4711")):
        done = run("hold", number)
        assert (done.exit_code, words in done.output) == (1, True)


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


def test_nothing_is_pruned_where_there_is_one_snapshot_for_ever() -> None:
    assert run("snapshot", "prune", "--keep", "1").output == ""
    assert run("snapshot", "prune", "--keep", "0").exit_code == 2
