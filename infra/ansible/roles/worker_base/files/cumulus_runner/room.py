"""Room in the storage: how much is left for whom, and how long a finished run waits for more of it.

While something waits, an empty file in the job's folder says so to the controller, ``.cumulus.full.log`` or
``.cumulus.full.results``: an empty file can be made where nothing can be written.
"""

from __future__ import annotations

import os
import select
import threading
import time
from typing import Callable

from cumulus_runner.errors import Stopped
from cumulus_runner.folder import JobFolder
from cumulus_runner.programs import StopRequest

LOG, RESULTS = "log", "results"  # what may wait
MB = 1_000_000
LAST_BYTES = 16 * MB  # of a storage, or a hundredth of it, that no result takes: the run's last word needs them
LOOK_S = 1.0
LARGE = 64 * 1024  # bytes for which what was free a second ago is not believed
RETRY_S = 2.0
LONGEST_RETRY_S = 60.0


class Space:
    """The free bytes of the file system that ``folder`` is on, asked for once a second at most."""

    def __init__(self, folder: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._free = self._total = 0

    def take(self, size: int, reserve: int) -> bool:
        """Whether ``size`` bytes leave free ``reserve`` bytes, or a hundredth of all if that is less; they count as taken then.

        True where the file system does not tell.
        """
        with self._lock:
            try:
                self._ask(anew=size >= LARGE)
            except OSError:
                return True
            if self._free - size < min(reserve, self._total // 100):
                return False
            self._free -= size
            return True

    def look_again(self) -> None:
        """Ask anew the next time."""
        with self._lock:
            self._asked = float("-inf")

    def _ask(self, *, anew: bool) -> None:
        if anew or self._clock() - self._asked >= LOOK_S:
            found = os.statvfs(self._folder)
            self._free, self._total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
            self._asked = self._clock()


class Room:
    """The storage's room for one job.

    ``reserve``: bytes that its log leaves while the app runs; ``wait_s``: how long its end may wait. ``say`` takes sentences for
    the job's log.
    """

    def __init__(self, folder: JobFolder, reserve: int, wait_s: float, stop: StopRequest, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._reserve = reserve
        self._wait_s = wait_s
        self._stop = stop
        self._say = say
        self._space = Space(folder.path)
        self._until: float | None = None
        self._pause_s = RETRY_S
        self._waiting: set[str] = set()

    def is_for_log(self, size: int) -> bool:
        """Whether the log may grow by so many bytes while the app runs; says once where not, and once when it may again."""
        if self._reserve and size and not self._space.take(size, self._reserve):
            self._show(LOG, "the storage is nearly full: this log is copied there when there is room again")
            return False
        self._is_over(LOG, "there is room in the storage again: the log is copied on")
        return True

    def fits(self, size: int) -> bool:
        """Whether there is room for so many bytes of a result, or of the log's end."""
        return self._space.take(size, LAST_BYTES)

    def look_again(self) -> None:
        """What is free may not be what it was."""
        self._space.look_again()

    def left_s(self) -> float:
        """Seconds that may still be waited; the run's end waits from now on."""
        if self._until is None:
            self._until = time.monotonic() + self._wait_s
        if self._wait_s:
            longest = _period(self._wait_s)
            self._show(RESULTS, f"the storage is full: the results wait on this machine for room, {longest} at most")
        return max(0.0, self._until - time.monotonic())

    def wait(self, *, tried: bool) -> bool:
        """Wait a moment for room; False once the time for that is over. Raises Stopped.

        ``tried``: there seemed to be enough and was not (a quota), so the next try comes later.
        """
        left_s = self.left_s()
        if left_s <= 0:
            return False
        self._pause_s = min(2 * self._pause_s, LONGEST_RETRY_S) if tried else RETRY_S
        if select.select([self._stop], [], [], min(self._pause_s, left_s))[0]:
            raise Stopped
        self.look_again()
        return True

    @property
    def is_stopped(self) -> bool:
        """Whether somebody asked the job to end."""
        return self._stop.made

    def over(self) -> None:
        """The run's end waits no more."""
        self._is_over(RESULTS, "there is room in the storage again")

    def close(self) -> None:
        """Leave no sign of waiting, also none of an earlier attempt's."""
        for what in (LOG, RESULTS):
            self._folder.show_waiting(what, waits=False)

    def _show(self, what: str, text: str) -> None:
        if what not in self._waiting:
            self._waiting.add(what)
            self._say(text)
        self._folder.show_waiting(what, waits=True)

    def _is_over(self, what: str, text: str) -> None:
        if what in self._waiting:
            self._waiting.discard(what)
            self._say(text)
            self._folder.show_waiting(what, waits=False)


def _period(seconds: float) -> str:
    """A time for people, in the largest unit that it has one of."""
    unit, name = next(one for one in ((3600.0, "hour"), (60.0, "minute"), (1.0, "second")) if seconds >= one[0] or one[0] == 1)
    number = f"{seconds / unit:.1f}".removesuffix(".0")
    return f"{number} {name}" if number == "1" else f"{number} {name}s"
