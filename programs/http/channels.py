"""One connection of a server: what it is doing, and since when. Whether that is too long is in deadlines.py.

Whatever arrives on it is answered or closed: errors in the shape that the program gives its routes, and one request at a time,
however many were sent in one piece. Times are seconds of the server's clock, which never jumps.
"""

import ipaddress
import socket
import threading
from contextlib import suppress
from enum import Enum, auto
from typing import Any

from waitress.channel import HTTPChannel
from waitress.task import ErrorTask

from programs.http.requests import Parser

IPV6_NETWORK = 64  # who has one IPv6 address has all of its network


class Phase(Enum):
    """What a connection is doing."""

    IDLE = auto()
    HEADER = auto()
    BODY = auto()
    WORK = auto()
    ANSWER = auto()
    LINGER = auto()


class JsonError(ErrorTask):  # type: ignore[misc]  # waitress has no types
    """The answer to a request that never reaches the application, in the shape of its route."""

    def execute(self) -> None:
        """Send it and close the connection: where the next request would begin is not known."""
        error: Any = self.request.error
        body = self.channel.server.refusal(self.request.path, str(error.body))
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend([("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        self.set_close_on_finish()
        self.content_length = len(body)
        self.channel.write_soon(self.build_response_header() + body)  # in one piece
        self.wrote_header = True


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection.

    ``home``: whose it is, by its address. ``since``: when it began what it is doing. ``heard``: when it last sent
    something, or took some of an answer. ``lingers``: it has its answer, and what it still sends is discarded.
    """

    error_task_class = JsonError
    parser_class = Parser
    request: Any
    sent_continue: bool

    def __init__(self, server: Any, sock: Any, addr: Any, adj: Any, map: Any = None) -> None:  # noqa: A002  # waitress's word
        self.logger = server.logger
        self._clock = server.clock
        self.since = self.heard = self._clock()
        self._blocked: float | None = None
        self.lingers = False
        self._rest = b""
        self.home = home_of(str(addr[0]))
        super().__init__(server, sock, addr, adj, map=map)

    @property
    def phase(self) -> Phase:
        """What it is doing at this moment."""
        request = self.request
        if self.lingers:
            return Phase.LINGER
        if self.requests:
            return Phase.ANSWER if self._blocked is not None else Phase.WORK
        if self.total_outbufs_len:
            return Phase.ANSWER
        if request is None:
            return Phase.IDLE
        return Phase.BODY if request.headers_finished else Phase.HEADER

    def blocked_s(self, now: float) -> float:
        """How long a thread has waited for its reader; 0: none waits."""
        began = self._blocked
        return 0.0 if began is None else now - began

    def received(self, data: bytes) -> bool:
        """Take what has come. What follows a whole request waits, as bytes, until that is answered."""
        with self.requests_lock:
            if self.will_close or self.close_when_flushed:
                return False
            self.heard = self._clock()
            data, self._rest = self._rest + data, b""
            while data and not self.requests:
                data = data[self._take(data) :]
            self._rest = data
            is_refused = bool(self.requests and self.requests[0].error)
        if is_refused:
            self._refuse()
        return True

    def handle_read(self) -> None:
        """Read what there is; discard it if the sender is refused."""
        if not self.lingers:
            super().handle_read()
            return
        try:
            self.recv(self.adj.recv_bytes)  # closes it at the end of what is sent
        except OSError:
            self.handle_close()

    def _take(self, data: bytes) -> int:
        if self.request is None:
            self.request, self.since = self.parser_class(self.adj), self.heard
        request = self.request
        had_header = request.headers_finished
        taken: int = request.received(data)
        if request.headers_finished and not had_header:
            self.since = self.heard
        if request.expect_continue and request.headers_finished and not self.sent_continue:
            self.send_continue()
        if request.completed:
            self.sent_continue = False
            self.request = None
            if not request.empty:
                self.requests.append(request)
                if not request.error:
                    self.server.add_task(self)
        return taken

    def _refuse(self) -> None:
        """Say at once why a request cannot be read, without occupying a worker thread."""
        try:
            self.service()
        except Exception:
            self.logger.exception("a refusal cannot be sent")
            self.will_close = True  # the loop must go on
        if self.will_close or self.total_outbufs_len or self.socket is None or threading.get_ident() != self.server.loop_thread:
            return  # it is closed in the usual way
        self.lingers = linger(self)

    def readable(self) -> bool:
        """Whether the loop should listen to it."""
        return self.socket is not None and bool(super().readable())

    def writable(self) -> bool:
        """Whether the loop should write to it."""
        return self.socket is not None and bool(super().writable())

    def service(self) -> None:
        """Answer one request, then take up what came behind it."""
        super().service()
        self.since = self.heard = self._clock()
        if self._rest:
            self.received(b"")

    def cancel(self) -> None:
        """Answer nothing more."""
        for request in self.requests:
            request.close()
        super().cancel()

    def handle_close(self) -> None:
        """Close it, and drop what has arrived of a request."""
        if self.socket is None:
            return
        self._rest = b""
        with suppress(AttributeError):  # there is none, or a thread takes it away at this moment
            self.request.close()
        with suppress(OSError):  # of the socket; the loop must go on
            super().handle_close()

    def give_up(self) -> None:
        """Answer a request that does not arrive completely: otherwise its sender may wait for ever."""
        with self.requests_lock:
            request, self.request = self.request, None
            if request is None or self.requests:
                return
            request.give_up()
            self.requests.append(request)
        self._refuse()

    def _flush_some(self, do_close: bool = True) -> bool:
        if super()._flush_some(do_close=do_close and threading.get_ident() == self.server.loop_thread):
            self.heard = self._clock()
            return True
        return False

    def _flush_outbufs_below_high_watermark(self) -> None:
        self._blocked = self.heard = self._clock()
        try:
            super()._flush_outbufs_below_high_watermark()
        finally:
            self._blocked = None


def linger(channel: Channel) -> bool:
    """Say nothing more on it, so that a sender who continues for a while reads what was said; True."""
    with suppress(OSError):
        channel.socket.shutdown(socket.SHUT_WR)
    channel.close_when_flushed, channel.since = False, channel.server.clock()
    return True


def home_of(address: str) -> str:
    """Who an address belongs to: an IPv4 address is one computer, an IPv6 address stands for its network."""
    with suppress(ValueError):
        found = ipaddress.ip_address(address.partition("%")[0])
        if found.version == 6 and not found.is_link_local:
            return str(ipaddress.ip_network((found, IPV6_NETWORK), strict=False))
    return address
