"""The door of a server: which connections there are, and which have to go so that others can come.

waitress does the work. Its own limits refuse the latest client and look at connections twice a minute; here no client is refused:
the idlest or slowest connection of the client with the most of them makes room, and the door looks every second.
"""

import errno
import logging
import os
import select
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from programs.http.bodies import StreamingChannel
from programs.http.channels import Phase
from programs.http.deadlines import end_if_overdue, kept_bytes, worth
from programs.http.rare_log import seldom_logger
from programs.http.thread_pools import ThreadPools

POLL_S = 1.0
PAUSE_S = 0.5  # without new connections, where the system has no room for another one
BACKLOG = 4096  # who waits to be taken, so far as the system permits
ACCEPTED_AT_ONCE = 256
ROOM_SHARE = 20  # where the limit is reached, one in so many makes room at once: to look for them costs time, too
TURN_S = 30.0  # so long a body is read while others wait for the thread that reads it
PATIENCE_S = 5.0  # so long a thread waits for a slow reader while others wait for a thread
KEPT_BYTES = 1 << 28
RECEIVED_BYTES = 16 * 1024
MEMORY_BYTES = 16 * 1024  # of a body that has come; a longer one is kept in a file
UNSENT_MEMORY_BYTES = 64 * 1024  # the same of an answer that the system does not take yet
UNSENT_BYTES = 1 << 20  # of an answer that a client is slow to take; the rest waits to be made
NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
Refusal = Callable[[str, str], bytes]


class ManyAddresses(Exception):
    """The host is a name of several addresses."""


@dataclass(frozen=True)
class Limits:
    """What a door lets in; ``kept_bytes``: of all bodies that have arrived and are not dealt with. Times in seconds."""

    connections: int
    header_bytes: int
    body_bytes: int
    header_s: float
    body_s: float
    idle_s: float
    kept_bytes: int = KEPT_BYTES


class Door(TcpWSGIServer):  # type: ignore[misc]  # waitress has no types
    """A web server within ``limits``. ``refusal`` gives the body that says no, from the path ("" if unknown) and a text."""

    channel_class = StreamingChannel

    def __init__(
        self,
        application: Callable[..., object],
        adjustments: Adjustments,
        pools: ThreadPools,
        limits: Limits,
        refusal: Refusal,
        logger: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self.refusal = refusal
        self.clock = clock
        self.logger = logger
        self.loop_thread: int | None = None
        self._next_poll = self._closed_until = 0.0
        self._newcomers: list[tuple[Any, Any]] = []
        self._is_full = self._has_ended = False
        super().__init__(application, {}, dispatcher=pools, adj=adjustments, sockinfo=self.listens_at(adjustments))

    def listens_at(self, adjustments: Adjustments) -> tuple[Any, ...]:
        """Family, type, protocol and address of its socket."""
        return tuple(adjustments.listen[0])

    def run(self) -> None:
        """Serve until SystemExit, Ctrl-C or :meth:`end`; later connections are refused at once."""
        self.loop_thread = threading.get_ident()
        turn = wasyncore.poll2 if hasattr(select, "poll") else wasyncore.poll
        try:
            while not self._has_ended:
                self.prepare()
                turn(self.adj.asyncore_loop_timeout, self._map)
        except (SystemExit, KeyboardInterrupt):
            pass
        self.socket.close()
        for channel in self._channels():
            channel.interrupt()  # what has come of a body is kept
        self.task_dispatcher.shutdown()

    def pull_trigger(self) -> None:
        """Have the loop look at its connections, unless it is the loop that asks."""
        if threading.get_ident() != self.loop_thread:
            super().pull_trigger()

    def end(self) -> None:
        """Have :meth:`run` return, from another thread."""
        self._has_ended = True
        self.pull_trigger()

    def prepare(self) -> None:
        """Let in who came and close what has to go.

        Between two turns only: within one, a number of a file that was closed and given again would pass for the former's.
        """
        now = self.clock()
        if now >= self._next_poll:
            self._next_poll = now + POLL_S
            self.close_overdue(now)
        newcomers, self._newcomers = self._newcomers, []
        for connection, address in newcomers:
            try:
                self.set_socket_options(connection)
                self.channel_class(self, connection, address, self.adj, map=self._map)
            except OSError:  # it has gone already
                connection.close()
        too_many = len(self.active_channels) - self.limits.connections
        if too_many > 0 or self._is_full:
            self._is_full = False
            self._make_room(max(too_many, 1), now)

    def close_overdue(self, now: float) -> None:
        """Close what keeps others waiting, or takes too long."""
        for channel in self._channels():
            end_if_overdue(channel, now)
        self._bound_bodies()
        if self.task_dispatcher.is_short():
            for channel in self._channels():
                self._end_turn(channel, now)

    def _end_turn(self, channel: StreamingChannel, now: float) -> None:
        """Take its thread from a slow reader, or a long sender, where others wait for it."""
        request = next(iter(channel.requests), None)
        if request is None or not self.task_dispatcher.is_short_for(request):
            return
        if channel.blocked_s(now) > PATIENCE_S:
            channel.handle_close()
        elif channel.body_s(now) > TURN_S:
            channel.interrupt()

    def readable(self) -> bool:
        """Whether somebody may come in now."""
        return bool(self.accepting) and self.clock() >= self._closed_until

    def handle_accept(self) -> None:
        """Take who waits, some at a time."""
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted = self.accept()
            except OSError as problem:
                self._pause(problem)
                return
            if accepted is None:
                return
            self._newcomers.append(accepted)

    def _pause(self, problem: OSError) -> None:
        """The socket stays ready, so to try again at once would be all that this process does."""
        self.logger.warning("a connection cannot be taken: %s", os.strerror(problem.errno or 0))
        if problem.errno in NO_ROOM:
            self._closed_until = self.clock() + PAUSE_S
            self._is_full = True

    def _make_room(self, wanted: int, now: float) -> None:
        """As often as wanted, the client with the most connections loses one: an idle one, or else the slowest.

        Some more of the idle ones go with them, so that the next comers find room.
        """
        channels = self._channels()
        spare = len(channels) // ROOM_SHARE
        self.logger.warning("all %d connections are in use: idle and slow ones make room", len(channels))
        owned = defaultdict(list)
        for number, channel in enumerate(channels):
            owned[channel.home].append((worth(channel, now), number))
        for own in owned.values():
            own.sort(reverse=True)
        for place in range(min(len(channels), max(wanted, spare))):
            (_, is_busy, _), number = max(owned.values(), key=len).pop()
            if place >= wanted and is_busy:
                return
            channels[number].handle_close()

    def _bound_bodies(self) -> None:
        """Bodies lie in files of the temporary folder; where they fill it, the slowest connections close first."""
        holders = [channel for channel in self._channels() if kept_bytes(channel) > MEMORY_BYTES]
        kept = sum(kept_bytes(channel) for channel in holders)
        for channel in sorted(holders, key=lambda one: (one.phase is Phase.WORK, one.since)):
            if kept <= self.limits.kept_bytes:
                return
            kept -= kept_bytes(channel)
            self.logger.warning("more is being sent than can be kept: the slowest sender is dropped")
            channel.handle_close()

    def _channels(self) -> list[StreamingChannel]:
        return list(self.active_channels.values())


def open_door(
    application: Callable[..., object],
    host: str,
    port: int,
    limits: Limits,
    refusal: Refusal,
    threads: Sequence[int] = (4,),
    pool_of: Callable[[Any], int] = lambda _request: 0,
    clock: Callable[[], float] = time.monotonic,
    poll_s: float = POLL_S,
    is_streamed: Callable[[Any], bool] = lambda _request: False,
) -> Door:
    """A door that listens. ``threads``: those of each pool; ``poll_s``: the longest that the loop sleeps.

    ``is_streamed`` gets a request that has come as far as its body, and says whether the application reads that as it comes
    (:mod:`programs.http.bodies`), however long it is.

    Raises OSError where it cannot listen, ValueError where no computer is known by that name, ManyAddresses.
    """
    adjustments = adjusted(limits, poll_s, is_streamed, host=host, port=port)
    if len(adjustments.listen) > 1:
        raise ManyAddresses
    logger = seldom_logger("waitress", clock)
    return Door(application, adjustments, ThreadPools(threads, pool_of, logger), limits, refusal, logger, clock)


def adjusted(
    limits: Limits,
    poll_s: float = POLL_S,
    is_streamed: Callable[[Any], bool] = lambda _request: False,
    **where: Any,
) -> Adjustments:
    """What waitress has to know of a door. Raises ValueError where no computer is known by the name."""
    adjustments = Adjustments(
        **where,
        ident=None,
        clear_untrusted_proxy_headers=False,  # ClientAddresses takes them out
        backlog=BACKLOG,
        recv_bytes=RECEIVED_BYTES,
        inbuf_overflow=MEMORY_BYTES,
        outbuf_overflow=UNSENT_MEMORY_BYTES,
        outbuf_high_watermark=UNSENT_BYTES,
        max_request_header_size=limits.header_bytes,
        max_request_body_size=limits.body_bytes,
    )
    adjustments.asyncore_loop_timeout = poll_s
    adjustments.is_streamed = is_streamed
    return adjustments
