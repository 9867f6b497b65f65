"""Why a job waits, and that whoever begins is who is said to begin."""

from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from server.policy.circuit_breaker import Breaker
from server.policy.scheduling import Rules
from server.policy.why_waiting import BEGINS, Cause, Explanation, Machine, Situation, Wait, beginning, why_waiting

NOW = 1000.0


@dataclass(frozen=True)
class Candidate:
    id: int
    owner: str = "ada"
    flavor: str = "small"
    weight: int = 1
    priority: int = 0
    state_since: float = 900.0
    not_before: float = 0.0
    message: str = ""


def machine(of: int | None = None, *, weight: int = 1, is_held: bool = False) -> Machine:
    return Machine(of, "small", weight, is_held=is_held, is_ready=of is None)


def situation(*waiting: Candidate, **changes: object) -> Situation:
    fields: dict[str, object] = {
        "read_queue": lambda: waiting,
        "machines": [],
        "weights": dict,
        "rules": Rules(2, 3600.0, 600.0),
        "drained": "",
        "breaker": Breaker(),
        "now": NOW,
    }
    fields |= {"makers": lambda number, begun: []}
    return Situation(**{**fields, **changes})  # type: ignore[arg-type]


def causes(given: Situation) -> dict[int, Cause]:
    return {one.job.id: one.cause for one in why_waiting(given)}


def test_who_finds_room_is_next_and_the_others_wait_for_weight() -> None:
    assert causes(situation(Candidate(1), Candidate(2), Candidate(3))) == {1: Cause.NEXT, 2: Cause.NEXT, 3: Cause.WEIGHT_LIMIT}


def test_a_drained_queue_goes_before_everything_else() -> None:
    assert causes(situation(Candidate(1), Candidate(2, weight=9), drained="new disks")) == {1: Cause.DRAINED, 2: Cause.DRAINED}


def test_what_keeps_one_job_alone_keeps_no_other() -> None:
    waiting = Candidate(1, weight=9), Candidate(2), Candidate(3, not_before=NOW + 1), Candidate(4)
    found = causes(situation(*waiting, machines=[machine(2), machine(4, is_held=True, weight=0)]))
    assert found == {1: Cause.TOO_HEAVY, 2: Cause.FORMER_MACHINE, 3: Cause.NOT_YET, 4: Cause.NEXT}


def test_an_open_breaker_lets_the_first_be_the_try_when_its_time_has_come() -> None:
    for breaker, cause in (
        (Breaker(8, pause_s=60.0), Cause.TRY),
        (Breaker(8, try_at=NOW + 1, pause_s=60.0), Cause.TRY_LATER),
        (Breaker(8, trying=9, pause_s=60.0), Cause.BREAKER),
    ):
        assert causes(situation(Candidate(1), Candidate(2), breaker=breaker)) == {1: cause, 2: Cause.BREAKER}


def test_one_that_another_converts_for_is_overtaken() -> None:
    found = list(why_waiting(situation(Candidate(1), Candidate(2), makers=lambda number, _: [7] if number == 1 else [])))
    assert [(one.job.id, one.cause) for one in found] == [(1, Cause.CONVERTED_BY_ANOTHER), (2, Cause.NEXT)]
    assert found[0].text(str) == "job 7 converts a file that it needs, too"


def test_of_two_that_need_the_same_the_first_makes_it_for_both() -> None:
    found = list(why_waiting(situation(Candidate(1), Candidate(2), makers=lambda _, begun: list(begun))))
    assert [(one.cause, one.text(str)) for one in found] == [
        (Cause.NEXT, "it is next"),
        (Cause.CONVERTED_BY_ANOTHER, "job 1 converts a file that it needs, too"),
    ]


def test_all_that_convert_for_it_are_named() -> None:
    (found,) = why_waiting(situation(Candidate(1), makers=lambda *_: [7, 8]))
    assert found.text(str) == "jobs 7, 8 convert a file that it needs, too"


def test_one_heavier_than_the_limit_begins_where_a_machine_of_its_size_is_ready() -> None:
    assert causes(situation(Candidate(1, weight=9), machines=[machine()])) == {1: Cause.NEXT}


def test_an_open_breaker_says_when_the_next_try_is_and_how_many_failed() -> None:
    for breaker, text in (
        (
            Breaker(1, try_at=1060.0, pause_s=60.0),
            "no machines are made since one failed: it waits until the next try at 1060.0 succeeds",
        ),
        (
            Breaker(8, try_at=940.0, pause_s=60.0),
            "no machines are made since 8 failed in a row: it waits until the next try succeeds",
        ),
        (
            Breaker(8, try_at=940.0, trying=7, pause_s=60.0),
            "no machines are made since 8 failed in a row: it waits until job 7, which is tried now, succeeds",
        ),
    ):
        *_, last = why_waiting(situation(Candidate(1), Candidate(2), breaker=breaker))
        assert last.text(str) == text


def unread() -> list[Candidate]:
    raise AssertionError("the queue was read")


def test_no_other_job_is_read_where_none_could_begin() -> None:
    full, drained = situation(machines=[machine(7, weight=2)], read_queue=unread), situation(drained="x", read_queue=unread)
    pausing = situation(breaker=Breaker(8, try_at=NOW + 1, pause_s=60.0), read_queue=unread)
    assert [list(beginning(given)) for given in (full, drained, pausing)] == [[]] * 3
    found = [Explanation(given).why(Candidate(1)) for given in (full, drained)]
    assert [one and one.cause for one in found] == [Cause.WEIGHT_LIMIT, Cause.DRAINED]


def test_one_that_waits_no_more_waits_for_nothing() -> None:
    assert Explanation(situation(Candidate(1))).why(Candidate(2)) is None


candidates = st.builds(
    Candidate,
    st.integers(1, 50),
    owner=st.sampled_from(["ada", "bob", "eve"]),
    flavor=st.sampled_from(["small", "large"]),
    weight=st.integers(1, 9),
    priority=st.integers(-2, 2),
    state_since=st.floats(0, NOW),
    not_before=st.sampled_from([0.0, NOW + 1]),
)
machines = st.builds(machine, st.none() | st.integers(1, 60), weight=st.integers(1, 3), is_held=st.booleans())
breakers = st.builds(
    Breaker,
    failures=st.just(8),
    trying=st.sampled_from([0, 99]),
    try_at=st.sampled_from([NOW - 1, NOW + 1]),
    pause_s=st.sampled_from([0.0, 60.0]),
)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """``needs``: job -> what it needs converted, which two machines are at already."""
    needs = draw(st.dictionaries(st.integers(1, 50), st.sampled_from("abcd")))

    def makers(number: int, begun: list[int]) -> list[int]:
        others = [other for other in begun if other in needs and needs[other] == needs.get(number)]
        return [{"a": 90, "b": 91}[needs[number]]] if needs.get(number) in ("a", "b") else others

    weights = draw(st.dictionaries(st.sampled_from(["ada", "bob", ""]), st.integers(0, 3)))
    return situation(
        *draw(st.lists(candidates, max_size=12, unique_by=lambda one: one.id)),
        machines=draw(st.lists(machines, max_size=4)),
        weights=lambda: weights,
        rules=Rules(draw(st.integers(4, 12)), 100.0, 300.0),
        drained=draw(st.sampled_from(["", "", "", "new disks"])),
        breaker=draw(breakers),
        makers=makers,
    )


@given(situations())
def test_those_begin_that_are_said_to_begin(given: Situation) -> None:
    assert [one.id for one in beginning(given)] == [one.job.id for one in why_waiting(given) if one.cause in BEGINS]


@given(situations())
def test_one_job_waits_for_what_it_waits_for_among_all(given: Situation) -> None:
    among_all = {one.job.id: said(one) for one in why_waiting(given)}
    explanation = Explanation(given)
    assert {one.id: said(found) for one in given.waiting if (found := explanation.why(one))} == among_all
    assert set(among_all) == {one.id for one in given.waiting}


@given(situations())
def test_those_begin_whom_the_rules_let_begin_said_in_another_way(given: Situation) -> None:
    assert [one.id for one in beginning(given)] == list(by_the_rules(given))


def said(wait: Wait) -> tuple[Cause, str]:
    return wait.cause, wait.text(str)


def by_the_rules(given: Situation) -> Iterator[int]:
    """Who begins, by the words of the documentation: who is first is found anew after each beginning."""
    if given.drained or not given.breaker.may_begin(NOW):
        return
    weights, used, begun = dict(given.at_work), given.used, list[int]()
    ready = [one.flavor for one in given.machines if one.is_ready]
    occupied = {one.job for one in given.machines if not one.is_held}
    left = [one for one in given.waiting if one.id not in occupied and one.not_before <= NOW]

    def place(one: Candidate) -> tuple[int, int, int]:
        return -(one.priority + int((NOW - one.state_since) / 100.0)), weights.get(one.owner, 0), one.id

    while left and (used < given.rules.limit or ready) and not (given.breaker.is_open and begun):
        job = min(left, key=place)
        left.remove(job)
        if job.flavor not in ready and used + job.weight > given.rules.limit:
            if job.weight <= given.rules.limit and NOW - job.state_since > 300.0 and not given.makers(job.id, begun):
                return
        elif not given.makers(job.id, begun):
            yield job.id
            begun.append(job.id)
            weights[job.owner] = weights.get(job.owner, 0) + job.weight
            if job.flavor in ready:
                ready.remove(job.flavor)
            else:
                used += job.weight
