"""Who may have a machine now."""

from collections.abc import Iterable
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from server.jobs.scheduler import admit


@dataclass(frozen=True)
class Waiting:
    weight: int


def weights(jobs: Iterable[Waiting]) -> list[int]:
    return [job.weight for job in jobs]


def test_jobs_are_admitted_in_their_order_while_they_fit() -> None:
    assert weights(admit([Waiting(1), Waiting(2), Waiting(1)], used=1, limit=4)) == [1, 2]


def test_a_heavy_job_is_not_overtaken_by_light_ones() -> None:
    assert list(admit([Waiting(4), Waiting(1)], used=1, limit=4)) == []


@given(st.lists(st.integers(1, 8)), st.integers(0, 20), st.integers(1, 20))
def test_the_limit_is_never_passed(waiting: list[int], used: int, limit: int) -> None:
    admitted = list(admit([Waiting(weight) for weight in waiting], used, limit))
    assert weights(admitted) == waiting[: len(admitted)]
    assert not admitted or used + sum(weights(admitted)) <= limit
