"""A storage that is full when a run ends: its results wait on the machine, and everybody can see it."""

import threading
from collections.abc import Iterator

import pytest

from server.app import Controller, make_controller
from server.db.models import Event, Job
from server.engine.monitoring.full_storage import LOG, OVER, RESULTS, report_full_storage
from server.services.principal import Principal
from server.settings import Settings
from server.states import JobState
from server.storage.folders import JobFolder
from server.workers.clouds.local import LocalCloud
from tests.conftest import eventually, state_of, submission, turning
from tests.disks import fill, needs_root, small_disk

pytestmark = [pytest.mark.system, needs_root]

SHORT = '{"text": "hello", "seconds": "2", "outcome": "ok"}'


@pytest.fixture
def settings(settings: Settings) -> Iterator[Settings]:
    settings.run_timeout_s = 5
    with small_disk(settings.storage, "4m"):
        yield settings


def begin(controller: Controller) -> JobFolder:
    job = controller.jobs.submit(*submission(settings=SHORT))
    folder = controller.storage.folder(job.folder)
    folder.mark_arrived()
    controller.loop.wake()
    eventually(lambda: "probe started" in folder.log() and state_of(job.id) is JobState.RUNNING)
    return folder


def told(job_id: int) -> list[str]:
    return [event.text for event in Event.select().where(Event.subject == "job", Event.subject_id == job_id, Event.new == "")]


def test_results_wait_for_room_beyond_the_run_s_limit_and_across_a_restart(controller: Controller, cloud: LocalCloud) -> None:
    taken = controller.settings.storage / "others"
    with turning(controller):
        folder = begin(controller)
        fill(taken)
        eventually(lambda: Job.get_by_id(1).message.startswith(RESULTS))
    assert folder.outputs() == []
    adopted = make_controller(controller.settings, cloud)
    beat = folder.heartbeat()
    with turning(adopted):
        eventually(lambda: folder.heartbeat() != beat)
        assert state_of(1) is JobState.RUNNING
        taken.unlink()
        eventually(lambda: state_of(1).is_final)
    row = Job.get_by_id(1)
    assert (row.state, row.message, row.attempt) == (JobState.DONE, "", 1)
    assert row.ended - row.started > controller.settings.run_timeout_s
    assert "hello" in (folder.output / "result.txt").read_text()
    assert folder.log().endswith("- done\n")
    assert told(1)[0] == f"{RESULTS}."
    assert told(1).count(f"{RESULTS}.") == 1


def test_who_waits_for_room_can_be_cancelled(controller: Controller) -> None:
    with turning(controller):
        begin(controller)
        fill(controller.settings.storage / "others")
        eventually(lambda: Job.get_by_id(1).message.startswith(RESULTS))
        controller.jobs.cancel(Principal.desktop("ada"), 1)
        eventually(lambda: controller.cloud.resources() == [])
        assert state_of(1) is JobState.CANCELLED


def test_results_that_never_find_room_are_given_up_with_the_reason(controller: Controller) -> None:
    controller.settings.results_wait_s = 1
    with turning(controller):
        folder = begin(controller)
        fill(controller.settings.storage / "others")
        eventually(lambda: Job.get_by_id(1).message.startswith(RESULTS))
        threading.Event().wait(2)
        (controller.settings.storage / "others").write_bytes(bytes(3_900_000))  # the result itself needs a little
        eventually(lambda: state_of(1).is_final)
    row = Job.get_by_id(1)
    assert (row.state, row.reason) == (JobState.FAILED, "results_not_saved")
    assert "result.txt (the storage is full)" in row.message
    assert folder.outputs() == []


def test_a_log_that_waits_is_told_once(controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    folder = controller.storage.folder(job.folder)
    Job.update(state=JobState.RUNNING, attempt=1).where(Job.id == job.id).execute()
    (folder.path / ".cumulus.full.log").touch()
    report_full_storage(Job.get_by_id(job.id), folder, 1000.0)
    report_full_storage(Job.get_by_id(job.id), folder, 1001.0)
    assert Job.get_by_id(job.id).message == f"{LOG} (since 1970-01-01 00:16 UTC)."
    (folder.path / ".cumulus.full.log").unlink()
    report_full_storage(Job.get_by_id(job.id), folder, 1002.0)
    assert (Job.get_by_id(job.id).message, told(job.id)) == ("", [f"{LOG}.", f"{OVER}."])


def test_a_run_that_waits_for_ever_is_ended_all_the_same(controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    folder = controller.storage.folder(job.folder)
    Job.update(state=JobState.RUNNING, attempt=1, state_since=1000.0).where(Job.id == job.id).execute()
    (folder.path / ".cumulus.full.results").touch()
    limit_s = controller.settings.run_timeout_s
    controller.stages.timeouts.expire(Job.get_by_id(job.id), 1000 + limit_s + 10)
    assert state_of(job.id) is JobState.RUNNING
    controller.stages.timeouts.expire(Job.get_by_id(job.id), 1000 + limit_s + controller.settings.results_wait_s + 10)
    assert (state_of(job.id), Job.get_by_id(job.id).reason) == (JobState.FAILED, "run_timeout")
