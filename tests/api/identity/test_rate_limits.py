"""How often something may be tried, and that no number of strangers fills the memory or locks somebody out."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.api.identity.errors import TooMany
from server.api.identity.rate_limits import BoundedMemory, RateLimits
from server.identity_settings import IdentitySettings
from tests.programs.doors import Clock


def limits(clock: Clock, max_keys: int = 1000, **settings: int) -> RateLimits:
    return RateLimits(IdentitySettings(**settings), clock, max_keys)  # type: ignore[arg-type]


def test_a_window_moves() -> None:
    clock = Clock()
    some = limits(clock, submissions_per_minute=2)
    some.submission("ada")
    clock.now += 40
    some.submission("ada")
    with pytest.raises(TooMany, match="too many submissions: try again in 20 s") as refused:
        some.submission("ada")
    assert (refused.value.http_status, refused.value.retry_after_s) == (429, 20)
    some.submission("bob")
    clock.now += 20
    some.submission("ada")
    with pytest.raises(TooMany, match="in 40 s"):
        some.submission("ada")


def test_none_is_no_limit() -> None:
    some = limits(
        Clock(), submissions_per_minute=0, login_attempts_per_minute=0, login_failures_per_minute=0, bad_tokens_per_minute=0
    )
    for _ in range(5000):
        some.submission("ada")
        some.bad_token("192.0.2.7")
        some.login("192.0.2.7", "ada")
        some.failed_login("ada")


def test_one_address_tries_so_many_names() -> None:
    some = limits(Clock(), login_attempts_per_minute=3)
    for name in ("a", "b", "c"):
        some.login("192.0.2.7", name)
    with pytest.raises(TooMany, match="this address"):
        some.login("192.0.2.7", "d")
    some.login("192.0.2.8", "d")


def test_nobody_can_lock_somebody_else_out() -> None:
    clock = Clock()
    some = limits(clock, login_failures_per_minute=2)
    for _ in range(2):
        some.login("203.0.113.1", "ada")
        some.failed_login("ada")
    some.login("203.0.113.1", " ADA ")
    with pytest.raises(TooMany, match="by this name"):
        some.login("203.0.113.1", "Ada")
    some.login("192.0.2.7", "ada")  # from where nobody has tried
    some.login("203.0.113.1", "bob")
    clock.now += 60
    some.login("203.0.113.1", "ada")


def test_only_so_many_are_remembered_and_the_latest_count() -> None:
    some = BoundedMemory(Clock(), max_keys=100)
    for number in range(10_000):
        assert some.acquire_entry(str(number), 1, 60)
    assert len(some) == 100
    assert not some.acquire_entry("9999", 1, 60)
    assert some.acquire_entry("1", 1, 60)
    assert (some.get("9999"), some.reset(), len(some), some.check()) == (1, 100, 0, True)


def test_what_is_cleared_begins_anew() -> None:
    some = BoundedMemory(Clock())
    assert some.acquire_entry("a", 1, 60)
    some.clear("a")
    assert some.acquire_entry("a", 1, 60)


@given(st.lists(st.floats(0, 30), min_size=1, max_size=60), st.integers(1, 5))
def test_in_no_minute_there_are_more_than_the_limit(pauses: list[float], limit: int) -> None:
    clock, taken = Clock(), []
    some = BoundedMemory(clock)
    for pause in pauses:
        clock.now += pause
        if some.acquire_entry("key", limit, 60):
            taken.append(clock.now)
    assert all(later - earlier >= 60 for earlier, later in zip(taken, taken[limit:], strict=False))


def test_threads_at_once_take_no_more_than_one() -> None:
    some = limits(Clock(), submissions_per_minute=50)
    done = []

    def submit() -> None:
        for _ in range(20):
            try:
                some.submission("ada")
            except TooMany:
                continue
            done.append(1)

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(done) == 50
