"""The administrator's commands about the queue."""

import json
import time

import pytest
from click.testing import CliRunner, Result

from server.app import Controller
from server.cli import main
from server.jobs.breaker import Breaker
from server.jobs.switches import write_switch
from server.models import Change, Event, Job
from server.states import JobState
from tests.conftest import submission


@pytest.fixture(autouse=True)
def environment(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = controller.settings
    for name, value in (("HOME", settings.home), ("CLOUD", "local"), ("APPS", settings.apps), ("FLAVORS", settings.flavors)):
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def waiting(controller: Controller, number: int, **changes: str) -> list[int]:
    jobs = [int(controller.jobs.submit(submission(**changes)).id) for _ in range(number)]
    Job.update(state=JobState.QUEUED).where(Job.id.in_(jobs)).execute()
    return jobs


def test_the_queue_is_shown_in_the_order_in_which_it_begins(controller: Controller) -> None:
    first = waiting(controller, 5)
    assert "priority 7" in run("priority", str(first[4]), "7").output
    found = json.loads(run("queue", "--json").output)
    assert [one["job"] for one in found["waiting"]] == [first[4], *first[:4]]
    assert (found["used"], found["limit"], found["drained"]) == (0, 4, "")
    reached = "the weight limit is reached: it weighs 1, 4 of 4 are taken by jobs before it"
    assert [one["why"] for one in found["waiting"]] == ["it is next"] * 4 + [reached]
    assert found["controller"] is False
    assert Event.select().where(Event.subject_id == first[4], Event.text == "priority 7").count() == 1
    assert "weight 0 of 4" in run("queue").output


def test_draining_and_resuming_can_be_repeated(controller: Controller) -> None:
    for _ in range(2):
        assert "no more jobs are begun: new disks" in run("drain", "--reason", "new disks", "--wait").output
    assert "new disks" in run("queue").output
    for _ in range(2):
        assert run("resume").exit_code == 0
    assert "no more jobs" not in run("queue").output


def test_draining_can_wait_for_the_last_job(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = waiting(controller, 1)
    Job.update(state=JobState.RUNNING).execute()
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        Job.update(state=JobState.DONE).where(Job.id == job).execute()

    monkeypatch.setattr(time, "sleep", sleep)
    assert run("drain", "--wait").exit_code == 0
    assert len(looks) == 1


def test_an_open_breaker_is_told_with_its_next_try() -> None:
    write_switch("breaker", json.dumps(vars(Breaker(5, 120.0, time.time() + 60, 0, "Quota exceeded"))), Change(1.0))
    told = run("queue").output
    assert "no machine could be made 5 times in a row" in told
    assert "Quota exceeded" in told


@pytest.mark.parametrize("arguments", [("4711", "1"), ("1", "101"), ("1", "high")])
def test_a_priority_that_cannot_be_given_is_refused(controller: Controller, arguments: tuple[str, str]) -> None:
    waiting(controller, 1)
    assert run("priority", *arguments).exit_code != 0


def test_a_job_at_work_has_no_priority_any_more(controller: Controller) -> None:
    (job,) = waiting(controller, 1)
    Job.update(state=JobState.RUNNING).execute()
    assert "does not wait any more: it is running" in run("priority", str(job), "1").output
