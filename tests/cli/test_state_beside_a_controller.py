"""``cumulus state`` beside a real controller process that has the same machines in its hands."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from server.app import make_module
from server.catalog.flavors import Flavor
from server.db.models import Event, Worker
from server.reasons import Reason
from server.states import STARTED, JobState, WorkerState
from server.workers.clouds.registry import make_cloud
from server.workers.terraform.module import TerraformModule
from tests.faults.lab import Lab, mentions, wait
from tests.faults.promises import check
from tests.workers.test_terraform import hold

pytestmark = pytest.mark.system

FLAVOR = Flavor("light", 1, 1, 1)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "lab", given={"sweep_interval_s": 4.0})
    made.start()
    yield made
    made.end()


@pytest.fixture
def module(lab: Lab) -> TerraformModule:
    return make_module(lab.settings, make_cloud(lab.settings))


def make(lab: Lab, module: TerraformModule, name: str) -> Path:
    module.apply(name, make_cloud(lab.settings).terraform_vars(name, FLAVOR), 60)
    return lab.settings.home / "local" / name


def test_a_job_at_work_loses_its_machine_only_by_force_and_is_run_again(lab: Lab) -> None:
    job = lab.submit("one", seconds=600)
    lab.reach("one", JobState.RUNNING)
    first = lab.machine("one")
    refused = lab.cumulus("state", "destroy", first.name)
    assert (refused.returncode, f"job {job} is at work on {first.name}" in refused.stderr) == (1, True)
    assert lab.state_of("one") in STARTED  # a busy computer is late with heartbeats
    done = lab.cumulus("state", "destroy", first.name, "--force", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"worker": first.name, "removed": True, "job": job}), done.stderr
    assert not first.exists()
    assert not any(mentions(process, first) for process in psutil.process_iter())
    wait(lambda: lab.state_of("one") == JobState.RUNNING, 60, lab.log)
    assert lab.machine("one").name == f"{first.name}-2"
    with lab.rows():
        assert Event.select().where(Event.reason == Reason.MACHINE_REMOVED, Event.new == JobState.QUEUED).count() == 1
    lab.cancel("one")
    lab.settle()
    check(lab)


def test_while_a_machine_is_being_made_it_can_be_removed_and_terraform_is_let_finish(lab: Lab) -> None:
    lab.plan("terraform", "slow apply", "slow apply", "slow apply")
    lab.submit("one")
    lab.reach("one", JobState.PROVISIONING)
    done = lab.cumulus("state", "destroy", "job-1", "--force")
    assert done.returncode in (0, 1), done.stderr  # 1: it had just ended
    assert lab.reach("one") == JobState.DONE
    lab.settle()
    check(lab)


def test_a_workspace_that_no_row_has_goes_at_once_or_by_the_sweeper(lab: Lab, module: TerraformModule) -> None:
    folder = make(lab, module, "job-71")
    done = lab.cumulus("state", "destroy", "job-71")
    assert (done.returncode, folder.exists(), module.store.names()) == (0, False, []), done.stderr
    folder = make(lab, module, "job-72")
    done = lab.cumulus("state", "forget", "job-72")
    assert (done.returncode, module.store.workspaces()) == (0, []), done.stderr
    wait(lambda: not folder.exists(), 30, lab.log)
    assert lab.cumulus("orphans").stdout == ""


def test_a_forgotten_machine_goes_on_and_goes_by_its_tag_when_its_job_is_done(lab: Lab, module: TerraformModule) -> None:
    lab.submit("one", seconds=15)
    lab.reach("one", JobState.RUNNING)
    name = lab.machine("one").name
    refused = lab.cumulus("state", "forget", name)
    assert (refused.returncode, f"{name} is busy" in refused.stderr) == (1, True)
    assert lab.cumulus("state", "forget", name, "--force").returncode == 0
    assert module.store.workspaces() == []
    assert lab.reach("one") == JobState.DONE
    lab.settle()
    check(lab)
    with lab.rows():
        assert [worker.state for worker in Worker.select()] == [WorkerState.DELETED]


def test_a_lock_that_somebody_holds_by_hand_is_seen_and_ended_and_the_controller_goes_on(
    lab: Lab, module: TerraformModule
) -> None:
    lab.submit("one", seconds=600)
    lab.reach("one", JobState.RUNNING)
    name = lab.machine("one").name
    with hold(module.store.state_file(name), 600) as holder:
        (one,) = json.loads(lab.cumulus("state", "--json").stdout)
        assert (one["lock"]["pid"], one["lock"]["held"]) == (holder.pid, True)
        assert lab.cumulus("state", "unlock", name).returncode == 1
        assert json.loads(lab.cumulus("state", "--drift", "--json").stdout)[0]["drift"]["found"] == "unknown"
        assert lab.cumulus("state", "unlock", name, "--force").returncode == 0
        assert holder.wait(5) == -2
    assert json.loads(lab.cumulus("state", "--drift", "--json").stdout)[0]["drift"] == {"found": "none", "text": ""}
    lab.cancel("one")
    lab.settle()
    check(lab)


def test_with_the_controller_killed_the_command_removes_and_the_next_one_tries_again(lab: Lab, module: TerraformModule) -> None:
    lab.submit("one", seconds=600)
    lab.reach("one", JobState.RUNNING)
    first = lab.machine("one")
    lab.kill()
    done = lab.cumulus("state", "destroy", first.name, "--force")
    assert (done.returncode, first.exists(), module.store.names()) == (0, False, []), done.stderr
    assert lab.state_of("one") == JobState.QUEUED
    lab.start()
    wait(lambda: lab.state_of("one") == JobState.RUNNING, 60, lab.log)
    assert lab.machine("one").name == f"{first.name}-2"
    lab.cancel("one")
    lab.settle()
    check(lab)


def test_a_controller_may_start_and_end_while_the_command_waits(lab: Lab) -> None:
    lab.plan("terraform", "slow destroy", "slow destroy", "slow destroy")
    lab.submit("one", seconds=600)
    lab.reach("one", JobState.RUNNING)
    lab.kill()
    lab.start()
    begin = time.monotonic()
    done = lab.cumulus("state", "destroy", "job-1", "--force")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begin < 60
    lab.cancel("one")
    lab.settle()
    check(lab)
