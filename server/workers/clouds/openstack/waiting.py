"""Waiting for the cloud: it is asked again and again, since nothing there tells when it is done."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from server.states import Reason
from server.workers.clouds.base import CloudError

Found = TypeVar("Found")
POLL_S = 1.0


@dataclass(frozen=True)
class Waiting:
    """``clock``: seconds that never jump; ``pause``: sleeps for as many."""

    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep

    def until(self, look: Callable[[], Found | None], limit_s: float, late: str) -> Found:
        """What ``look`` returns once that is not None. Raises CloudError, with ``late`` in it, after ``limit_s`` seconds."""
        deadline = self.clock() + limit_s
        while (found := look()) is None:
            if self.clock() > deadline:
                raise CloudError(f"{late} after {limit_s:.0f} s", Reason.CLOUD_BUSY)
            self.pause(POLL_S)
        return found
