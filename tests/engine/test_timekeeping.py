"""How a controller counts the time that passes, and what it does where the computer's clock was set."""

import json
from dataclasses import dataclass

import pytest
from peewee import OperationalError

from server.app import Controller
from server.db.models import Job, Worker
from server.db.settings_store import write_setting
from server.db.transitions import Change, create, record_event
from server.engine.breaker import read_breaker
from server.engine.duties import timekeeping
from server.engine.duties.sightings import TRASH, record_sighting, sightings_of, update_sightings
from server.engine.duties.timekeeping import DAY_S, Timekeeper, read_elapsed, why_disagrees, why_doubted
from server.policy.circuit_breaker import Breaker
from server.states import WorkerState
from tests.conftest import submission

pytestmark = pytest.mark.usefixtures("controller")
FAR_S = 100 * DAY_S


@dataclass
class Clocks:
    """A computer's clocks. ``at``: what it says the time is; ``steady``: since it was switched on."""

    at: float = 1.8e9
    steady: float = 5_000.0
    boot: str = "first"

    def keeper(self) -> Timekeeper:
        """Of a controller that is started now."""
        return Timekeeper(lambda: self.at, lambda: self.steady, self.boot)

    def run(self, seconds: float, keeper: Timekeeper) -> None:
        """A controller runs, and looks at its clocks twice."""
        for _ in range(2):
            self.pass_by(seconds / 2)
            assert keeper.adjust_clock() == 0

    def pass_by(self, seconds: float) -> None:
        """Time passes."""
        self.at += seconds
        self.steady += seconds

    def restart(self, off_s: float = 60.0) -> None:
        """The computer is switched off and on."""
        self.at, self.steady, self.boot = self.at + off_s, 10.0, self.boot + "'"


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def started(clocks: Clocks) -> Timekeeper:
    keeper = clocks.keeper()
    keeper.adjust_clock()
    return keeper


def test_elapsed_time_is_the_sum_over_controllers_and_starts_of_the_computer(clocks: Clocks) -> None:
    clocks.run(1000, started(clocks))
    clocks.pass_by(300)  # nobody runs
    clocks.run(1000, started(clocks))
    clocks.restart()
    keeper = started(clocks)
    clocks.run(1000, keeper)
    assert keeper.elapsed() == 3000
    assert 3000 - timekeeping.KEEP_S <= read_elapsed() <= 3000
    keeper.keep()
    assert read_elapsed() == 3000


def waiting_job(controller: Controller, at: float) -> Job:
    """A job that has waited since then, with a machine that is looked at again later, and a breaker that is open."""
    job = controller.jobs.submit(*submission())
    Job.update(state_since=at, not_before=at + 100).where(Job.id == job.id).execute()
    worker = {"name": "job-1", "job_id": job.id, "flavor": "m1", "weight": 1, "state": WorkerState.DELETING}
    create(Worker, Change(at), **worker)
    Worker.update(not_before=at + 50, held_until=at + 70).execute()
    write_setting("breaker", json.dumps(vars(Breaker(5, 120.0, at + 120, 0, "down"))), Change(at))
    return job


def times(job: Job) -> list[float]:
    row, worker = Job.get_by_id(job.id), Worker.get()
    return [row.state_since, row.not_before, worker.state_since, worker.not_before, worker.held_until, read_breaker().try_at]


@pytest.mark.parametrize("jump", [FAR_S, -FAR_S, 3600.0, -40.0])
@pytest.mark.parametrize("runs", [True, False])
def test_a_clock_that_is_set_moves_all_that_is_counted_from_it(
    controller: Controller, clocks: Clocks, jump: float, runs: bool
) -> None:
    keeper = started(clocks)
    job = waiting_job(controller, clocks.at)
    before = times(job)
    clocks.pass_by(20)
    clocks.at += jump
    assert (keeper if runs else clocks.keeper()).adjust_clock() == jump
    assert times(job) == [at + jump for at in before]
    assert started(clocks).adjust_clock() == 0
    assert times(job) == [at + jump for at in before]


def test_a_clock_without_a_battery_that_is_set_right_later_leaves_nothing_waiting_for_years(
    controller: Controller, clocks: Clocks
) -> None:
    """It begins at 1970, and the network sets it right a minute after the controller's start."""
    right = clocks.at
    started(clocks)
    job = waiting_job(controller, right)
    before = times(job)
    clocks.restart()
    clocks.at = 10.0
    keeper = started(clocks)
    clocks.run(60, keeper)
    clocks.at = right + 500
    keeper.adjust_clock()
    assert all(abs(now - (at + 440)) < 1 for now, at in zip(times(job), before, strict=True))  # the minute counts, too


def test_limits_go_on_where_they_stood_when_the_computer_was_off(controller: Controller, clocks: Clocks) -> None:
    """Nobody can know whether it was off for so long, or its clock is wrong: no job fails for either."""
    started(clocks)
    job = waiting_job(controller, clocks.at)
    before = times(job)
    clocks.restart(off_s=FAR_S)
    started(clocks)
    assert times(job) == [at + FAR_S for at in before]


def test_time_without_a_controller_counts_where_the_computer_stayed_on(controller: Controller, clocks: Clocks) -> None:
    started(clocks)
    job = waiting_job(controller, clocks.at)
    before = times(job)
    clocks.pass_by(5000)
    started(clocks)
    assert times(job) == before


@pytest.mark.parametrize(("off_s", "kept"), [(300.0, True), (0.9 * DAY_S, True), (FAR_S, False), (-2 * 3600.0, False)])
def test_what_was_seen_before_a_long_absence_is_forgotten(clocks: Clocks, off_s: float, kept: bool) -> None:
    started(clocks)
    update_sightings([("job", "a")], clocks.at, 0.0)
    record_sighting(TRASH, "b", clocks.at, 0.0)
    clocks.restart(off_s)
    started(clocks)
    assert list(sightings_of("job")) == ["a"] * kept
    assert list(sightings_of(TRASH)) == ["b"]  # counted in time that really passed
    assert bool(why_doubted(clocks.at)) is not kept


def test_a_clock_that_was_set_is_believed_again_when_it_has_gone_on_for_a_day(clocks: Clocks) -> None:
    keeper = started(clocks)
    clocks.at += FAR_S
    keeper.adjust_clock()
    assert "was set 100.0 days forwards" in why_doubted(clocks.at)
    clocks.run(DAY_S - 100, keeper)
    assert why_doubted(clocks.at)
    clocks.run(200, keeper)
    assert why_doubted(clocks.at) == ""


def test_a_clock_behind_what_was_recorded_last_is_not_believed(controller: Controller, clocks: Clocks) -> None:
    job = controller.jobs.submit(*submission())
    record_event(Job, job.id, Change(clocks.at, text="later"))
    assert why_disagrees(clocks.at) == ""
    assert "10 minutes behind" in why_disagrees(clocks.at - 600)
    assert "2.0 days behind" in why_doubted(clocks.at - 2 * DAY_S)
    record_event(Job, job.id, Change(clocks.at - 2 * DAY_S, text="with the right time, after one that was ahead"))
    assert why_disagrees(clocks.at - 2 * DAY_S) == ""


def test_a_database_that_is_busy_at_a_jump_moves_the_times_once_at_the_next_look(
    controller: Controller, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = started(clocks)
    job = waiting_job(controller, clocks.at)
    before = times(job)
    clocks.at += FAR_S

    def busy(*_: object) -> None:
        raise OperationalError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(timekeeping, "forget_aged", busy)
        with pytest.raises(OperationalError):
            keeper.adjust_clock()
    assert times(job) == before
    assert keeper.adjust_clock() == FAR_S
    assert times(job) == [at + FAR_S for at in before]


def test_a_mark_of_another_version_is_none(clocks: Clocks) -> None:
    write_setting("clock", '{"hours": 7}', Change(1.0))
    assert started(clocks).elapsed() == 0
