"""A way to a cloud on which some requests get 429, 500, 503 or no answer, as on a bad day: a reverse proxy on one port.

A service at ``http://127.0.0.1:1234/x`` is reached at ``<url>/1234/x``; addresses in what the services say are rewritten, so that
who has asked Keystone goes on through here.
"""

import http.client
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER_LIMIT_S = 120.0
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host", "accept-encoding"})
# The last two are connections that break: before the service has heard of the request, and after it has done what it asks.
KINDS = ("429", "429 and when", "500", "503", "503 after", "unheard", "unanswered")
TEXTS = {429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}


@dataclass(eq=False)
class Mood:
    """``share``: of the requests that go wrong; ``kinds``: how. ``asked``, ``faults``: how often, and how, they did.

    ``once``: pattern of "METHOD /path" -> what goes wrong with the first such request.
    """

    share: float = 0.05
    kinds: tuple[str, ...] = KINDS
    seed: int = 20
    host: str = "127.0.0.1"
    url: str = ""
    once: dict[str, str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()

    def of(self, method: str, path: str = "") -> str:
        """What goes wrong with this request; "" for nothing."""
        with self._lock:
            self.asked[method] += 1
            kind = self._random.choice(self.kinds) if self._random.random() < self.share else ""
            if wanted := next((part for part in self.once if re.fullmatch(part, f"{method} {path}")), ""):
                kind = self.once.pop(wanted)
            if kind:
                self.faults[f"{kind} {method}"] += 1
            return kind

    def through(self, address: str) -> str:
        """The way to that address through here."""
        return re.sub(rf"http://{re.escape(self.host)}:(\d+)", rf"{self.url}/\1", address)


@contextmanager
def bad_day(mood: Mood) -> Iterator[Mood]:
    """The proxy, on a free port of the loopback address while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kind = mood.of(self.command, self.path.partition("?")[0])
            if kind == "unheard":
                return self._reset()
            if kind and "after" not in kind and kind != "unanswered":
                return self._refuse(int(kind[:3]), {"Retry-After": "1"} if "when" in kind else {})
            status, headers, said = self._pass_on(body)
            if kind == "unanswered":
                return self._reset()
            if kind:
                return self._refuse(int(kind[:3]), {})
            self._send(status, headers, said)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = answer  # noqa: N815  # so http.server calls them

        def _pass_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            port, _, path = self.path.lstrip("/").partition("/")
            connection = http.client.HTTPConnection(mood.host, int(port), timeout=ANSWER_LIMIT_S)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            try:
                connection.request(self.command, f"/{path}", body or None, headers)
                found = connection.getresponse()
                kept = {name: mood.through(value) for name, value in found.getheaders() if name.lower() not in HOP_BY_HOP}
                return found.status, kept, mood.through(found.read().decode("latin-1")).encode("latin-1")
            finally:
                connection.close()

        def _refuse(self, status: int, headers: dict[str, str]) -> None:
            self._send(status, {"Content-Type": "text/html", **headers}, f"<html>{status} {TEXTS[status]}</html>".encode())

        def _send(self, status: int, headers: dict[str, str], said: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(said)

        def _reset(self) -> None:
            """The connection breaks, as where a load balancer is restarted."""
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()
            self.wfile.close()
            self.connection.close()

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A connection that we broke ourselves."""

        def shutdown_request(self, request: Any) -> None:
            self.close_request(request)

    with Server(("127.0.0.1", 0), Handler) as server:
        mood.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield mood
        finally:
            server.shutdown()
            thread.join()
