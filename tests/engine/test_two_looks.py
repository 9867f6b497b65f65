"""What is old goes at the second look, and only while the clock can be believed."""

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from server.app import Controller, make_controller
from server.db.models import Change, Job, record_event
from server.engine.duties.retention import DAY_S, Retention
from server.engine.duties.sightings import sightings_of
from server.engine.duties.trashcan import Trashcan
from server.settings import Settings
from server.states import JobState
from server.workers.clouds.local import LocalCloud
from tests.conftest import eventually, state_of, submission

AGE = 90


class Elapsed:
    """Seconds that controllers have run."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def elapsed() -> Elapsed:
    return Elapsed()


@pytest.fixture
def rules(controller: Controller, elapsed: Elapsed) -> Retention:
    return Retention(controller.storage, AGE, Trashcan(controller.storage, 7, elapsed), elapsed)


@pytest.fixture
def job(controller: Controller) -> Job:
    """One that has ended, with a shared file, something converted and an upload that broke off."""
    (controller.storage.data / "a.dat").write_text("old")
    form = '{"text": "x", "seconds": "0", "outcome": "ok", "inputs": ["/far/away/a.dat"]}'
    job = controller.jobs.submit(*submission(settings=form))
    Job.update(state=JobState.DONE, outcome=JobState.DONE, ended=job.created).where(Job.id == job.id).execute()
    (controller.storage.folder(job.folder).output / "result.txt").write_text("12345")
    (controller.storage.data / ".b.dat.Xy12Zz").write_text("half")
    converted = controller.storage.root / "converted"
    converted.mkdir()
    (converted / ("a" * 64)).write_text("1")
    return Job.get_by_id(job.id)


def everything(controller: Controller) -> set[str]:
    root = controller.storage.root
    return {str(path.relative_to(root)) for path in root.rglob("*") if ".cumulus.trash" not in path.parts}


def test_nothing_goes_at_the_first_look_and_everything_at_one_a_day_later(
    controller: Controller, rules: Retention, elapsed: Elapsed, job: Job
) -> None:
    before, old = everything(controller), job.created + (AGE + 1) * DAY_S
    assert rules.clean(old) == []
    assert everything(controller) == before
    elapsed.seconds += DAY_S - 1
    assert rules.clean(old + DAY_S - 1) == []
    elapsed.seconds += 1
    assert {one.kind for one in rules.clean(old + DAY_S)} == {"job", "data", "converted", "upload"}
    assert state_of(job.id) is JobState.ARCHIVED
    assert not (controller.storage.data / "a.dat").exists()


@pytest.mark.parametrize("kind", ["job", "data", "converted", "upload"])
def test_looks_without_time_between_them_are_one_whatever_the_clock_says(
    controller: Controller, rules: Retention, job: Job, kind: str
) -> None:
    before = everything(controller)
    for days in (100, 200, 300, 1000):
        assert rules.clean(job.created + days * DAY_S) == []
    assert everything(controller) == before
    assert len(sightings_of(kind)) == 1


def test_what_is_used_between_the_looks_begins_anew(controller: Controller, rules: Retention, elapsed: Elapsed, job: Job) -> None:
    old = job.created + (AGE + 1) * DAY_S
    rules.clean(old)
    Job.update(ended=old).where(Job.id == job.id).execute()
    elapsed.seconds += DAY_S
    assert not {"job", "data"} & {one.kind for one in rules.clean(old + DAY_S)}
    assert sightings_of("job") == {}
    elapsed.seconds += 100 * DAY_S
    assert rules.clean(old + 101 * DAY_S) == []


def test_a_look_while_the_clock_disagrees_removes_nothing_and_does_not_count(
    controller: Controller, rules: Retention, elapsed: Elapsed, job: Job
) -> None:
    old = job.created + (AGE + 1) * DAY_S
    record_event(Job, job.id, Change(old + DAY_S, text="of tomorrow"))
    with capture_logs() as said:
        for _ in range(3):
            elapsed.seconds += DAY_S
            assert rules.clean(old) == []
    assert sightings_of("job") == {}
    assert [one["event"] for one in said] == ["nothing is removed by its age"] * 3


def test_a_clock_that_goes_back_between_the_looks_makes_the_first_one_void(
    controller: Controller, rules: Retention, elapsed: Elapsed, job: Job
) -> None:
    old = job.created + (AGE + 50) * DAY_S
    rules.clean(old)
    elapsed.seconds += DAY_S
    assert rules.clean(old - 20 * DAY_S) == []
    elapsed.seconds += DAY_S
    assert [one.kind for one in rules.clean(old - 19 * DAY_S)] != []


def test_a_database_that_was_made_anew_knows_of_no_look(rules: Retention, elapsed: Elapsed, job: Job) -> None:
    """It begins to count at nothing."""
    elapsed.seconds = 50 * DAY_S
    rules.clean(job.created + (AGE + 1) * DAY_S)
    elapsed.seconds = 0.0
    assert rules.clean(job.created + (AGE + 2) * DAY_S) == []
    elapsed.seconds = DAY_S
    assert rules.clean(job.created + (AGE + 3) * DAY_S) != []


class Computer:
    """Clocks that a test sets, beside those that go by themselves."""

    def __init__(self) -> None:
        self.at = 0.0
        self.steady = 1000.0

    def clock(self) -> float:
        """What it says the time is."""
        return self.at

    def elapsed(self) -> float:
        """Since it was switched on."""
        return self.steady

    def pass_by(self, seconds: float) -> None:
        """Time passes."""
        self.at += seconds
        self.steady += seconds


@pytest.mark.parametrize("reboots", [False, True])
def test_a_controller_whose_clock_is_a_hundred_days_ahead_at_one_start_removes_nothing(
    settings: Settings, cloud: LocalCloud, reboots: bool
) -> None:
    """Jobs, data, what was converted, records of plays, and a job that waits for its files."""
    cloud.start()
    computer = Computer()
    computer.at = 1.8e9

    def start(boot: str) -> Controller:
        return make_controller(settings, cloud, computer.clock, computer.elapsed, boot)

    def look(controller: Controller) -> None:
        controller.loop.turn()
        eventually(controller.loop._background.is_idle)

    first = start("a")
    job = first.jobs.submit(*submission())
    uploading = first.jobs.submit(*submission())
    Job.update(state=JobState.DONE, outcome=JobState.DONE, ended=computer.at).where(Job.id == job.id).execute()
    (first.storage.folder(job.folder).output / "result.txt").write_text("12345")
    play = settings.home / "plays" / "job-9.start"
    play.mkdir(parents=True)
    os.utime(play, (computer.at, computer.at))
    look(first)
    first.loop.stop(10)
    first.database.close()

    computer.at += 100 * DAY_S
    ahead = start("b" if reboots else "a")
    for _ in range(3):
        look(ahead)
        computer.pass_by(9)
    assert state_of(job.id) is JobState.DONE
    assert state_of(uploading.id) is JobState.UPLOADING
    assert play.is_dir()
    ahead.loop.stop(10)
    ahead.database.close()

    computer.at -= 100 * DAY_S
    right = start("c" if reboots else "a")
    for _ in range(3):
        computer.pass_by(1.1 * DAY_S)
        look(right)
    assert state_of(job.id) is JobState.DONE
    assert _result(right, job).read_text() == "12345"

    computer.pass_by(100 * DAY_S)  # and that long it ran
    look(right)
    assert state_of(job.id) is JobState.DONE
    computer.pass_by(1.1 * DAY_S)
    look(right)
    eventually(lambda: state_of(job.id) is JobState.ARCHIVED)
    right.loop.stop(10)
    right.database.close()


def _result(controller: Controller, job: Job) -> Path:
    return controller.storage.folder(job.folder).output / "result.txt"
