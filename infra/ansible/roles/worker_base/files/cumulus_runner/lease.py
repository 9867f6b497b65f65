"""The lease of a machine: for how long it may go on without a word from the controller.

The controller renews it by touching a file in the job's folder. When it is over the job ends here, so that it has a result; the
machine's own timer (``cumulus-lease``) then switches it off, also where nothing of this program lives any more. Counted in
seconds since the machine's start, which no clock that is set can change.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Callable

FOREWARNING_S = 60.0  # the job ends so much before the machine, or a quarter of the lease, if that is less


def uptime() -> float:
    """Seconds since the machine's start."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """The lease of the machine that works for the job folder at ``path``. ``length_s``: 0 for no limit.

    ``record``: the file that the machine's timer reads, "" where there is none.
    """

    def __init__(self, path: str, length_s: float, record: str = "", now: Callable[[], float] = uptime) -> None:
        self._path = os.path.join(path, ".cumulus.lease")
        self._length_s = length_s
        self._record = record
        self._now = now
        self._seen: float | None = None
        self._until = 0.0
        self._renew()

    def is_over(self) -> bool:
        """Look whether the controller has renewed it; whether it is over, or all but."""
        if not self._length_s:
            return False
        with suppress(OSError):  # a storage that is away renews nothing
            at = os.stat(self._path).st_mtime
            if at != self._seen:
                self._seen = at
                self._renew()
        return self._now() > self._until - min(FOREWARNING_S, self._length_s / 4)

    def _renew(self) -> None:
        self._until = self._now() + self._length_s
        if self._record and self._length_s:
            with suppress(OSError):
                with open(f"{self._record}.new", "w", encoding="ascii") as file:
                    file.write(f"{int(self._until)}\n")
                os.rename(f"{self._record}.new", self._record)
