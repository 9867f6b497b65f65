"""The controller's requests to a cloud on a bad day: repeated, paced, and never an order sent twice."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from server.settings import Settings
from server.workers.clouds.openstack.client.access import Access, connected
from server.workers.clouds.openstack.client.wire import LONGEST_RETRY_AFTER_S, Pace, Patience, patient_session
from server.workers.clouds.openstack.project import Project
from server.workers.clouds.openstack.quotas import ProjectQuota
from server.workers.clouds.openstack.resources import Limits, Resources
from server.workers.clouds.openstack.template.cinder_copies import CinderCopies
from server.workers.clouds.openstack.template.snapshots import Snapshots
from server.workers.clouds.openstack.waiting import Waiting
from tests.openstack.faulty import Mood, bad_day
from tests.workers.clouds.openstack.conftest import CLOUDS
from tests.workers.clouds.openstack.double import OURS, Double


@dataclass
class Clock:
    """Time that passes only where somebody pauses."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def patience(clock: Clock, retries: int = 6, per_s: float = 0.0) -> Patience:
    return Patience(retries, Pace(per_s, clock, clock.pause), clock, clock.pause, now=lambda: 1_800_000_000.0, spread=lambda: 1.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mood() -> Iterator[Mood]:
    with bad_day(Mood(share=0)) as running:
        yield running


def ask(mood: Mood, clock: Clock, *kinds: str, method: str = "GET", path: str = "/x", retries: int = 6) -> requests.Response:
    """One request that meets those faults one after the other, at a service that has nothing there: a good answer is a 404."""
    ahead = list(kinds)
    mood.of = lambda *_: ahead.pop(0) if ahead else "unheard"  # type: ignore[method-assign]
    return patient_session(patience(clock, retries)).request(method, f"{mood.url}{path}", timeout=10)


@pytest.mark.parametrize("kind", ["429", "500", "503", "unheard", "unanswered"])
def test_a_look_that_goes_wrong_is_repeated_until_it_is_answered(mood: Mood, clock: Clock, api: Double, kind: str) -> None:
    path = api.url.replace("http://127.0.0.1:", "/") + "/identity/v3"
    assert ask(mood, clock, kind, kind, "", path=path).status_code in (200, 300)
    assert clock.pauses == [0.5, 1.0]


def test_the_pauses_grow_and_are_spread(clock: Clock) -> None:
    calm = patience(clock)
    assert [calm.pause_s(tried) for tried in (1, 2, 3, 8)] == [0.5, 1.0, 2.0, 30.0]
    calm.spread = lambda: 0.0
    assert calm.pause_s(1) == 0.25


def test_it_is_given_up_after_so_many_tries_and_the_last_answer_is_told(mood: Mood, clock: Clock) -> None:
    assert ask(mood, clock, *["503"] * 3, retries=2).status_code == 503
    with pytest.raises(requests.ConnectionError):
        ask(mood, clock, retries=2)


@pytest.mark.parametrize("kind", ["500", "unheard", "unanswered"])
def test_an_order_that_may_have_been_heard_is_not_sent_again(mood: Mood, clock: Clock, kind: str) -> None:
    try:
        assert ask(mood, clock, kind, method="POST", path="/volume/snapshots").status_code == 500
    except requests.ConnectionError:
        assert kind != "500"
    assert clock.pauses == []


@pytest.mark.parametrize("kind", ["429", "503"])
def test_an_order_that_was_refused_is_sent_again(mood: Mood, clock: Clock, kind: str, api: Double) -> None:
    path = api.url.replace("http://127.0.0.1:", "/") + "/volume/v3/snapshots"
    assert ask(mood, clock, kind, "", method="POST", path=path).status_code == 401
    assert len(clock.pauses) == 1


def test_retry_after_holds_all_threads_back_for_so_long(mood: Mood, clock: Clock, api: Double) -> None:
    path = api.url.replace("http://127.0.0.1:", "/") + "/identity/v3"
    assert ask(mood, clock, "429 and when", "", path=path).status_code in (200, 300)
    assert clock.pauses == [1.0]
    calm = patience(clock)
    calm.pace.hold(7)
    calm.pace.wait()
    assert clock.pauses == [1.0, 7.0]


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("12", 12),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0),
        ("999999", LONGEST_RETRY_AFTER_S),
        ("9" * 400, LONGEST_RETRY_AFTER_S),
        ("soon", 0),
        ("-5", 0),
        ("", 0),
    ],
)
def test_retry_after_is_read_in_both_forms(clock: Clock, told: str, seconds: float) -> None:
    answer = requests.Response()
    answer.headers["Retry-After"] = told
    assert patience(clock).retry_after_s(answer) == seconds


def test_no_more_requests_go_out_than_the_rate_allows(clock: Clock) -> None:
    pace = Pace(5.0, clock, clock.pause)
    clock.now = 100.0
    for _ in range(25):
        pace.wait()
    assert clock.now == pytest.approx(100.0 + 19 / 5)  # a second's worth at once, the others at the rate


def test_fifty_machines_come_and_go_where_each_twentieth_request_goes_wrong(
    settings: Settings, api: Double, tmp_path: Path
) -> None:
    """What the controller itself asks for them: room, a look at all, and each thing's removal."""
    quick = Patience(6, Pace(), pause=lambda seconds: time.sleep(seconds / 100))
    waiting = Waiting(pause=lambda seconds: time.sleep(seconds / 1000))
    with bad_day(Mood()) as mood:
        (tmp_path / "clouds.yaml").write_text(CLOUDS.format(url=mood.through(api.url), password="right"))
        access = Access(settings, lambda given: connected(given, quick))
        quota = ProjectQuota(Project(settings, OURS, access, waiting))
        holdings = Resources(access, OURS, Limits.of(settings), waiting)
        for number in range(50):
            worker = f"job-{number}"
            api.add_server(worker, api.add_volume(worker))
            api.add_port(worker)
            quota.listed()
            found = holdings.listed(worker)
            assert [one.kind for one in found] == ["machine", "volume", "port"]
            for resource in found:
                holdings.delete(resource)
        assert (api.servers, api.volumes, api.ports) == ({}, {}, {})
        assert sum(mood.faults.values()) > 0.02 * sum(mood.asked.values()) > 10


def test_a_snapshot_that_was_ordered_and_not_answered_for_is_the_one(settings: Settings, api: Double, tmp_path: Path) -> None:
    quick = Patience(6, Pace(), pause=lambda _: None)
    volume = api.add_volume(metadata={})
    with bad_day(Mood(share=0, once={r"POST .*/snapshots": "unanswered"})) as mood:
        (tmp_path / "clouds.yaml").write_text(CLOUDS.format(url=mood.through(api.url), password="right"))
        access = Access(settings, lambda given: connected(given, quick))
        copies = Snapshots(CinderCopies(access, "t"), Waiting(pause=lambda _: None))
        made = copies.make(volume, OURS, "")
    assert (list(api.snapshots), made.status) == ([made.identifier], "available")
