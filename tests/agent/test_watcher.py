"""A job that ends at the controller is not sent any more; one that the controller does not tell about is."""

from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from agent.queue.models import Job, Transfer
from agent.queue.queue import Queue
from agent.queue.states import JobState, TransferState
from agent.serve import Agent, make_agent
from agent.settings import Settings
from agent.watcher import FIRST, OTHERS
from tests.agent.conftest import Lab, job_state, order, settle
from tests.agent.hearing import Hearing

SIZE = 30_000_000
Ready = Callable[[], bool]


@pytest.fixture
def controller() -> Iterator[Hearing]:
    made = Hearing(states={1: "PENDING", 2: "PENDING", 99: "PENDING"})
    with made.listening():
        yield made


@pytest.fixture
def watching(agent_settings: Settings, controller: Hearing) -> Iterator[Agent]:
    """An agent that needs a minute for a file, and asks often."""
    settings = agent_settings.model_copy(update={"controller": controller.url, "bwlimit_kib": 500, "watch_interval_s": 0.2})
    made = make_agent(settings)
    yield made
    made.loop.stop()


def sending() -> bool:
    return bool(Transfer.select().where(Transfer.state == TransferState.SENDING, Transfer.sent > 0).exists())


@pytest.mark.parametrize("state", ["CANCELLED", "FAILED", "ARCHIVED_CANCELLED", ""])
def test_a_transfer_ends_when_its_job_ends_at_the_controller(watching: Agent, lab: Lab, controller: Hearing, state: str) -> None:
    order(watching, lab, 1, lab.write("a.raw", b"a" * SIZE))
    settle(watching, sending)
    assert job_state(1) == JobState.SENDING
    if state:
        controller.states[1] = state
    else:
        del controller.states[1]
    settle(watching)
    assert job_state(1) == JobState.CANCELLED
    assert Transfer.get().state == TransferState.CANCELLED
    assert "controller" in Job.get().message
    assert not (lab.data / "a.raw").exists()
    assert not lab.is_marked(1)
    assert controller.heard == []
    assert list(lab.data.iterdir()) == []  # nor what had arrived


def test_a_transfer_that_another_job_wants_goes_on(watching: Agent, lab: Lab, controller: Hearing) -> None:
    raw = lab.write("a.raw", b"a" * 2_000_000)
    order(watching, lab, 1, raw)
    order(watching, lab, 2, raw, owner="bmuster")
    settle(watching, sending)
    controller.states[1] = "CANCELLED"
    settle(watching)
    assert (job_state(1), job_state(2)) == (JobState.CANCELLED, JobState.DELIVERED)
    assert (lab.data / "a.raw").stat().st_size == 2_000_000


@pytest.mark.parametrize("answer", ["", "[]", "{}", "[1]", '[{"id": 1}]', "<html>"])
def test_an_answer_that_tells_nothing_ends_nothing(watching: Agent, lab: Lab, controller: Hearing, answer: str) -> None:
    """An empty list, once: the controller may just have started."""
    order(watching, lab, 1, lab.write("a.raw", b"a" * 500_000))
    settle(watching, sending)
    controller.answer = answer
    asked = len(controller.asked)
    settle(watching, lambda: len(controller.asked) > asked)
    controller.answer = None
    settle(watching)
    assert job_state(1) == JobState.DELIVERED


def test_a_controller_that_is_away_ends_nothing(agent_settings: Settings, lab: Lab) -> None:
    agent = make_agent(agent_settings.model_copy(update={"controller": Hearing().url, "watch_interval_s": 0.1}))
    order(agent, lab, 1, lab.write("a.raw"))
    settle(agent)
    assert job_state(1) == JobState.DELIVERED
    agent.loop.stop()


def test_a_long_queue_asks_no_more_than_a_short_one(watching: Agent, lab: Lab, controller: Hearing) -> None:
    waiting = lab.write("new.raw", age_s=-1000)  # never complete
    numbers = range(1, 2 * (FIRST + OTHERS))
    controller.states = dict.fromkeys(numbers, "PENDING")
    for number in numbers:
        order(watching, lab, number, waiting)
    jobs = Queue().jobs.under_way()
    watcher = watching.loop._tasks.watcher
    watcher.check(jobs)
    assert len(controller.asked) == FIRST + OTHERS
    watcher.check(jobs)
    watcher.check(jobs)
    assert set(controller.asked) == set(numbers)


@pytest.mark.parametrize("refuses", [(401, "token_expired"), (403, "forbidden"), (200, "untrusted_network")])
def test_a_controller_that_does_not_believe_the_agent_ends_nothing(
    watching: Agent, lab: Lab, controller: Hearing, refuses: tuple[int, str]
) -> None:
    """Its empty lists would be those of jobs that were deleted."""
    order(watching, lab, 1, lab.write("a.raw", b"a" * 1_500_000))
    settle(watching, sending)
    with capture_logs() as logs:
        controller.refuses = refuses
        asked = len(controller.credentials)
        settle(watching, lambda: len(controller.credentials) > asked + 3)
        settle(watching)
    assert job_state(1) == JobState.DELIVERED
    warned = [line for line in logs if line["log_level"] == "warning"]
    assert len(warned) == 1
    assert "controller_token" in warned[0]["detail"]
