"""Who may have a machine next."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from server.policy.scheduling import Room, Rules, Verdict, decide

RULES = Rules(limit=4, ageing_s=3600.0, patience_s=600.0)
NOW = 1_000_000.0


@dataclass(frozen=True)
class Waiting:
    id: int
    weight: int = 1
    owner: str = "ada"
    flavor: str = "light"
    priority: int = 0
    state_since: float = NOW


def admitted(
    *waiting: Waiting,
    used: int = 0,
    at_work: dict[str, int] | None = None,
    rules: Rules = RULES,
    ready: dict[str, int] | None = None,
) -> list[int]:
    return [job.id for job in begin(waiting, Room(rules.limit, used, at_work or {}, ready or {}), rules)]


def begin(
    waiting: Sequence[Waiting],
    room: Room,
    rules: Rules = RULES,
    now: float = NOW,
    makers: Callable[[Waiting], Sequence[int]] = lambda _: (),
) -> Iterator[Waiting]:
    decided = decide(waiting, room, rules, now, lambda _: False, makers)
    return (one.job for one in decided if one.verdict is Verdict.BEGINS)


def waits(seconds: float) -> float:
    return NOW - seconds


def test_jobs_begin_in_the_order_of_arrival_while_they_fit() -> None:
    assert admitted(Waiting(3), Waiting(1), Waiting(2), used=2) == [1, 2]


def test_a_machine_that_waits_ready_takes_a_job_of_its_size_beside_a_full_limit() -> None:
    jobs = [Waiting(1, flavor="heavy"), Waiting(2), Waiting(3)]
    assert admitted(*jobs, used=4, ready={"light": 1}) == [2]
    assert admitted(*jobs, used=3, ready={"light": 1}) == [1, 2]


def test_the_owner_with_less_at_work_goes_first() -> None:
    jobs = [Waiting(1), Waiting(2), Waiting(3), Waiting(4, owner="bob"), Waiting(5, owner="cleo")]
    assert admitted(*jobs, at_work={"ada": 1}) == [4, 5, 1, 2]
    assert admitted(*jobs, rules=Rules(5, 3600, 600)) == [1, 4, 5, 2, 3]


def test_priority_counts_before_fairness() -> None:
    assert admitted(Waiting(1, owner="bob"), Waiting(2, priority=1), at_work={"ada": 3}, used=3) == [2]


def test_who_waits_long_overtakes_who_is_more_important() -> None:
    old, new = Waiting(1, priority=-2, state_since=waits(3 * 3600)), Waiting(2, priority=0)
    assert admitted(old, new, used=3) == [1]
    assert admitted(Waiting(1, priority=-2, state_since=waits(3599)), new, used=3) == [2]


def test_a_job_that_does_not_fit_is_overtaken_for_a_while() -> None:
    assert admitted(Waiting(1, weight=4, state_since=waits(10)), Waiting(2), used=1) == [2]


def test_then_room_is_kept_for_it() -> None:
    assert admitted(Waiting(1, weight=4, state_since=waits(601)), Waiting(2), used=1) == []
    assert admitted(Waiting(1, weight=4, state_since=waits(601)), Waiting(2), used=0) == [1]


def test_one_that_is_heavier_than_the_limit_keeps_nobody_waiting() -> None:
    assert admitted(Waiting(1, weight=9, state_since=waits(9999)), Waiting(2), used=1) == [2]


def test_who_must_wait_is_asked_when_its_turn_has_come_and_passed_over() -> None:
    asked: list[int] = []

    def makers(job: Waiting) -> list[int]:
        asked.append(job.id)
        return [9] if job.id == 2 else []

    found = begin([Waiting(1), Waiting(2), Waiting(3)], Room(4, 2, {}, {}), makers=makers)
    assert next(found).id == 1
    assert asked == [1]
    assert [job.id for job in found] == [3]
    assert asked == [1, 2, 3]


jobs = st.builds(
    Waiting,
    id=st.integers(1, 10**6),
    weight=st.integers(1, 8),
    owner=st.sampled_from("abc"),
    priority=st.integers(-3, 3),
    state_since=st.floats(0, 2 * NOW),
)


@given(st.lists(jobs, unique_by=lambda job: job.id), st.integers(0, 20), st.integers(1, 20))
def test_the_limit_is_never_passed_and_nobody_begins_twice(waiting: list[Waiting], used: int, limit: int) -> None:
    found = list(begin(waiting, Room(limit, used, {}, {}), Rules(limit, 3600, 600)))
    assert len(set(found)) == len(found)
    assert not found or used + sum(job.weight for job in found) <= limit


@given(st.integers(1, 4), st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_a_heavy_job_is_not_starved_by_an_endless_stream_of_light_ones(weight: int, durations: list[int]) -> None:
    """Each step is 100 s; new light jobs of another owner come at each of them."""
    heavy = Waiting(10**6, weight=4, owner="bob", state_since=0)
    running: list[tuple[int, int]] = []  # until which step, weight
    for step in range(60):
        running = [(end, one) for end, one in running if end > step]
        used = sum(one for _, one in running)
        light = [Waiting(step * 10 + n, weight=min(weight, 3), state_since=100.0 * step) for n in range(4)]
        for job in begin([*light, heavy], Room(4, used, {}, {}), now=100.0 * step):
            if job is heavy:
                return
            running.append((step + durations[job.id % len(durations)], job.weight))
    raise AssertionError("the heavy job never began")
