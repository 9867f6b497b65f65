"""What ended jobs keep of the storage is measured once, after their end."""

import os

import pytest

from server.app import Controller
from server.db.models import Job
from server.engine.records.sizes import Sizes
from server.states import JobState
from server.storage.data import Freeing
from server.storage.folders import Storage
from tests.conftest import eventually, state_of, submission, turning


def ended(controller: Controller, state: JobState = JobState.DONE) -> Job:
    job = controller.jobs.submit(*submission())
    Job.update(state=state, outcome=state).where(Job.id == job.id).execute()
    return job


def kept(job: Job) -> int | None:
    found: int | None = Job.get_by_id(job.id).kept_bytes
    return found


def test_what_only_the_job_keeps_counts(controller: Controller) -> None:
    job = ended(controller)
    folder = controller.storage.folder(job.folder)
    before = Freeing().by(folder.path)
    (folder.output / "result.tsv").write_bytes(b"x" * 5000)
    shared = controller.storage.data / "shared.dat"
    shared.write_bytes(b"y" * 100_000)
    os.link(shared, folder.input / "shared.dat")
    assert Sizes(controller.storage).keep_up() == 1
    assert kept(job) == before + 5000


def test_a_job_is_measured_once_and_only_after_its_end(controller: Controller) -> None:
    done, failed, waiting = ended(controller), ended(controller, JobState.FAILED), controller.jobs.submit(*submission())
    sizes = Sizes(controller.storage)
    assert sizes.keep_up() == 2
    size = kept(done)
    (controller.storage.folder(done.folder).output / "later").write_bytes(b"z" * 1000)
    assert sizes.keep_up() == 0
    assert (kept(done), kept(waiting)) == (size, None)
    assert kept(failed)


def test_no_job_is_measured_while_the_storage_is_away(controller: Controller) -> None:
    job = ended(controller)
    away = Storage(controller.storage.root / "elsewhere")
    assert Sizes(away).keep_up() == 0
    assert kept(job) is None


def test_measuring_ends_when_it_is_unwanted(controller: Controller) -> None:
    for _ in range(3):
        ended(controller)
    answers = iter([False, False, True, True, True])
    assert Sizes(controller.storage).keep_up(lambda: next(answers)) == 1


@pytest.mark.parametrize("outcome", ["ok", "fail"])
def test_the_loop_measures_what_has_ended(controller: Controller, outcome: str) -> None:
    controller.settings.sweep_interval_s = 0.1
    job = controller.jobs.submit(*submission(settings=f'{{"outcome": "{outcome}"}}'))
    controller.storage.folder(job.folder).mark_arrived()
    controller.loop._schedule._sweep_interval_s = 0.1
    with turning(controller):
        eventually(lambda: state_of(job.id).is_final)
        eventually(lambda: kept(job) is not None)
    assert kept(job)
