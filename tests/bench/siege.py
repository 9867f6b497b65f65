"""What strangers do to a server: malformed requests, idle connections, posts that never end. Its own clients meanwhile.

Used by the tests with small numbers and by `python -m tests.bench door` with those that the door was made for.
"""

import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Thread

MALFORMED = (
    bytes.fromhex("16030100c8010000c40303") + bytes(range(32)) + b"\r\n\r\n" + bytes(150),  # TLS
    b"GET / HTTP/1.1\r\nBad header\r\n\r\n",
    b"get / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\0b\r\n\r\n",
    b"\r\n\r\n\r\n\0\0\0\r\n\r\n",
    b"GET  /  HTTP/1.1\r\n\r\n",
    b"GET /\r\n\r\n\r\nGET",
    b"GET http://[ HTTP/1.1\r\n\r\n",
    b"GET http://[::1]x/ HTTP/1.1\r\nHost: [\r\n\r\n",
    b"POST /start HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    b"POST /start HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /start HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"POST /start HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /start HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"POST /start HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /search HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 5000,
    b"POST /search HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    b"GET /info HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: x\r\n\r\n",
    b"GET /" + b"a" * 40_000,
    b"GET / HTTP/1.1\r\n" + b"Cookie: a=b; c=d\r\n" * 3000,
    b"GET / HTTP/9.9\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    b"\xff" * 100 + b"\r\n\r\n",
    b" GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n folded\r\n\r\n",
    b"GET /%ff%00%0d%0a HTTP/1.1\r\nHost: \xff\r\n\r\n",
)
SLOW_POST = (
    b"POST /start HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b"Content-Length: 20000000\r\n\r\n--b"
)


BURST, BURST_PAUSE_S = 250, 0.05  # faster than any network scanner; all at once would measure how fast both ends are


@dataclass
class Waits:
    """How long answers took, seconds, in the order of their requests; and what went wrong."""

    polls: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def poll(self, share: float) -> float:
        """The time that this share of the polls did not exceed."""
        return sorted(self.polls)[min(len(self.polls) - 1, int(share * len(self.polls)))]


def ask(port: int, target: str, timeout_s: float = 30.0) -> bytes:
    """The whole answer on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as one:
        one.sendall(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: one.recv(65536), b""))


@contextmanager
def polling(port: int, pause_s: float = 0.02, poll: str = "/joblist/0/100", health: str = "/healthz") -> Iterator[Waits]:
    """Ask as clients do, each time on a new connection, as long as the block lasts."""
    waits, ended = Waits(), Event()

    def run(target: str, times: list[float]) -> None:
        while not ended.wait(pause_s):
            began = time.perf_counter()
            try:
                answer = ask(port, target)
            except OSError as problem:
                waits.failures.append(f"{target}: {problem!r}")
                continue
            times.append(time.perf_counter() - began)
            if not answer.startswith(b"HTTP/1.1 200"):
                waits.failures.append(f"{target}: {answer[:80]!r}")

    threads = [Thread(target=run, args=one) for one in ((poll, waits.polls), (health, waits.health))]
    for thread in threads:
        thread.start()
    try:
        yield waits
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def send_malformed(port: int, count: int) -> list[socket.socket]:
    """Send what no server can read, each on a connection of its own, BURST at a time; a tenth stays open."""
    made: list[socket.socket] = []
    for begun in range(0, count, BURST):
        burst = connect(port, min(BURST, count - begun), lambda number: MALFORMED[number % len(MALFORMED)])
        close(burst[: -BURST // 10])
        made += burst[-BURST // 10 :]
        time.sleep(BURST_PAUSE_S)
    return made


def connect(port: int, count: int, says: Callable[[int], bytes] = lambda _number: b"") -> list[socket.socket]:
    """So many connections, each with something to say."""
    made = []
    for number in range(count):
        one = socket.create_connection(("127.0.0.1", port), 30)
        with suppress(OSError):  # it may be closed already
            one.sendall(says(number))
        made.append(one)
    return made


def trickle(connections: list[socket.socket], seconds: float) -> None:
    """Send a byte now and then on each."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for one in random.sample(connections, len(connections) // 10 + 1):
            with suppress(OSError):
                one.sendall(b"x")
        time.sleep(0.1)


def close(connections: list[socket.socket]) -> None:
    """Hang up."""
    for one in connections:
        one.close()
