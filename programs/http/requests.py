"""A request while it arrives, as waitress reads it, with what waitress leaves open.

Whatever comes is a request in the end, with a route that may be unknown and an error that says why it cannot be read: nothing is
raised, nothing grows without a limit, and nothing is awaited that cannot come any more.
"""

import re
from typing import Any

from waitress.parser import HTTPRequestParser
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge

MAX_CONTROL_LINE = 1024  # of a chunk: its size and what may follow it
MAX_TRAILER = 8192
UNREADABLE = "The request cannot be read"
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_START = re.compile(rb"\s*[!-~]{1,40} +(?:[a-zA-Z]+://[^/ ]*)?(/[^ ?#\r\n]{0,1000})")


class RequestTimeout(Error):  # type: ignore[misc]  # waitress has no types
    """The rest of a request did not come in time."""

    code = 408
    reason = "Request Timeout"


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """One request. Complete with ``error`` where it cannot be read; ``path`` is "" where not even its route is known."""

    path = command = query = fragment = request_uri = proxy_netloc = ""
    proxy_scheme = url_scheme = "http"
    streamed_bytes = 0  # of a body that is read by whoever answers, not gathered here
    asks_first = False
    body: Any = None
    body_rcv: Any
    completed: bool
    error: Any

    def received(self, data: bytes) -> int:
        """Take what has come; how much of it belongs to this request."""
        if self.body_rcv is None and not self.header_plus and _begins_strangely(data):  # TLS, say
            return self._refuse(data)
        before = self.header_plus
        try:
            consumed = int(super().received(data))
        except Exception:  # noqa: BLE001  # a number with 5000 digits, brackets in a host: waitress knows some of what Python raises
            return self._refuse(before + data, len(data))
        self._require_one_length()
        self._require_short_lines()
        self._leave_body()
        if self.completed:
            self.expect_continue = False  # waitress would wait for a body that is not to come
        if self.error is not None and (not self.path.startswith("/") or self._has_long_header()):
            self.path = _route(before + data)
        return consumed

    def get_body_stream(self) -> Any:
        """The body, as the application reads it."""
        return super().get_body_stream() if self.body is None else self.body

    def _leave_body(self) -> None:
        """A body that the application takes as it comes: for this parser the request ends with its header."""
        is_too_long = isinstance(self.error, RequestEntityTooLarge)
        if not self.headers_finished or self.body_bytes_received or not self.content_length or self.streamed_bytes:
            return
        if (self.error is None or is_too_long) and not self.chunked and self.adj.is_streamed(self):
            self.streamed_bytes, self.asks_first = self.content_length, self.expect_continue
            self.error, self.completed, self.body_rcv = None, True, None

    def _has_long_header(self) -> bool:
        """Then waitress gives it another path."""
        return bool(self.header_bytes_received >= self.adj.max_request_header_size)

    def give_up(self) -> None:
        """Nothing more of it is awaited."""
        self.error = RequestTimeout("The request did not arrive in time")
        self.path = self.path or _route(self.header_plus)
        self.completed, self.expect_continue = True, False

    def _refuse(self, data: bytes, consumed: int | None = None) -> int:
        self.error = BadRequest(UNREADABLE)
        self.path = _route(data)
        self.completed, self.expect_continue = True, False
        return len(data) if consumed is None else consumed

    def _require_one_length(self) -> None:
        """Two statements of where a request ends could be read differently by a proxy."""
        if not self.headers_finished or self.error is not None or self.body_bytes_received:
            return
        if "TRANSFER_ENCODING" in self.headers or (self.chunked and "CONTENT_LENGTH" in self.headers and not self.completed):
            self.error = BadRequest("Where the request ends is not clear")
            self.completed = True

    def _require_short_lines(self) -> None:
        receiver: Any = self.body_rcv
        if not self.chunked or receiver is None or self.error is not None:
            return
        if len(receiver.control_line) > MAX_CONTROL_LINE or len(receiver.trailer) > MAX_TRAILER:
            self.error = BadRequest("A chunk is not described in a line, or has too much behind it")
            self.completed = True


def _begins_strangely(data: bytes) -> bool:
    first = data.lstrip(b"\r\n")[:1]
    return bool(first) and first[0] not in _TOKEN


def _route(head: bytes) -> str:
    """The route that the request's first line names, for an answer in that route's shape."""
    found = _START.match(head[:2000])
    return found[1].decode("latin-1") if found else ""
