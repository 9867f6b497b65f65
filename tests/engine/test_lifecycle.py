"""Whole lives of jobs on the local cloud: real terraform, real ansible, real runner; only the machine is missing."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from server.app import Controller, make_controller
from server.catalog.flavors import Flavor
from server.db.models import Change, Event, Job, Worker, create, living_workers
from server.engine.breaker import read_breaker
from server.errors import InfrastructureError
from server.home.installation import installation_id
from server.reasons import Reason
from server.services.jobs.submission import Submission
from server.services.principal import Principal
from server.settings import Settings
from server.states import JobState, WorkerState
from server.workers.clouds.local import RUNNER, LocalCloud
from tests.conftest import eventually, state_of, submission, turning

pytestmark = pytest.mark.system

RUNNING = '{"text": "hello", "seconds": "60", "outcome": "ok"}'
FAILING = '{"text": "hello", "seconds": "0", "outcome": "fail"}'


class FaultyCloud(LocalCloud):
    """The local cloud with failures to order."""

    words = "Error: the machine is in ERROR"
    fault_words = ""

    def __init__(self, settings: Settings, server_id: str) -> None:
        super().__init__(settings, server_id)
        self.failures_left = 0
        self.broken: dict[str, str] = {}
        self.missing_flavor = ""

    @property
    def faults(self) -> dict[str, str]:
        """Worker -> command that ends its creation."""
        return self.broken

    @property
    def console(self) -> "FaultyCloud":
        return self

    def log(self, worker: str) -> str:
        return ""

    def fault(self, worker: str) -> str:
        """What the cloud says of a machine, while machines fail."""
        return self.fault_words

    def terraform_vars(self, worker: str, flavor: Flavor) -> dict[str, Any]:
        """Fail as a cloud does whose machines break, or that lacks a size."""
        if flavor.name == self.missing_flavor:
            raise InfrastructureError(f"Error: Unable to find flavor with name {flavor.name}")
        if self.failures_left:
            self.failures_left -= 1
            raise InfrastructureError(self.words)
        return dict(super().terraform_vars(worker, flavor))


@pytest.fixture
def cloud(settings: Settings) -> FaultyCloud:
    settings.breaker_pause_s = 0.3
    return FaultyCloud(settings, installation_id(settings.home))


@pytest.fixture
def running(controller: Controller) -> Iterator[Controller]:
    """A controller whose loop runs."""
    with turning(controller):
        yield controller


def begin(controller: Controller, wish: tuple[Principal, Submission]) -> int:
    """Submit a job whose files are there."""
    job = controller.jobs.submit(*wish)
    controller.storage.folder(job.folder).mark_arrived()
    controller.loop.wake()
    return int(job.id)


def folder_of(controller: Controller, job_id: int) -> Path:
    return controller.storage.folder(Job.get_by_id(job_id).folder).path


def is_final(job_id: int) -> Callable[[], bool]:
    return lambda: state_of(job_id).is_final


def nothing_left(controller: Controller) -> bool:
    workspaces = controller.settings.home / "terraform" / "local-worker" / "state" / "workspaces"
    return (
        not living_workers()
        and controller.cloud.resources() == []
        and (not workspaces.exists() or not list(workspaces.iterdir()))
    )


def moves(job_id: int) -> list[str]:
    rows = Event.select().where(Event.subject == "job", Event.subject_id == job_id).order_by(Event.id)
    return [event.new for event in rows]


def test_a_job_runs_to_its_results_and_its_machine_is_removed(running: Controller) -> None:
    job_id = begin(running, submission())
    eventually(is_final(job_id))
    assert state_of(job_id) is JobState.DONE
    assert moves(job_id) == ["uploading", "queued", "provisioning", "starting", "running", "finishing", "done"]
    folder = folder_of(running, job_id)
    assert "hello" in (folder / "output" / "result.txt").read_text()
    assert "[INFO]" in (folder / ".cumulus.log").read_text()
    assert (folder / ".cumulus.attempt.1").exists()
    eventually(lambda: nothing_left(running))
    row = Job.get_by_id(job_id)
    assert row.created <= row.started <= row.ended


def test_an_app_that_fails_is_not_tried_again(running: Controller) -> None:
    job_id = begin(running, submission(settings=FAILING))
    eventually(is_final(job_id))
    row = Job.get_by_id(job_id)
    assert (row.state, row.reason, row.attempt) == ("failed", Reason.APP_FAILED, 1)
    assert row.message.startswith("The app failed.")
    eventually(lambda: nothing_left(running))


def test_a_missing_input_file_is_named(running: Controller) -> None:
    job_id = begin(
        running, submission(settings='{"text": "x", "seconds": "0", "outcome": "ok", "inputs": ["C:\\\\data\\\\absent.raw"]}')
    )
    eventually(is_final(job_id))
    row = Job.get_by_id(job_id)
    assert (row.state, row.reason) == ("failed", Reason.INPUT_MISSING)
    assert "absent.raw" in row.message
    assert Worker.select().count() == 0


def test_a_waiting_job_that_is_cancelled_never_gets_a_machine(controller: Controller) -> None:
    job_id = begin(controller, submission())
    controller.jobs.cancel(Principal.desktop("ada"), job_id)
    controller.loop.turn()
    assert state_of(job_id) is JobState.CANCELLED
    assert Worker.select().count() == 0


def test_a_running_job_that_is_cancelled_stops_and_loses_its_machine(running: Controller) -> None:
    job_id = begin(running, submission(settings=RUNNING))
    eventually(lambda: state_of(job_id) is JobState.RUNNING)
    eventually(lambda: "probe started" in running.storage.folder(Job.get_by_id(job_id).folder).log())
    running.jobs.cancel(Principal.desktop("ada"), job_id)
    eventually(lambda: nothing_left(running))
    assert state_of(job_id) is JobState.CANCELLED


def test_a_job_whose_machine_is_shut_down_in_order_is_run_again_on_another(running: Controller) -> None:
    job_id = begin(running, submission(settings='{"text": "hello", "seconds": "5", "outcome": "ok"}'))
    eventually(lambda: state_of(job_id) is JobState.RUNNING)
    work = str(running.settings.home / "local" / f"job-{job_id}" / "job")
    for process in psutil.process_iter(["cmdline"]):  # a machine that goes down asks what runs on it to end
        if {str(RUNNER), work} <= set(process.info["cmdline"] or ()):
            process.terminate()
    eventually(is_final(job_id))
    row = Job.get_by_id(job_id)
    assert (row.state, row.attempt) == (JobState.DONE, 2)
    assert moves(job_id)[4:7] == ["running", "lost", "queued"]


def test_a_machine_that_breaks_is_tried_again_and_the_attempt_counted(running: Controller, cloud: FaultyCloud) -> None:
    cloud.failures_left = 2
    job_id = begin(running, submission())
    eventually(is_final(job_id))
    row = Job.get_by_id(job_id)
    assert (row.state, row.attempt, row.spared) == ("done", 3, 0)
    assert [worker.name for worker in Worker.select().order_by(Worker.id)] == [
        f"job-{job_id}",
        f"job-{job_id}-2",
        f"job-{job_id}-3",
    ]
    texts = [event.text for event in Event.select().where(Event.reason == Reason.MACHINE_NOT_CREATED)]
    assert texts == ["Error: the machine is in ERROR"] * 2


def test_machines_that_always_break_fail_the_job_with_its_reason(running: Controller, cloud: FaultyCloud) -> None:
    cloud.failures_left = 99
    job_id = begin(running, submission())
    eventually(is_final(job_id))
    row = Job.get_by_id(job_id)
    assert (row.state, row.reason, row.attempt) == ("failed", Reason.MACHINE_NOT_CREATED, 3)
    assert row.message == "No machine could be made. Your job is not the cause. Error: the machine is in ERROR"
    eventually(lambda: nothing_left(running))
    kept = (folder_of(running, job_id) / ".cumulus.failure.3").read_text()
    assert Reason.MACHINE_NOT_CREATED.advice in kept
    assert "Error: the machine is in ERROR" in kept


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("Quota exceeded for cores", Reason.QUOTA_EXCEEDED),
        ("Error: Unable to find flavor with name m9.none", Reason.FLAVOR_UNKNOWN_TO_CLOUD),
        ("Error: Your openstack_blockstorage_snapshot_v3 query returned no results.", Reason.SNAPSHOT_MISSING),
        ("Error: Authentication failed", Reason.CLOUD_REFUSED),
        ("dial tcp 192.0.2.1:5000: connect: connection refused", Reason.CLOUD_UNREACHABLE),
    ],
)
def test_a_job_waits_for_the_end_of_a_trouble_of_the_site(
    running: Controller, cloud: FaultyCloud, monkeypatch: pytest.MonkeyPatch, words: str, reason: Reason
) -> None:
    monkeypatch.setattr(FaultyCloud, "words", words)
    cloud.failures_left = 1000
    job_id = begin(running, submission())
    eventually(lambda: Job.get_by_id(job_id).message.startswith(f"Waiting: {reason.text}"))
    eventually(lambda: Job.get_by_id(job_id).spared > running.settings.max_attempts)
    cloud.failures_left = 0
    eventually(is_final(job_id))
    row = Job.get_by_id(job_id)
    assert (row.state, row.attempt) == ("done", row.spared + 1)
    eventually(lambda: nothing_left(running))


def test_a_size_that_the_cloud_lacks_holds_up_no_job_of_another(running: Controller, cloud: FaultyCloud) -> None:
    cloud.missing_flavor = "m1.8xlarge"
    waiting = begin(running, submission(flavor="m1.8xlarge"))
    eventually(lambda: Job.get_by_id(waiting).spared > 1)
    other = begin(running, submission())
    eventually(is_final(other))
    assert state_of(other) is JobState.DONE
    assert not read_breaker().is_open
    cloud.missing_flavor = ""
    eventually(is_final(waiting))
    assert state_of(waiting) is JobState.DONE


def test_what_the_cloud_says_of_a_machine_counts_before_terraform_s_words(
    running: Controller, cloud: FaultyCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = "Build of instance aborted: VolumeSizeExceedsAvailableQuota: exceeds allowed gigabytes quota"
    monkeypatch.setattr(FaultyCloud, "fault_words", fault)
    cloud.failures_left = 1
    job_id = begin(running, submission())
    eventually(is_final(job_id))
    row = Job.get_by_id(job_id)
    assert (row.state, row.spared) == ("done", 1)
    assert fault in (folder_of(running, job_id) / ".cumulus.failure.1").read_text()


def test_a_machine_that_fails_without_a_known_word_has_the_reason_of_its_stage(running: Controller, cloud: FaultyCloud) -> None:
    cloud.broken = {"job-1": "exit 3"}
    job_id = begin(running, submission())
    eventually(is_final(job_id))
    assert state_of(job_id) is JobState.DONE
    first = Event.get(Event.subject == "job", Event.subject_id == job_id, Event.new == JobState.QUEUED, Event.reason != "")
    assert first.reason == Reason.MACHINE_NOT_CREATED
    assert "local-exec" in (folder_of(running, job_id) / ".cumulus.failure.1").read_text()


def test_a_job_that_does_not_fit_waits_until_there_is_room(running: Controller) -> None:
    first = begin(running, submission(flavor="m1.8xlarge", settings=RUNNING))
    second = begin(running, submission(flavor="m1.8xlarge", settings=RUNNING))
    third = begin(running, submission())
    eventually(lambda: state_of(first) is JobState.RUNNING and state_of(second) is JobState.RUNNING)
    assert state_of(third) is JobState.QUEUED
    running.jobs.cancel(Principal.desktop("ada"), first)
    eventually(is_final(third))
    assert state_of(third) is JobState.DONE
    running.jobs.cancel(Principal.desktop("ada"), second)
    eventually(lambda: nothing_left(running))


def test_a_job_starts_only_after_the_one_it_follows_is_done(running: Controller) -> None:
    first = running.jobs.submit(*submission())
    second = begin(running, submission(start_after=str(first.id)))
    third = begin(running, submission(settings=FAILING))
    fourth = begin(running, submission(start_after=str(third)))
    eventually(is_final(fourth))
    assert state_of(fourth) is JobState.FAILED
    assert state_of(second) is JobState.UPLOADING
    running.storage.folder(first.folder).mark_arrived()
    eventually(is_final(second))
    assert state_of(second) is JobState.DONE
    assert Job.get_by_id(second).started >= Job.get_by_id(first.id).ended


def test_the_loop_sleeps_until_the_next_sweep_while_there_is_nothing_to_do(controller: Controller) -> None:
    assert controller.settings.sweep_interval_s - 1 < controller.loop.turn() <= controller.settings.sweep_interval_s


@pytest.mark.parametrize("state", ["provisioning", "starting", "running"])
def test_a_new_controller_goes_on_where_a_killed_one_stopped(
    controller: Controller, cloud: FaultyCloud, settings: Settings, state: str
) -> None:
    """A killed controller is one whose steps stop in the middle: here its rows are set back to that point."""
    first = threading.Thread(target=controller.loop.run, daemon=True)
    first.start()
    job_id = begin(controller, submission(settings='{"text": "hello", "seconds": "4", "outcome": "ok"}'))
    eventually(lambda: state_of(job_id) is JobState.RUNNING)
    controller.loop.stop(grace_s=15)
    first.join(15)
    Job.update(state=state).where(Job.id == job_id).execute()
    worker_state = {"provisioning": WorkerState.CREATING, "starting": WorkerState.BOOTING, "running": WorkerState.BUSY}[state]
    Worker.update(state=worker_state).where(Worker.job_id == job_id).execute()
    adopted = make_controller(settings, cloud)
    second = threading.Thread(target=adopted.loop.run, daemon=True)
    second.start()
    eventually(is_final(job_id))
    eventually(lambda: nothing_left(adopted))
    adopted.loop.stop(grace_s=15)
    second.join(15)
    assert state_of(job_id) is JobState.DONE
    folder = folder_of(adopted, job_id)
    assert (folder / ".cumulus.log").read_text().count("probe started") == 1, "the app ran twice"
    assert Worker.select().count() == 1


def test_an_input_file_that_is_not_as_the_agent_sent_it_is_named_and_nothing_is_started(running: Controller) -> None:
    (running.storage.data / "a.raw").write_text("123")
    job = running.jobs.submit(
        *submission(settings='{"text": "x", "seconds": "0", "outcome": "ok", "inputs": ["C:\\\\data\\\\a.raw"]}')
    )
    folder = running.jobs.folder(job)
    (folder.path / ".cumulus.manifest").write_text('{"version": 1, "files": [{"path": "data/a.raw", "size": 10}]}')
    folder.mark_arrived()
    running.loop.wake()
    eventually(is_final(job.id))
    row = Job.get_by_id(job.id)
    assert (row.state, row.reason) == ("failed", Reason.INPUT_INCOMPLETE)
    assert "data/a.raw has 3 bytes, not 10" in row.message
    assert Worker.select().count() == 0


def test_a_machine_that_went_after_the_loop_had_looked_is_left_alone(controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    row = {"name": f"job-{job.id}", "job_id": job.id, "flavor": job.flavor, "weight": 1}
    worker = create(Worker, Change(1.0), state=WorkerState.DELETED, **row)
    controller.stages.teardown.remove(worker)
    assert Event.select().where(Event.subject == "worker").count() == 1
