"""Whatever strangers do at the door of a server, its own clients are answered, and nothing of it stays."""

import contextlib
import errno
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from programs.http.channels import Phase
from programs.http.deadlines import kept_bytes
from programs.http.door import PATIENCE_S, Door
from tests.bench.siege import MALFORMED, SLOW_POST
from tests.conftest import eventually
from tests.programs.doors import (
    GET,
    LIMITS,
    Clock,
    answered,
    asked,
    closing,
    connected,
    heard,
    heard_in_time,
    hello,
    is_open,
    standing,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door(clock: Clock) -> Iterator[Door]:
    with standing(clock=clock) as made:
        yield made


def passed(clock: Clock, seconds: float) -> None:
    clock.now += seconds


@pytest.mark.parametrize("request_", MALFORMED, ids=range(len(MALFORMED)))
def test_what_cannot_be_read_is_answered_or_awaited_and_its_connection_ends(door: Door, clock: Clock, request_: bytes) -> None:
    with connected(door, request_) as one:
        answer = heard_in_time(one, clock)
    eventually(lambda: not door.active_channels)
    assert not answer or answer[9:12] in (b"200", b"400", b"408", b"413", b"431", b"501")
    assert asked(door).startswith(b"HTTP/1.1 200")


def test_many_times_more_of_them_than_there_may_be_connections_change_nothing(door: Door) -> None:
    with closing([connected(door, MALFORMED[number % len(MALFORMED)]) for number in range(8 * LIMITS.connections)]):
        assert asked(door).startswith(b"HTTP/1.1 200")
        eventually(lambda: len(door.active_channels) <= LIMITS.connections)


@pytest.mark.parametrize(
    ("request_", "status", "path"),
    [
        (b"post /start HTTP/1.1\r\n\r\n", 400, "/start"),
        (b"POST /search HTTP/1.1\r\nX: a\0\r\n\r\n", 400, "/search"),
        (b"POST http://a/fail HTTP/1.1\r\nBad header\r\n\r\n", 400, "/fail"),
        (b"POST /start HTTP/1.1\r\nX: " + b"a" * 5000 + b"\r\n\r\n", 431, "/start"),
        (b"POST /start HTTP/1.1\r\nContent-Length: " + b"9" * 5000, 431, "/start"),
        (b"POST /start HTTP/1.1\r\nContent-Length: 100001\r\n\r\n" + b"x" * 60_000, 413, "/start"),
        (b"POST /start HTTP/1.1\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n", 413, "/start"),
        (b"POST /start HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 1100, 400, "/start"),
        (b"POST /start HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 1500, 400, "/start"),
        (b"POST /start HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000, 413, "/start"),
        (b"GET http://[/ HTTP/1.1\r\n\r\n", 400, "/"),
        (b"\x16\x03\x01\x02\x00", 400, ""),
    ],
    ids=range(12),
)
def test_whoever_cannot_be_understood_reads_why_in_the_shape_of_the_route(
    door: Door, request_: bytes, status: int, path: str
) -> None:
    with connected(door, request_) as one:
        head, _, body = heard(one).partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert b"application/json" in head
    assert json.loads(body)[0] == path


def test_who_sends_on_after_a_refusal_still_reads_it_and_is_cut_off_in_the_end(door: Door, clock: Clock) -> None:
    with connected(door, b"POST /start HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n") as one:
        eventually(lambda: any(channel.phase is Phase.LINGER for channel in channels(door)))
        one.sendall(b"x" * 1_000_000)
        assert heard(one).startswith(b"HTTP/1.1 413")
        passed(clock, 3)
        eventually(lambda: not door.active_channels)


def test_idle_connections_make_room_the_oldest_first(door: Door, clock: Clock) -> None:
    first = [connected(door) for _ in range(LIMITS.connections)]
    eventually(lambda: len(door.active_channels) == LIMITS.connections)
    passed(clock, 5)
    with closing([*first, *(connected(door) for _ in range(10))]):
        eventually(lambda: sum(map(is_open, first)) <= LIMITS.connections - 10)
        assert asked(door).startswith(b"HTTP/1.1 200")
        assert len(door.active_channels) <= LIMITS.connections


def test_an_idle_connection_is_closed_in_time_and_one_that_is_used_is_not(door: Door, clock: Clock) -> None:
    with connected(door) as idle, connected(door) as used:
        eventually(lambda: len(door.active_channels) == 2)
        for _ in range(4):
            used.sendall(GET)
            assert answered(used).startswith(b"HTTP/1.1 200")
            passed(clock, LIMITS.idle_s / 3)
        assert heard(idle) == b""
        assert is_open(used)


def test_posts_that_never_end_keep_nobody_out_and_are_told_so(door: Door, clock: Clock) -> None:
    slow = SLOW_POST.replace(b"20000000", b"20000")
    with closing([connected(door, slow) for _ in range(LIMITS.connections)]), connected(door, slow) as last:
        assert asked(door).startswith(b"HTTP/1.1 200")
        answer = heard_in_time(last, clock)
    assert answer.startswith(b"HTTP/1.1 408")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])[0] == "/start"


def test_a_body_that_comes_a_byte_at_a_time_has_its_limit(door: Door, clock: Clock) -> None:
    with connected(door, SLOW_POST.replace(b"20000000", b"20000")) as slow:
        eventually(lambda: any(one.phase is Phase.BODY for one in channels(door)))
        for _ in range(7):
            passed(clock, LIMITS.body_s / 6)
            slow.sendall(b"x")
        assert heard(slow).startswith(b"HTTP/1.1 408")


def channels(door: Door) -> list[Any]:
    return list(door.active_channels.values())


def test_a_header_that_comes_a_byte_at_a_time_has_its_limit_too(door: Door, clock: Clock) -> None:
    with connected(door, b"GET /joblist") as slow:
        eventually(lambda: any(one.phase is Phase.HEADER for one in channels(door)))
        for _ in range(6):
            passed(clock, LIMITS.header_s / 5)
            slow.sendall(b"x")
        assert b" 408 " in heard(slow)[:20]


def test_one_computer_cannot_take_the_connections_of_another(door: Door, clock: Clock) -> None:
    with connected(door, source="127.0.0.2") as other:
        eventually(lambda: len(door.active_channels) == 1)
        passed(clock, 5)  # it is the idlest of all
        with closing([connected(door) for _ in range(3 * LIMITS.connections)]):
            assert asked(door).startswith(b"HTTP/1.1 200")
            assert is_open(other)
            other.sendall(GET)
            assert answered(other).startswith(b"HTTP/1.1 200")


def test_requests_in_one_piece_are_answered_in_order_and_read_one_at_a_time(door: Door) -> None:
    count = 500
    requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % number for number in range(count))
    with connected(door, requests + b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n") as one:
        eventually(lambda: all(len(channel.requests) <= 1 for channel in channels(door)))
        answers = heard(one)
    bodies = [part.partition(b"HTTP/1.1")[0] for part in answers.split(b"\r\n\r\n")[1:]]
    assert bodies == [*(b"/%d 0" % number for number in range(count)), b"/last 0"]


def test_a_body_is_asked_for_where_its_sender_waits_for_that(door: Door) -> None:
    with connected(door, b"POST /x HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n") as one:
        assert one.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        one.sendall(b"hello")
        assert answered(one).endswith(b"/x 5")


def test_no_body_is_awaited_where_none_is_announced(door: Door) -> None:
    assert asked(door, b"GET /x HTTP/1.1\r\nExpect: 100-continue\r\n\r\n").endswith(b"/x 0")


@pytest.mark.parametrize("method", [b"HEAD", b"OPTIONS"])
def test_other_methods_leave_the_connection_usable(door: Door, method: bytes) -> None:
    with connected(door, method + GET[3:]) as one:
        assert one.recv(1000).startswith(b"HTTP/1.1 200")
        assert is_open(one)


def test_slow_readers_of_an_answer_that_is_still_made_lose_it_where_others_wait_for_their_thread(clock: Clock) -> None:
    def endless(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [])
        while environ["PATH_INFO"] == "/endless":
            yield b"x" * 100_000
        yield b"end"

    with contextlib.ExitStack() as stack:
        door = stack.enter_context(standing(endless, clock=clock))
        with closing([connected(door, GET.replace(b"/x", b"/endless")) for _ in range(2)]):
            eventually(lambda: sum(channel.blocked_s(clock.now + 1) > 0 for channel in channels(door)) == 2)
            with connected(door, GET) as waiting:
                eventually(door.task_dispatcher.is_short)
                passed(clock, PATIENCE_S + 1)
                assert answered(waiting).startswith(b"HTTP/1.1 200")


def test_a_pool_that_is_busy_keeps_nobody_in_another_waiting(clock: Clock) -> None:
    def endless(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [])
        while environ["PATH_INFO"] == "/endless":
            yield b"x" * 100_000
        yield b"end"

    with contextlib.ExitStack() as stack:
        pools = standing(endless, threads=(1, 1), pool_of=lambda request: int(request.path == "/endless"), clock=clock)
        door = stack.enter_context(pools)
        with closing([connected(door, GET.replace(b"/x", b"/endless")) for _ in range(3)]):
            eventually(door.task_dispatcher.is_short)
            assert asked(door).startswith(b"HTTP/1.1 200")


def test_who_asks_a_thousand_times_delays_another_by_one(clock: Clock) -> None:
    """The first request holds the only thread until all wait; then the two computers have turns."""
    order: list[str] = []
    go_on = threading.Event()

    def slow(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        order.append(environ["REMOTE_ADDR"])
        go_on.wait(20)
        return hello(environ, start_response)

    with standing(slow, threads=(1,), clock=clock) as door, closing([connected(door, GET) for _ in range(20)]):
        eventually(lambda: sum(bool(channel.requests) for channel in channels(door)) == 20)
        with connected(door, GET, source="127.0.0.2") as other:
            eventually(lambda: sum(bool(channel.requests) for channel in channels(door)) == 21)
            go_on.set()
            assert answered(other).startswith(b"HTTP/1.1 200")
    assert order.index("127.0.0.2") <= 2


def test_of_bodies_that_fill_the_temporary_folder_the_slowest_go(door: Door, clock: Clock) -> None:
    head = b"POST /x HTTP/1.1\r\nContent-Length: 99000\r\n\r\n"
    first = [connected(door, head + b"x" * 90_000) for _ in range(2)]
    eventually(lambda: sum(kept_bytes(channel) for channel in channels(door)) == 180_000)
    passed(clock, 1.5)
    with closing([*first, connected(door, head + b"x" * 90_000)]):
        eventually(lambda: sum(kept_bytes(channel) for channel in channels(door)) == 270_000)
        passed(clock, 1.5)
        eventually(lambda: len(channels(door)) == 2)
        assert sum(map(is_open, first)) == 1


def test_a_system_without_files_left_makes_neither_a_busy_loop_nor_a_long_log(
    door: Door, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[float] = []
    real = door.accept

    def refuse() -> object:
        tries.append(clock.now)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with connected(door) as idle:
        eventually(lambda: len(door.active_channels) == 1)
        passed(clock, 5)
        door.accept = refuse
        with caplog.at_level(logging.WARNING), connected(door, GET) as waiting:
            eventually(lambda: len(tries) == 1)
            assert heard(idle) == b""  # it made room
            for _ in range(5):
                before = len(tries)
                passed(clock, 1)
                eventually(lambda before=before: len(tries) > before)  # type: ignore[misc]
            assert len(tries) == 6
            door.accept = real
            passed(clock, 1)
            assert answered(waiting).startswith(b"HTTP/1.1 200")
    assert sum("cannot be taken" in record.getMessage() for record in caplog.records) == 1


def test_at_the_end_who_comes_is_refused_at_once() -> None:
    with standing() as door:
        port = int(door.effective_port)
        assert asked(door).startswith(b"HTTP/1.1 200")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


def test_more_connections_than_select_can_count_are_served() -> None:
    with standing(limits=replace(LIMITS, connections=1200)) as door, closing([connected(door) for _ in range(1100)]):
        eventually(lambda: len(door.active_channels) == 1100)
        assert asked(door).startswith(b"HTTP/1.1 200")


def test_a_refusal_that_fails_ends_its_connection_and_not_the_loop(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    def broken(path: str, message: str) -> bytes:
        raise ZeroDivisionError

    door.refusal, working = broken, door.refusal
    for _ in range(3):
        with connected(door, b"\x16\x03\x01\r\n\r\n") as one:
            assert heard(one) == b""
    eventually(lambda: not door.active_channels)
    door.refusal = working
    assert asked(door).startswith(b"HTTP/1.1 200")
    assert asked(door, b"\x16\x03\x01\r\n\r\n").startswith(b"HTTP/1.0 400")
