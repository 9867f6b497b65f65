"""The circuit breaker as rules, and in whole lives on a local cloud that is down for a while."""

import itertools
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.app import Controller, make_controller
from server.catalog.flavors import Flavor
from server.db.connection import open_database
from server.db.models import Job, Worker
from server.db.settings_store import drain, resume
from server.db.transitions import Change
from server.engine.breaker import CircuitBreaker, read_breaker
from server.errors import InfrastructureError
from server.home.installation import installation_id
from server.policy.circuit_breaker import Breaker
from server.reasons import Reason
from server.settings import Settings
from server.states import JobState
from server.workers.clouds.local import LocalCloud
from tests.conftest import eventually, state_of, submission, turning

LIMIT, PAUSE_S = 3, 60.0


def fail(breaker: Breaker, job_id: int = 1, now: float = 0.0, reason: Reason | None = None) -> Breaker:
    return breaker.failed(job_id, "it broke", reason, LIMIT, PAUSE_S, now)


def opened(now: float = 0.0) -> Breaker:
    return fail(fail(fail(Breaker(), now=now), now=now), now=now)


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    assert not fail(fail(Breaker())).is_open
    assert opened().is_open


def test_open_it_lets_one_try_after_a_pause_and_no_other() -> None:
    breaker = opened(now=100.0)
    assert not breaker.may_begin(159.0)
    assert breaker.may_begin(160.0)
    assert not breaker.begun(7).may_begin(9999.0)


def test_a_try_that_fails_doubles_the_pause_up_to_an_hour() -> None:
    breaker, now = opened(), PAUSE_S
    pauses = []
    for _ in range(8):
        breaker = fail(breaker.begun(7), job_id=7, now=now)
        pauses.append(breaker.pause_s)
        now = breaker.try_at
    assert pauses == [120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_a_machine_that_was_begun_before_it_opened_changes_no_pause() -> None:
    breaker = fail(opened().begun(7), job_id=3, now=99.0)
    assert (breaker.pause_s, breaker.trying) == (PAUSE_S, 7)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.waits])
def test_a_trouble_of_the_site_opens_it_at_once(reason: Reason) -> None:
    assert fail(Breaker(), reason=reason).is_open


def test_where_there_is_no_room_it_is_tried_as_soon_as_a_machine_has_gone() -> None:
    full = fail(Breaker(), reason=Reason.QUOTA_EXCEEDED)
    assert not full.may_begin(1.0)
    assert full.has_room(1.0).may_begin(1.0)
    assert not fail(Breaker(), reason=Reason.CLOUD_REFUSED).has_room(1.0).may_begin(1.0)


def test_the_pause_of_a_full_cloud_does_not_grow() -> None:
    breaker = fail(Breaker(), reason=Reason.QUOTA_EXCEEDED)
    for _ in range(5):
        breaker = fail(breaker.begun(7), job_id=7, now=breaker.try_at, reason=Reason.QUOTA_EXCEEDED)
    assert breaker.pause_s == PAUSE_S


@given(st.lists(st.tuples(st.sampled_from(["fail", "begin", "pass"]), st.integers(1, 5), st.floats(0, 500)), max_size=60))
def test_there_is_never_more_than_one_try(steps: list[tuple[str, int, float]]) -> None:
    breaker, now, trying = Breaker(), 0.0, set[int]()
    for what, job_id, passed in steps:
        now += passed
        if what == "begin" and breaker.is_open and breaker.may_begin(now):
            breaker = breaker.begun(job_id)
            trying.add(job_id)
        elif what == "fail":
            breaker = fail(breaker, job_id, now)
            trying.discard(job_id)
        elif what == "pass":
            breaker = Breaker()
            trying.clear()
        assert len(trying) <= 1
        assert breaker.failures or not breaker.is_open


def test_machines_of_the_pool_that_were_begun_before_it_opened_change_no_pause() -> None:
    breaker = opened(now=100.0)
    for _ in range(3):
        breaker = fail(breaker, job_id=0, now=110.0)
    assert (breaker.failures, breaker.pause_s, breaker.try_at) == (6, PAUSE_S, 160.0)


@pytest.mark.parametrize("failures", [8, 40])
def test_every_failure_counts_however_many_come_at_once(controller: Controller, failures: int) -> None:
    circuit, together = CircuitBreaker(controller.settings, lambda: 100.0), threading.Barrier(failures)

    def fails(number: int) -> None:
        together.wait(60)
        circuit.failed(number, f"failure {number}", Reason.MACHINE_NOT_CREATED)
        controller.database.close()

    threads = [threading.Thread(target=fails, args=(number + 1,)) for number in range(failures)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    breaker = read_breaker()
    assert breaker.failures == failures
    assert (breaker.is_open, breaker.pause_s) == (True, controller.settings.breaker_pause_s)
    assert breaker.why is Reason.MACHINE_NOT_CREATED


def test_processes_that_fail_at_once_are_all_counted(controller: Controller) -> None:
    """An administrator's command writes beside the controller: between two processes only the database's own lock helps."""
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    processes = [context.Process(target=_fail_often, args=(controller.settings.database, together)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert read_breaker().failures == 2 * OFTEN


OFTEN = 20


def _fail_often(path: Path, together: Barrier) -> None:
    database = open_database(path)
    circuit = CircuitBreaker(Settings(home=path.parent), lambda: 100.0)
    together.wait(60)
    for number in range(OFTEN):
        circuit.failed(number + 1, "it broke")
    database.close()


def test_room_that_comes_free_while_others_fail_forgets_no_failure(controller: Controller) -> None:
    seconds = itertools.count(100)
    circuit = CircuitBreaker(controller.settings, lambda: float(next(seconds)))
    circuit.failed(1, "no quota", Reason.QUOTA_EXCEEDED)
    together = threading.Barrier(2)

    def act(what: Callable[[], object]) -> None:
        together.wait(60)
        for _ in range(OFTEN):
            what()
        controller.database.close()

    acts = (lambda: circuit.failed(2, "no quota", Reason.QUOTA_EXCEEDED), circuit.has_room)
    threads = [threading.Thread(target=act, args=(one,)) for one in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert read_breaker().failures == 1 + OFTEN


class Outage(LocalCloud):
    """A cloud that is down until it is said to be up again."""

    is_down = True
    tries = 0

    def terraform_vars(self, worker: str, flavor: Flavor) -> dict[str, Any]:
        """Fail while it is down."""
        if self.is_down:
            self.tries += 1
            raise InfrastructureError("503 Service Unavailable")
        return dict(super().terraform_vars(worker, flavor))


@pytest.fixture
def cloud(settings: Settings) -> Outage:
    settings.breaker_failures, settings.breaker_pause_s, settings.max_attempts = 4, 1.0, 2
    return Outage(settings, installation_id(settings.home))


@pytest.fixture
def running(controller: Controller) -> Iterator[Controller]:
    thread = threading.Thread(target=controller.loop.run, daemon=True)
    thread.start()
    yield controller
    controller.loop.stop(grace_s=15)
    thread.join(15)


def begin(controller: Controller, number: int) -> list[int]:
    found = []
    for _ in range(number):
        job = controller.jobs.submit(*submission())
        controller.storage.folder(job.folder).mark_arrived()
        found.append(int(job.id))
    controller.loop.wake()
    return found


def test_an_outage_fails_no_job_once_it_is_known(running: Controller, cloud: Outage) -> None:
    jobs = begin(running, 8)
    eventually(lambda: read_breaker().is_open)
    tries = cloud.tries
    eventually(lambda: cloud.tries >= tries + 2)
    assert cloud.tries <= tries + 4, "it was tried as if nothing had happened"
    cloud.is_down = False
    eventually(lambda: all(state_of(job).is_final for job in jobs))
    assert not read_breaker().is_open
    assert sum(state_of(job) is JobState.DONE for job in jobs) >= len(jobs) - 2  # two may have had their last attempt before
    eventually(lambda: Worker.select().where(Worker.state != "deleted").count() == 0)


def test_an_open_breaker_stays_open_over_a_restart(controller: Controller, cloud: Outage, settings: Settings) -> None:
    with turning(controller):
        begin(controller, 8)
        eventually(lambda: read_breaker().is_open)
    settings.breaker_pause_s = 3600.0
    before = read_breaker()
    again = make_controller(settings, cloud)
    again.loop.turn()
    assert read_breaker().failures >= before.failures > 0
    again.loop.stop(grace_s=15)
    again.database.close()


def test_a_drained_queue_begins_nothing_until_it_is_resumed(running: Controller, cloud: Outage) -> None:
    cloud.is_down = False
    drain("new disks", Change(1.0))
    (job,) = begin(running, 1)
    eventually(lambda: state_of(job) is JobState.QUEUED)
    running.loop.turn()
    assert Worker.select().count() == 0
    resume(Change(2.0))
    running.loop.wake()
    eventually(lambda: state_of(job) is JobState.DONE)


def test_the_limit_is_looked_at_again_where_the_machine_is_promised(controller: Controller, cloud: Outage) -> None:
    jobs = begin(controller, 5)
    Job.update(state=JobState.QUEUED).execute()
    for job in jobs:
        controller.loop._admission.assign(job, 1.0)
    assert Worker.select().count() == controller.flavors.max_weight == 4
    assert state_of(jobs[-1]) is JobState.QUEUED
