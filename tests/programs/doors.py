"""A door of a small application over a real socket, with a clock that the test sets."""

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from programs.http.door import Door, Limits, open_door

POLL_S = 0.02
LIMITS = Limits(connections=40, header_bytes=4096, body_bytes=100_000, header_s=10, body_s=60, idle_s=30, kept_bytes=200_000)
GET = b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answers with its route and the length of what it was sent."""
    body = f"{environ['PATH_INFO']} {len(environ['wsgi.input'].read())}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@contextlib.contextmanager
def standing(
    application: Callable[..., Any] = hello,
    limits: Limits = LIMITS,
    threads: Sequence[int] = (2,),
    pool_of: Callable[[Any], int] = lambda _request: 0,
    clock: Clock | None = None,
    poll_s: float = POLL_S,
    is_streamed: Callable[[Any], bool] = lambda _request: False,
) -> Iterator[Door]:
    """A door that serves within the block."""

    def refusal(path: str, message: str) -> bytes:
        return json.dumps([path, message]).encode()

    door = open_door(application, "127.0.0.1", 0, limits, refusal, threads, pool_of, clock or Clock(), poll_s, is_streamed)
    with running(door):
        yield door


@contextlib.contextmanager
def running(door: Door) -> Iterator[Door]:
    """Serve within the block."""
    thread = threading.Thread(target=door.run, daemon=True)
    thread.start()
    try:
        yield door
    finally:
        door.end()
        thread.join(10)


def connected(door: Door, says: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
    """A connection that has said something."""
    return connected_to(int(door.effective_port), says, source)


def connected_to(port: int, says: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
    """The same by the port."""
    made = socket.create_connection(("127.0.0.1", port), 20, (source, 0))
    with contextlib.suppress(ConnectionError):  # it may be closed already
        made.sendall(says)
    return made


def closing(connections: list[socket.socket]) -> contextlib.ExitStack:
    """A block at whose end they are closed."""
    stack = contextlib.ExitStack()
    for one in connections:
        stack.enter_context(one)
    return stack


def heard(connection: socket.socket) -> bytes:
    """All that comes until the other side closes; "" where it was cut off."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def asked(door: Door, request: bytes = GET, source: str = "127.0.0.1") -> bytes:
    """The answer to a request on a connection of its own."""
    with connected(door, request, source) as one:
        return answered(one)


def answered(connection: socket.socket) -> bytes:
    """One answer of a connection that stays."""
    got = b""
    while b"\r\n\r\n" not in got and (part := connection.recv(65536)):
        got += part
    head, _, body = got.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: ([0-9]+)", head)
    while length and len(body) < int(length[1]) and (part := connection.recv(65536)):
        body += part
    return head + b"\r\n\r\n" + body


def heard_in_time(connection: socket.socket, clock: Clock) -> bytes:
    """All that comes until the other side closes, while a second passes each few milliseconds."""
    parts = []
    connection.settimeout(POLL_S)
    with contextlib.suppress(ConnectionError):
        for _ in range(1000):
            try:
                if not (part := connection.recv(65536)):
                    break
                parts.append(part)
            except TimeoutError:
                clock.now += 1
        else:
            raise AssertionError("it is never closed")
    connection.settimeout(20)
    return b"".join(parts)


def is_open(connection: socket.socket) -> bool:
    """Whether the other side has not closed it."""
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    finally:
        connection.settimeout(20)
