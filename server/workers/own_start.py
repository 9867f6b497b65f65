"""Waiting for a machine that starts its job by itself when it has booted: for how long, and what is looked at meanwhile.

The machine is not logged in on, which would take an emulated or small one a second of what it needs to boot.
"""

import socket
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

POLL_S = 0.1
CONNECT_EVERY_S = 1.0
CONNECT_LIMIT_S = 1.0
PATIENCE_S = 20.0  # of a machine that takes logins and has not begun; it may have waited for the storage


def takes_connections(host: str, port: int) -> bool:
    """Whether something listens where the machine's ssh server will be."""
    try:
        with closing(socket.create_connection((host, port), CONNECT_LIMIT_S)):
            return True
    except OSError:
        return False


@dataclass(frozen=True)
class OwnStart:
    """``clock``: seconds that never jump; ``pause``: sleeps for as many; ``connects``: whether host and port take connections."""

    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    connects: Callable[[str, int], bool] = takes_connections

    def awaited(
        self, host: str, port: int, has_started: Callable[[], bool], unwanted: Callable[[], bool], limit_s: float
    ) -> bool:
        """Whether the job has begun; False once the machine needs the order from here, or is ``unwanted``.

        It may begin after all: an attempt is taken up once only, whoever orders it.
        """
        begin = self.clock()
        answered: float | None = None
        next_try = begin
        while not has_started():
            now = self.clock()
            if unwanted() or now - begin > limit_s or (answered is not None and now - answered > PATIENCE_S):
                return False
            if answered is None and now >= next_try:
                answered = self.clock() if self.connects(host, port) else None
                next_try = now + CONNECT_EVERY_S
            self.pause(POLL_S)
        return True
