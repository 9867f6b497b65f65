"""Steps in the background: each at most once at a time, none after the stop, and what fails is tried again after a pause."""

import threading
import time
from collections.abc import Iterator
from sqlite3 import DatabaseError

import pytest

from server.app import Controller
from server.db.models import Change, Worker, create
from server.engine.background import Background
from server.states import WorkerState
from tests.conftest import eventually


@pytest.fixture
def background(controller: Controller) -> Iterator[Background]:
    made = Background(controller.settings, lambda: 100.0)
    yield made
    made.stop()
    made.wait(lambda: False)


def test_a_step_is_at_work_once_at_a_time(background: Background) -> None:
    go_on, begun = threading.Event(), list[str]()

    def step(name: str) -> None:
        begun.append(name)
        go_on.wait(10)

    background.begin("sweep", step, "first")
    background.begin("sweep", step, "second")
    background.begin("upkeep", step, "other")
    assert not background.may_begin("sweep")
    go_on.set()
    eventually(background.is_idle)
    assert sorted(begun) == ["first", "other"]
    assert background.changed.is_set()
    background.begin("sweep", step, "third")
    eventually(background.is_idle)
    assert begun[-1] == "third"


def test_after_the_stop_nothing_begins_and_what_is_at_work_is_waited_for(background: Background) -> None:
    go_on, begun = threading.Event(), list[int]()
    background.begin("long", lambda: (begun.append(1), go_on.wait(10)))
    eventually(lambda: begun == [1])
    background.stop()
    background.begin("late", lambda: begun.append(2))
    end = time.monotonic() + 0.2
    assert not background.wait(lambda: time.monotonic() > end)
    go_on.set()
    assert background.wait(lambda: False)
    assert begun == [1]


def test_a_worker_whose_step_fails_is_tried_again_after_a_pause(background: Background, controller: Controller) -> None:
    fields = {"flavor": "m1.4xlarge", "weight": 1, "state": WorkerState.REQUESTED}
    worker: Worker = create(Worker, Change(1.0), name="job-1", **fields)

    def fail() -> None:
        raise ValueError("unexpected")

    background.begin(worker.id, fail)
    background.begin("sweep", fail)  # no worker's: there is no row to change
    eventually(background.is_idle)
    eventually(lambda: Worker.get_by_id(worker.id).failures == 1)
    assert Worker.get_by_id(worker.id).not_before == 100.0 + controller.settings.retry_delay_s


def test_a_damaged_database_is_remembered_until_a_turn_succeeds(background: Background) -> None:
    def fail() -> None:
        raise DatabaseError("file is not a database")

    background.begin("sweep", fail)
    eventually(lambda: background.health.damage is not None)
    background.health.succeeded()
    assert background.health.damage is None
