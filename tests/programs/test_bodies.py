"""Bodies that the application reads as they come, over a real socket."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from programs.http.door import POLL_S, TURN_S, Door
from tests.conftest import eventually
from tests.programs.doors import LIMITS, Clock, answered, asked, connected, heard, is_open, standing

EMPTY = {"/empty": "204 No Content", "/same": "304 Not Modified"}
LONG = 10 * LIMITS.body_bytes


class Reader:
    """Reads the bodies of PATCH and answers how much of it came; ``taken`` grows meanwhile. Of /early it reads nothing."""

    def __init__(self) -> None:
        self.taken = 0
        self.ended = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        body, buffer = environ["wsgi.input"], memoryview(bytearray(70_000))
        if environ["PATH_INFO"] == "/whole":
            self.taken = len(body.read())
        elif environ["PATH_INFO"] != "/early" and environ["REQUEST_METHOD"] == "PATCH":
            while count := body.readinto(buffer):
                self.taken += count
        self.ended.set()
        if status := EMPTY.get(environ["PATH_INFO"]):
            start_response(status, [])
            return []
        text = str(self.taken).encode()
        start_response("200 OK", [("Content-Length", str(len(text)))])
        return [text]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reader() -> Reader:
    return Reader()


@contextlib.contextmanager
def streaming(reader: Reader, clock: Clock, threads: int = 2) -> Iterator[Door]:
    def is_patch(request: Any) -> bool:
        return bool(request.command == "PATCH")

    def lane(request: Any) -> int:
        return int(request.streamed_bytes > 0)

    with standing(reader, threads=(1, threads), pool_of=lane, clock=clock, is_streamed=is_patch) as door:
        yield door


@pytest.fixture
def door(reader: Reader, clock: Clock) -> Iterator[Door]:
    with streaming(reader, clock) as found:
        yield found


def patch(path: str, length: int, more: str = "") -> bytes:
    return f"PATCH {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n{more}\r\n".encode()


@pytest.mark.parametrize("path", ["/parts", "/whole"])
def test_a_body_longer_than_any_that_is_gathered_comes_whole(door: Door, path: str) -> None:
    with connected(door, patch(path, LONG) + b"x" * LONG) as one:
        assert answered(one).endswith(b"\r\n\r\n%d" % LONG)
        one.sendall(patch(path, 3) + b"abc" + patch("/empty", 1) + b"x")
        eventually(lambda: one.recv(65536, socket.MSG_PEEK).count(b"HTTP/1.1") == 2, 5)
        both = one.recv(65536)
        assert both.startswith(b"HTTP/1.1 200")
        assert both.count(b"HTTP/1.1 204") == 1


def test_a_body_is_read_while_it_comes(door: Door, reader: Reader) -> None:
    with connected(door, patch("/x", 10) + b"12345") as one:
        eventually(lambda: reader.taken == 5)
        one.sendall(b"67890")
        assert answered(one).endswith(b"10")


def test_what_came_before_the_connection_broke_off_is_there(door: Door, reader: Reader) -> None:
    connected(door, patch("/x", LONG) + b"x" * 12_345).close()
    assert reader.ended.wait(20)
    assert reader.taken == 12_345


@pytest.mark.parametrize("path", EMPTY)
def test_an_answer_without_content_leaves_the_connection_open(door: Door, path: str) -> None:
    with connected(door, patch(path, 3) + b"abc") as one:
        got = answered(one)
        assert got.startswith(f"HTTP/1.1 {EMPTY[path]}".encode())
        assert b"onnection" not in got
        assert is_open(one)


def test_who_wants_the_connection_closed_has_it_closed(door: Door) -> None:
    with connected(door, patch("/empty", 3, "Connection: close\r\n") + b"abc") as one:
        assert b"Connection: close" in heard(one)


def test_who_sends_on_after_an_early_answer_still_reads_it_and_is_cut_off_in_the_end(door: Door, clock: Clock) -> None:
    with connected(door, patch("/early", LONG)) as one:
        one.sendall(b"x" * 200_000)
        got = answered(one)
        assert got.startswith(b"HTTP/1.1 200")
        assert b"Connection: close" in got
        with contextlib.suppress(ConnectionError):
            one.sendall(b"x" * 100_000)
        clock.now += 10
        eventually(lambda: not is_open(one))


def test_a_body_that_is_refused_for_its_header_is_not_read(door: Door, reader: Reader) -> None:
    assert asked(door, patch("/x", 5, "Transfer-Encoding: chunked\r\n")).startswith(b"HTTP/1.1 400")
    assert not reader.ended.is_set()


def test_a_sender_from_whom_nothing_comes_is_given_up(door: Door, reader: Reader, clock: Clock) -> None:
    with connected(door, patch("/x", LONG) + b"abc"):
        eventually(lambda: reader.taken == 3)
        clock.now += LIMITS.idle_s + 1
        assert reader.ended.wait(20)


def test_a_long_turn_ends_where_another_waits_and_only_then(reader: Reader, clock: Clock) -> None:
    with streaming(reader, clock, threads=1) as door, connected(door, patch("/x", LONG)) as one:
        one.sendall(b"x" * 1000)
        eventually(lambda: reader.taken == 1000)
        clock.now += TURN_S / 2
        one.sendall(b"x" * 1000)
        eventually(lambda: reader.taken == 2000)
        clock.now += TURN_S / 2 + 1
        one.sendall(b"x" * 1000)
        eventually(lambda: reader.taken == 3000)
        assert not reader.ended.is_set()
        with connected(door, patch("/other", 3) + b"abc") as other:
            eventually(door.task_dispatcher.is_short)
            clock.now += 2 * POLL_S
            assert answered(one).startswith(b"HTTP/1.1 200")
            assert answered(other).startswith(b"HTTP/1.1 200")


def test_short_requests_do_not_wait_behind_long_bodies(reader: Reader, clock: Clock) -> None:
    with streaming(reader, clock, threads=1) as door, connected(door, patch("/x", LONG)), connected(door, patch("/x", LONG)):
        eventually(door.task_dispatcher.is_short)
        assert asked(door).startswith(b"HTTP/1.1 200")


def test_what_came_is_kept_when_the_server_ends(reader: Reader, clock: Clock) -> None:
    made: list[socket.socket] = []
    with streaming(reader, clock) as door:
        made.append(connected(door, patch("/x", LONG) + b"x" * 777))
        eventually(lambda: reader.taken == 777)
    assert reader.ended.wait(1)
    made[0].close()


def test_a_connection_that_has_to_make_room_is_closed_by_its_thread(door: Door, reader: Reader) -> None:
    with connected(door, patch("/x", LONG) + b"abc") as one:
        eventually(lambda: reader.taken == 3)
        for channel in list(door.active_channels.values()):
            channel.handle_close()
        assert reader.ended.wait(20)
        assert heard(one) == b""
        eventually(lambda: not door.active_channels)
