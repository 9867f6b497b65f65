"""Load on a web server: keep-alive connections that each ask again once they are answered. Run as a process of its own.

Standard input: a :class:`Order` as JSON. Standard output: a :class:`Seen` as JSON. Plain sockets and one thread, so that it takes
little of the computer that it shares with the server.
"""

import json
import select
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field

STATUS = b"HTTP/1.1 200 "
LENGTH = b"\r\nContent-Length: "
WARM_SHARE = 0.1
ANSWER_LIMIT_S = 30.0


@dataclass(frozen=True)
class Order:
    """What to do: each connection takes its turn of the requests (raw text), for ``seconds`` or until ``count`` are answered.

    ``pause_s``: seconds from an answer to the connection's next question; the first ones are spread over as long.
    ``warm_share``: of the time, in which answers are not counted.
    """

    port: int
    requests: list[str]
    connections: int
    seconds: float
    count: int
    pause_s: float = 0.0
    warm_share: float = WARM_SHARE


@dataclass
class Seen:
    """Latencies in seconds, sorted; the time that all took; bytes of the last answer; CPU seconds of the generator itself."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    size: int = 0
    cpu_s: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """The latency that ``share`` of the answers did not exceed, seconds."""
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


class Connection:
    """One client: asks, takes the answer, asks again."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_LIMIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request
        self._parts: list[bytes] = []
        self._missing = 0
        self.size = 0
        self.asked = 0.0

    def ask(self) -> None:
        self.asked = time.perf_counter()
        self.socket.sendall(self._request)

    def answered(self) -> bool:
        """Take what has come; whether the answer is complete."""
        part = self.socket.recv(1 << 20)
        if not part:
            raise ConnectionError("the server closed a connection")
        if self._missing:
            self._missing -= len(part)
            return self._missing == 0
        self._parts.append(part)
        head, blank, body = b"".join(self._parts).partition(b"\r\n\r\n")
        if not blank:
            return False
        self._parts.clear()
        if not head.startswith(STATUS):
            raise ConnectionError(f"the server answered {head[:80]!r}")
        self.size = int(head.partition(LENGTH)[2].split(b"\r\n", 1)[0])
        self._missing = self.size - len(body)
        return self._missing == 0


def load(order: Order) -> Seen:
    """Ask until time or count is up; the beginning warms up and is not counted."""
    requests = [text.encode() for text in order.requests]
    connections = {}
    poll = select.epoll()
    for number in range(order.connections):
        connection = Connection(order.port, requests[number % len(requests)])
        connections[connection.socket.fileno()] = connection
        poll.register(connection.socket, select.EPOLLIN)
    seen = Seen()
    start = time.perf_counter()
    counted, end = start + order.warm_share * order.seconds, start + order.seconds
    now = start
    spread = order.pause_s / order.connections
    resting = deque((start + number * spread, connection) for number, connection in enumerate(connections.values()))
    while now < end and len(seen.latencies) < order.count:
        ready = poll.poll(max(0.0, resting[0][0] - time.perf_counter()) if resting else ANSWER_LIMIT_S)
        if not ready and not resting:
            raise TimeoutError("the server does not answer")
        while resting and resting[0][0] <= time.perf_counter():
            resting.popleft()[1].ask()
        for number, _ in ready:
            connection = connections[number]
            if connection.answered():
                now = time.perf_counter()
                if connection.asked >= counted:
                    seen.latencies.append(now - connection.asked)
                resting.append((now + order.pause_s, connection)) if order.pause_s else connection.ask()
    seen.seconds = now - counted
    seen.size = max(connection.size for connection in connections.values())
    seen.latencies.sort()
    seen.cpu_s = time.process_time()
    return seen


if __name__ == "__main__":
    print(json.dumps(asdict(load(Order(**json.load(sys.stdin))))))
