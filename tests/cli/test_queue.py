"""The administrator's commands about the queue."""

import json
import time

import pytest
from click.testing import CliRunner, Result

from server.app import Controller
from server.cli.main import main
from server.db.connection import open_database
from server.db.models import Conversion, Event, Job, Worker
from server.db.settings_store import write_setting
from server.db.transitions import Change, create
from server.policy.circuit_breaker import Breaker
from server.reasons import Reason
from server.services.times import local_time
from server.states import JobState, WorkerState
from tests.conftest import submission


@pytest.fixture(autouse=True)
def environment(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = controller.settings
    for name, value in (("HOME", settings.home), ("CLOUD", "local"), ("APPS", settings.apps), ("FLAVORS", settings.flavors)):
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def waiting(controller: Controller, number: int, **changes: str) -> list[int]:
    jobs = [int(controller.jobs.submit(*submission(**changes)).id) for _ in range(number)]
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


def test_jobs_that_wait_for_their_files_are_counted(controller: Controller) -> None:
    jobs = [int(controller.jobs.submit(*submission()).id) for _ in range(2)]
    assert f"2 wait for their input files, or for the job before: {jobs[0]}, {jobs[1]}" in run("queue").output
    assert json.loads(run("queue", "--json").output)["uploading"] == jobs


def test_the_last_try_is_told_by_the_breakers_time(controller: Controller) -> None:
    (job,) = waiting(controller, 1)
    Job.update(not_before=time.time() + 5, message="No machine.").where(Job.id == job).execute()
    open_breaker(in_s=3600)
    assert whys(controller)[0].startswith(f"it is tried again at {local_time(time.time() + 3600)[:13]}")


def test_draining_and_resuming_can_be_repeated(controller: Controller) -> None:
    for _ in range(2):
        assert "no more jobs are begun: new disks" in run("drain", "--reason", "new disks", "--wait").output
    assert "new disks" in run("queue").output
    for _ in range(2):
        assert run("resume").exit_code == 0
    assert "no more jobs" not in run("queue").output


def test_draining_does_without_the_machine_sizes(controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    controller.settings.flavors.write_text("no table")
    for command in (("drain",), ("priority", str(job.id), "5"), ("resume",)):
        assert run(*command).exit_code == 0, command
    assert run("queue").exit_code == 1


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


def open_breaker(trying: int = 0, in_s: float = 60.0) -> None:
    at = time.time() + in_s
    breaker = Breaker(8, 120.0, at, trying, "Quota exceeded for cores", True, Reason.QUOTA_EXCEEDED)
    write_setting("breaker", json.dumps(vars(breaker)), Change(1.0))


def whys(controller: Controller) -> list[str]:
    found = [one["why"] for one in json.loads(run("queue", "--json").output)["waiting"]]
    open_database(controller.settings.database)  # the command has opened it to read only
    return found


def test_an_open_breaker_is_told_with_its_next_try_and_who_can_fix_it(controller: Controller) -> None:
    waiting(controller, 2)
    open_breaker()
    told = run("queue").output
    assert "no machine could be made 8 times in a row, the next try is at" in told
    assert "Quota exceeded for cores" in told
    assert "who can fix it: infrastructure. Raise the project's quota" in told
    found = json.loads(run("queue", "--json").output)["breaker"]
    assert (found["open"], found["failures"], found["blame"]) == (True, 8, "infrastructure")
    first, second = whys(controller)
    assert first.startswith("it is the try, at ")
    again = local_time(found["try_at"])
    assert second == f"no machines are made since 8 failed in a row: it waits until the next try at {again} succeeds"


def test_what_waits_for_a_try_says_for_which(controller: Controller) -> None:
    trying, other = waiting(controller, 2)
    Job.update(state=JobState.PROVISIONING).where(Job.id == trying).execute()
    open_breaker(trying)
    assert whys(controller) == [
        f"no machines are made since 8 failed in a row: it waits until job {trying}, which is tried now, succeeds"
    ]
    Job.update(state=JobState.CANCELLED).where(Job.id == trying).execute()  # a try that came to no end is none
    open_breaker(trying, in_s=-1)
    assert whys(controller) == ["it is next, as the try whether machines can be made again"]
    assert other


def test_a_drained_queue_is_why_everything_waits(controller: Controller) -> None:
    waiting(controller, 2)
    run("drain", "--reason", "new disks")
    assert whys(controller) == ["the queue is drained: new disks"] * 2


def test_a_job_that_waits_for_another_ones_conversion_says_for_whose(controller: Controller) -> None:
    maker, needs, other = waiting(controller, 3)
    Job.update(state=JobState.RUNNING, state_since=time.time()).where(Job.id == maker).execute()
    for number in (maker, needs):
        Conversion.create(job_id=number, number=0, name="a.dat", key="k" * 64)
    assert whys(controller) == [f"job {maker} converts a file that it needs, too", "it is next"]
    assert other


def test_a_job_behind_one_that_room_is_kept_for_says_which(controller: Controller) -> None:
    heavy, light = (*waiting(controller, 1, flavor="m1.8xlarge"), *waiting(controller, 1))
    Job.update(state_since=time.time() - 700).where(Job.id == heavy).execute()
    machine = {"name": "job-9", "flavor": "m1.4xlarge", "weight": 3, "state": WorkerState.BUSY}
    create(Worker, Change(1.0), **machine)
    kept = "the weight limit is reached: it weighs 2, 3 of 4 are taken; what comes free is kept for it"
    assert whys(controller) == [kept, f"what comes free is kept for job {heavy}, which has waited for long"]
    Job.update(not_before=time.time() + 900, message="No address is left.").where(Job.id == heavy).execute()
    later, begins = whys(controller)
    assert later.startswith("it is tried again at ")
    assert later.endswith("No address is left.")
    assert (begins, light > heavy) == ("it is next", True)


def test_a_job_whose_former_machine_exists_or_that_is_too_heavy_says_so(controller: Controller) -> None:
    former, heavy = waiting(controller, 2)
    Job.update(weight=9).where(Job.id == heavy).execute()
    machine = {"name": "job-1", "job_id": former, "flavor": "m1", "weight": 1, "state": WorkerState.DELETING}
    create(Worker, Change(1.0), **machine)
    assert whys(controller) == ["its former machine is not gone yet", "it weighs 9, more than the limit of 4: it never begins"]


@pytest.mark.parametrize("arguments", [("4711", "1"), ("1", "101"), ("1", "high")])
def test_a_priority_that_cannot_be_given_is_refused(controller: Controller, arguments: tuple[str, str]) -> None:
    waiting(controller, 1)
    assert run("priority", *arguments).exit_code != 0


def test_a_job_at_work_has_no_priority_any_more(controller: Controller) -> None:
    (job,) = waiting(controller, 1)
    Job.update(state=JobState.RUNNING).execute()
    assert "does not wait any more: it is running" in run("priority", str(job), "1").output
