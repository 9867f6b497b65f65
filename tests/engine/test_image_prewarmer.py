"""For which flavor something is made that lets its machines start sooner, and when not."""

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from server.app import make_controller
from server.catalog.flavors import Flavor, Flavors
from server.db.models import Change, Worker, create
from server.engine.duties.image_prewarmer import LONGEST_PAUSE_S, PAUSE_S, ImagePrewarmer
from server.errors import InfrastructureError
from server.settings import Settings
from server.states import WorkerState
from server.workers.clouds.local import LocalCloud
from tests.conftest import eventually

SMALL, LARGE = Flavor("small", 1, 1, 1), Flavor("large", 3, 2, 4)
FLAVORS = Flavors({"small": SMALL, "large": LARGE}, 4)


class ColdCloud(LocalCloud):
    """A cloud that can be asked for what it lacks; ``during`` is what happens while it works on it."""

    asked: list[str]
    problem: Exception | None = None
    during: Callable[[], None] = staticmethod(lambda: None)
    given_up = False

    @property
    def prewarming(self) -> "ColdCloud":
        return self

    def warm_up(self, flavor: Flavor, unwanted: Callable[[], bool]) -> None:
        self.asked.append(flavor.name)
        self.during()
        self.given_up = unwanted()
        if self.given_up:
            raise InfrastructureError("it was given up")
        if self.problem:
            raise self.problem


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def cold(settings: Settings) -> ColdCloud:
    made = ColdCloud(settings, "ctest")
    made.asked = []
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def warmer(cold: ColdCloud, clock: Clock) -> ImagePrewarmer:
    return ImagePrewarmer(cold, FLAVORS, True, clock)


def worker(number: int, flavor: str, boot: str = "cold: no memory image") -> Worker:
    return Worker(
        id=number, name=f"job-{number}", flavor=flavor, weight=FLAVORS[flavor].weight if flavor in FLAVORS else 1, boot=boot
    )


def never() -> bool:
    return False


def test_a_machine_that_started_cold_requests_an_image_for_its_flavor(warmer: ImagePrewarmer, cold: ColdCloud) -> None:
    assert warmer.next_flavor([worker(1, "small")]) == SMALL
    warmer.prewarm(SMALL, never)
    assert cold.asked == ["small"]


@pytest.mark.parametrize("boot", ["", "warm", "local", "template"])
def test_others_request_nothing(warmer: ImagePrewarmer, boot: str) -> None:
    assert warmer.next_flavor([worker(1, "small", boot)]) is None


def test_a_flavor_that_is_no_longer_offered_is_not_requested(warmer: ImagePrewarmer) -> None:
    assert warmer.next_flavor([worker(1, "gone")]) is None


def test_where_it_is_turned_off_nothing_is_made(cold: ColdCloud, clock: Clock) -> None:
    assert ImagePrewarmer(cold, FLAVORS, False, clock).next_flavor([worker(1, "small")]) is None


def test_a_machine_requests_once_however_long_it_lives(warmer: ImagePrewarmer) -> None:
    warmer.next_flavor([worker(1, "small")])
    warmer.prewarm(SMALL, never)
    assert warmer.next_flavor([worker(1, "small")]) is None
    assert warmer.next_flavor([worker(1, "small"), worker(2, "small")]) == SMALL


def test_the_request_outlives_its_machine_and_waits_for_room(warmer: ImagePrewarmer) -> None:
    assert warmer.next_flavor([worker(1, "large")]) is None
    assert warmer.next_flavor([worker(2, "small", "warm"), worker(3, "small", "warm")]) is None
    assert warmer.next_flavor([worker(2, "small", "warm")]) == LARGE
    assert warmer.next_flavor([]) == LARGE


def test_one_that_finds_room_does_not_wait_for_one_that_does_not(warmer: ImagePrewarmer) -> None:
    assert warmer.next_flavor([worker(1, "large"), worker(2, "small")]) is None
    assert warmer.next_flavor([worker(2, "small"), worker(3, "small", "warm")]) == SMALL


def test_it_is_given_up_when_jobs_need_the_room_and_made_later_without_a_pause(warmer: ImagePrewarmer, cold: ColdCloud) -> None:
    warmer.next_flavor([worker(1, "large")])
    assert warmer.next_flavor([]) == LARGE
    cold.during = lambda: warmer.next_flavor([worker(2, "small"), worker(3, "small")]) and None
    with capture_logs() as said:
        warmer.prewarm(LARGE, never)
    assert (cold.given_up, said) == (True, [])
    assert warmer.next_flavor([]) in (SMALL, LARGE)


def test_it_is_given_up_when_the_controller_stops(warmer: ImagePrewarmer, cold: ColdCloud) -> None:
    warmer.next_flavor([worker(1, "small")])
    with capture_logs() as said:
        warmer.prewarm(SMALL, lambda: True)
    assert (cold.given_up, said) == (True, [])


@pytest.mark.parametrize("problem", [InfrastructureError("the disk is full"), OSError(28, "the disk is full")])
def test_a_failure_is_said_once_and_tried_again_after_pauses_that_double(
    warmer: ImagePrewarmer, cold: ColdCloud, clock: Clock, problem: Exception
) -> None:
    cold.problem = problem
    assert warmer.next_flavor([worker(1, "small")]) == SMALL
    pauses = []
    with capture_logs() as said:
        for _ in range(9):
            warmer.prewarm(SMALL, never)
            began = clock.now
            while warmer.next_flavor([]) is None:
                clock.now += 1.0
            pauses.append(clock.now - began)
    assert pauses[:3] == [PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S]
    assert pauses[-1] == LONGEST_PAUSE_S
    assert [(line["log_level"], line["flavor"]) for line in said] == [("warning", "small")]
    assert "the disk is full" in said[0]["detail"]


def test_a_success_ends_the_pauses_and_a_later_failure_is_said_again(
    warmer: ImagePrewarmer, cold: ColdCloud, clock: Clock
) -> None:
    with capture_logs() as said:
        for number in (1, 2):
            cold.problem = InfrastructureError("not today")
            assert warmer.next_flavor([worker(number, "small")]) == SMALL
            warmer.prewarm(SMALL, never)
            clock.now += PAUSE_S
            cold.problem = None
            assert warmer.next_flavor([]) == SMALL
            warmer.prewarm(SMALL, never)
            assert warmer.next_flavor([]) is None
    assert len(said) == 2


def test_the_loop_has_it_made_beside_the_jobs(cold: ColdCloud, settings: Settings) -> None:
    cold.start()
    controller = make_controller(settings, cold)
    fields = {"name": "job-1", "flavor": "m1.8xlarge", "weight": 2, "boot": "cold: no memory image"}
    create(Worker, Change(1.0), state=WorkerState.BUSY, **fields)
    controller.loop.turn()
    eventually(lambda: cold.asked == ["m1.8xlarge"])
    assert controller.loop.stop(10)
    controller.database.close()
