"""Log lines that strangers can cause: each kind is written at most once a minute, with how many there were."""

import logging
import math
import time
from collections.abc import Callable

PAUSE_S = 60.0
KINDS = 100
KIND = 40  # characters of a text that make its kind; addresses and numbers come behind


class RareLog(logging.Filter):
    """Lets one line of a kind through in ``pause_s`` seconds. ``clock``: seconds that never jump."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, pause_s: float = PAUSE_S) -> None:
        super().__init__()
        self._clock = clock
        self._pause_s = pause_s
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written; its text then says how many were not."""
        left_out = self.left_out(str(record.msg)[:KIND])
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} more of this kind since)", ()
        return left_out is not None

    def left_out(self, kind: str) -> int | None:
        """How many lines of a kind were left out since the last that was written; None where this one is left out, too."""
        now = self._clock()
        last, left_out = self._seen.get(kind, (-math.inf, 0))
        if now - last < self._pause_s:
            self._seen[kind] = last, left_out + 1
            return None
        if len(self._seen) >= KINDS:
            self._seen.clear()
        self._seen[kind] = now, 0
        return left_out


def seldom_logger(name: str, clock: Callable[[], float] = time.monotonic) -> logging.Logger:
    """A logger of its own whose lines go where all others go, each kind seldom."""
    logger = logging.Logger(name)
    logger.parent = logging.getLogger()
    logger.addFilter(RareLog(clock))
    return logger
