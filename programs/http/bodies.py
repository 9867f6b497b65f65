"""A long body that is not gathered first: the thread that answers its request takes it from the connection, as it comes.

What has come can so be kept where the connection breaks off, a body may be of any length, and nothing is copied to a file before
the application sees it. Such a body keeps a thread busy, so these requests have a lane of their own, in which turns end.
"""

import select
import socket
from contextlib import suppress

from waitress.task import WSGITask

from programs.http.channels import Channel, linger

STEP_S = 0.2  # for which a thread sleeps before it looks whether somebody wants the sender's turn to end
PIECE_BYTES = 256 * 1024


class BodyStream:
    """The body of a request (``wsgi.input``), read by one thread. ``length``: bytes that were announced."""

    def __init__(self, channel: "StreamingChannel", length: int, *, asks_first: bool) -> None:
        self.length = length
        self.left = length
        self.began: float | None = None
        self._channel = channel
        self._asks_first = asks_first
        self._is_over = False

    @property
    def is_consumed(self) -> bool:
        """Whether all of it was read."""
        return not self.left

    def quiet_s(self) -> float:
        """For how long nothing has come."""
        return float(self._channel.server.clock() - self._channel.heard)

    def interrupt(self) -> None:
        """Let nothing more come; may be called by any thread."""
        self._is_over = True

    def readinto(self, buffer: memoryview) -> int:
        """Put what has come into the buffer; bytes. 0 at the end, or where the rest does not come: :attr:`left` tells."""
        wanted = buffer[: self.left]
        if not wanted or self._is_over:
            return 0
        if self.began is None:
            self._begin()
        got = self._channel.take_rest(wanted) or self._receive(wanted)
        self.left -= got
        return got

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or all; fewer where the rest does not come."""
        missing = self.left if size < 0 else min(size, self.left)
        parts = []
        while missing:
            buffer = memoryview(bytearray(min(missing, PIECE_BYTES)))
            if not (got := self.readinto(buffer)):
                break
            parts.append(bytes(buffer[:got]))
            missing -= got
        return b"".join(parts)

    def _begin(self) -> None:
        self.began = self._channel.heard = self._channel.server.clock()
        if self._asks_first:
            with suppress(OSError):
                self._channel.socket.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _receive(self, buffer: memoryview) -> int:
        connection: socket.socket = self._channel.socket
        while not self._is_over:
            try:
                got = connection.recv_into(buffer)
            except (BlockingIOError, InterruptedError):
                if self.quiet_s() > self._channel.server.limits.idle_s:
                    break
                _wait(connection)
            except OSError:
                break
            else:
                self._channel.heard = self._channel.server.clock()
                if not got:
                    break
                return got
        self._is_over = True
        return 0


def _wait(connection: socket.socket) -> None:
    """Until something has come, a moment at most."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        poll.poll(STEP_S * 1000)
    else:
        select.select([connection], [], [], STEP_S)


class StreamingTask(WSGITask):  # type: ignore[misc]  # waitress has no types
    """An answer, which may come before its request was read to the end; or be empty."""

    close_on_finish: bool

    def build_response_header(self) -> bytes:
        """The head of the answer. The connection stays where that is possible, also behind an empty answer."""
        body = self.request.body
        if body is not None and not body.is_consumed:  # where the next request would begin is not known
            self.channel.has_rest = True
            self.set_close_on_finish()
        is_last = self.close_on_finish or self.request.headers.get("CONNECTION", "").lower() == "close"
        head = bytes(super().build_response_header())
        if (
            self.version == "1.1" and not is_last and self.status.startswith(("204", "304"))
        ):  # waitress takes a missing length for an unknown one
            self.close_on_finish = False
            head = head.replace(b"\r\nConnection: close", b"", 1)
        return head


class StreamingChannel(Channel):
    """A connection whose longest bodies are read by the threads that answer."""

    task_class = StreamingTask

    has_rest = False
    _body: BodyStream | None = None
    _is_cut = False

    def body_s(self, now: float) -> float:
        """For how long a thread has read a body here; 0: none does."""
        body = self._body
        return 0.0 if body is None or body.began is None else now - body.began

    def interrupt(self) -> None:
        """End the turn of a body that is being read: what has come may be kept."""
        if (body := self._body) is not None:
            body.interrupt()

    def take_rest(self, buffer: memoryview) -> int:
        """Of what has come with the header; bytes."""
        with self.requests_lock:
            got = min(len(buffer), len(self._rest))
            buffer[:got] = self._rest[:got]
            self._rest = self._rest[got:]
        return got

    def service(self) -> None:
        """Answer one request. While a thread reads its body, nobody else closes the connection."""
        request = self.requests[0]
        if request.streamed_bytes and not request.error:
            body = BodyStream(self, request.streamed_bytes, asks_first=request.asks_first)
            request.body = self._body = body
        try:
            super().service()
        finally:
            self._body = None
            if self._is_cut:
                self.will_close = True
                self.server.pull_trigger()

    def handle_close(self) -> None:
        """Close it; where a thread reads a body, that thread finds out first, since it must not read another file's number."""
        body = self._body
        if body is None:
            super().handle_close()
            return
        self._is_cut, self.connected = True, False
        body.interrupt()

    def handle_write(self) -> None:
        """Send what there is. Behind an early answer its sender may go on for a moment, so that it reads why."""
        if not (self.has_rest and self.close_when_flushed):
            super().handle_write()
            return
        if self.total_outbufs_len:
            self._flush_exception(self._flush_some)
        if self.will_close:
            self.handle_close()
        elif not self.total_outbufs_len:
            self.has_rest, self.lingers = False, linger(self)
