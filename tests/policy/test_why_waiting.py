"""Why a job waits, and that whoever may begin by that is who the queue's rules let begin."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from server.policy.scheduling import Rules, admit
from server.policy.why_waiting import BEGINS, Candidate, Cause, Machine, Situation, why_waiting

NOW = 1000.0


@dataclass(frozen=True)
class Breaker:
    failures: int = 0
    trying: int = 0
    try_at: float = 0.0
    is_open: bool = False

    def may_begin(self, now: float) -> bool:
        return not self.is_open or (not self.trying and now >= self.try_at)


def job(number: int, **changes: object) -> Candidate:
    fields = {
        "owner": "ada",
        "flavor": "small",
        "weight": 1,
        "priority": 0,
        "state_since": 900.0,
        "not_before": 0.0,
        "message": "",
    }
    return Candidate(id=number, **{**fields, **changes})  # type: ignore[arg-type]


def machine(of: int | None = None, *, weight: int = 1, is_held: bool = False) -> Machine:
    return Machine(of, "ada" if of else "", "small", weight, is_held=is_held, is_ready=of is None)


def situation(*waiting: Candidate, **changes: object) -> Situation:
    fields: dict[str, object] = {
        "machines": [],
        "rules": Rules(2, 3600.0, 600.0),
        "drained": "",
        "breaker": Breaker(),
        "now": NOW,
    }
    fields |= {"makers": lambda _: [], "at": str}
    return Situation(waiting=waiting, **{**fields, **changes})  # type: ignore[arg-type]


def causes(given: Situation) -> dict[int, Cause]:
    return {one.job.id: one.cause for one in why_waiting(given)}


def test_who_finds_room_is_next_and_the_others_wait_for_weight() -> None:
    assert causes(situation(job(1), job(2), job(3))) == {1: Cause.NEXT, 2: Cause.NEXT, 3: Cause.WEIGHT_LIMIT}


def test_a_drained_queue_goes_before_everything_else() -> None:
    assert causes(situation(job(1), job(2, weight=9), drained="new disks")) == {1: Cause.DRAINED, 2: Cause.DRAINED}


def test_what_keeps_one_job_alone_keeps_no_other() -> None:
    waiting = job(1, weight=9), job(2), job(3, not_before=NOW + 1), job(4)
    found = causes(situation(*waiting, machines=[machine(2), machine(4, is_held=True, weight=0)]))
    assert found == {1: Cause.TOO_HEAVY, 2: Cause.FORMER_MACHINE, 3: Cause.NOT_YET, 4: Cause.NEXT}


def test_an_open_breaker_lets_the_first_be_the_try_when_its_time_has_come() -> None:
    for breaker, cause in (
        (Breaker(8, is_open=True), Cause.TRY),
        (Breaker(8, try_at=NOW + 1, is_open=True), Cause.TRY_LATER),
        (Breaker(8, trying=9, is_open=True), Cause.BREAKER),
    ):
        assert causes(situation(job(1), job(2), breaker=breaker)) == {1: cause, 2: Cause.BREAKER}


def test_one_that_another_converts_for_is_overtaken() -> None:
    found = why_waiting(situation(job(1), job(2), makers=lambda number: [7] if number == 1 else []))
    assert [(one.job.id, one.cause) for one in found] == [(1, Cause.CONVERTED_BY_ANOTHER), (2, Cause.NEXT)]
    assert found[0].text == "job 7 converts a file that it needs, too"


candidates = st.builds(
    job,
    st.integers(1, 50),
    owner=st.sampled_from(["ada", "bob", "eve"]),
    flavor=st.sampled_from(["small", "large"]),
    weight=st.integers(1, 4),
    priority=st.integers(-2, 2),
    state_since=st.floats(0, NOW),
)
machines = st.builds(machine, st.none() | st.integers(100, 120), weight=st.integers(1, 3))


@given(
    waiting=st.lists(candidates, max_size=8, unique_by=lambda one: one.id),
    there=st.lists(machines, max_size=4),
    limit=st.integers(4, 8),
    converted=st.sets(st.integers(1, 50)),
)
def test_they_are_those_that_the_scheduling_admits(
    waiting: list[Candidate], there: list[Machine], limit: int, converted: set[int]
) -> None:
    rules = Rules(limit, 100.0, 300.0)
    asked = situation(*waiting, machines=there, rules=rules, makers=lambda number: [99] if number in converted else [])
    ready = {flavor: sum(one.is_ready and one.flavor == flavor for one in there) for flavor in ("small", "large")}
    admitted = admit(waiting, asked.at_work, asked.used, rules, NOW, lambda one: one.id in converted, ready)
    assert {one.job.id for one in why_waiting(asked) if one.cause in BEGINS} == {one.id for one in admitted}
