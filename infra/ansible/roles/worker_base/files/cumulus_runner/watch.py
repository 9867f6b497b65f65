"""Watching a program that runs: does it still get on, and does it keep to its number of tasks. Owns the rules; ends nothing.

A program hangs that neither uses the processor nor writes nor logs for a while. What only waits (for a thread that died, a
disk, the network) does nothing of that; what turns in a circle uses the processor, and is left to the limit of the whole run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable

from cumulus_runner.family import Family, all_tasks
from cumulus_runner.lines import stamp
from cumulus_runner.orders import Places, Plan

STALLED, CROWDED = "stalled", "crowded"
LONGEST_PAUSE_S, SHORTEST_PAUSE_S = 10.0, 0.05
PAUSES = 40  # looks within the time limit
IDLE_SHARE = 0.002  # of one processor: the clockwork of a runtime (Java, .NET) that has nothing to do
MAX_ENTRIES = 100_000
TASKS_PAUSE_S = 0.25
WATCHED_FOR_S, NEWCOMERS = 0.5, 32


@dataclass(frozen=True)
class Limits:
    """``stall_s``: seconds without a sign of life; 0: any number. ``tasks``: processes and threads at once; 0: any number."""

    stall_s: float = 0.0
    tasks: int = 0


class Watch:
    """Watches one program. ``name``: what people know it by; ``places``: folders and files that it may write to.

    ``say`` writes a line of the log. ``excused`` says whether there is a reason to do nothing, such as a storage that is away.
    ``clock``: seconds that pass; ``now``: Unix seconds. A machine that stood still was no program's fault: the time between two
    looks counts as twice the pause between them at most.
    """

    def __init__(
        self,
        limits: Limits,
        name: str,
        family: Family,
        places: Iterable[str],
        say: Callable[[str], None],
        excused: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.family = family
        self._limits = limits
        self._name = name
        self._places = tuple(places)
        self._say = say
        self._excused = excused
        self._clock = clock
        self._now = now
        self._pause_s = min(LONGEST_PAUSE_S, max(SHORTEST_PAUSE_S, limits.stall_s / PAUSES))
        self._looked = clock()
        self._counted = clock()
        self._others = all_tasks()
        self._heard = True
        self._footprint: object = None
        self._quiet_s = 0.0
        self._since = now()
        self._suspected = False

    def due_s(self) -> float:
        """Seconds until the next look; infinite where nothing is limited."""
        now = self._clock()
        looks = [self._looked + self._pause_s - now] if self._limits.stall_s else []
        counts = [self._counted + TASKS_PAUSE_S - now] if self._limits.tasks else []
        return max(0.0, min([*looks, *counts], default=float("inf")))

    def heard(self) -> None:
        """The program has said something."""
        self._heard = True

    def look(self) -> str:
        """Look if it is time to; STALLED or CROWDED where the program has to be ended, else ""."""
        now = self._clock()
        if self._limits.tasks and now - self._counted >= TASKS_PAUSE_S:
            self._counted = now
            if self._is_crowd():
                return CROWDED
        if self._limits.stall_s and now - self._looked >= self._pause_s:
            passed_s, self._looked = min(now - self._looked, 2 * self._pause_s), now
            return self._judge(passed_s)
        return ""

    def left_a_bomb(self) -> bool:
        """Whether what the program has left at its end multiplies: its children make children while one looks."""
        if not self._limits.tasks:
            return False
        left = first = self._pids()
        seen = set(first)
        end = time.monotonic() + WATCHED_FOR_S
        while left and time.monotonic() < end:
            seen |= left
            if len(seen) >= len(first) + NEWCOMERS or len(left) >= self._limits.tasks:
                return True
            time.sleep(SHORTEST_PAUSE_S)
            left = self._pids()
        return False

    def why(self, outcome: str) -> str:
        """What the program is ended for, in words."""
        if outcome == CROWDED:
            return f"it started more than {self._limits.tasks} processes and threads at once, or went on starting them at its end"
        return (
            f"it did nothing for {self._quiet_s:.0f} s (no CPU time, no output and no log line since "
            f"{stamp(self._since)}; {self.family.told() or 'no process left'})"
        )

    def _pids(self) -> set[int]:
        return {one.pid for one in self.family.members()}

    def _is_crowd(self) -> bool:
        """The machine's own count is asked first, which costs next to nothing."""
        return all_tasks() - self._others >= self._limits.tasks // 2 and self.family.tasks() >= self._limits.tasks

    def _judge(self, passed_s: float) -> str:
        alive = self._is_alive(passed_s)
        if not alive and self._excused():
            return ""
        if alive:
            if self._suspected:
                self._say(f"{self._name} goes on")
            self._suspected, self._quiet_s, self._since = False, 0.0, self._now()
            return ""
        self._quiet_s += passed_s
        if self._quiet_s >= self._limits.stall_s:
            return STALLED
        if self._quiet_s >= self._limits.stall_s / 2 and not self._suspected:
            self._suspected = True
            self._say(f"{self._name} seems to hang since {stamp(self._since)}: no CPU time, no output and no log line")
        return ""

    def _is_alive(self, passed_s: float) -> bool:
        heard, self._heard = self._heard, False
        deeds = self.family.deeds()
        busy = bool(deeds.written) or deeds.cpu_s > IDLE_SHARE * passed_s
        if heard or busy:
            self._footprint = None
            return True
        before, self._footprint = self._footprint, footprint(self._places)
        return before is not None and before != self._footprint


def footprint(places: Iterable[str]) -> tuple[int, int, int]:
    """How many files there are below these folders, their bytes, and when the last one changed; of very many a part."""
    count = size = latest = 0
    pending = list(places)
    while pending and count < MAX_ENTRIES:
        path = pending.pop()
        try:
            found = os.lstat(path)
            if not os.path.islink(path) and os.path.isdir(path):
                pending.extend(entry.path for entry in os.scandir(path))
        except OSError:
            continue
        count, size, latest = count + 1, size + found.st_size, max(latest, found.st_mtime_ns)
    return count, size, latest


class Watches:
    """Makes the watches of one job."""

    def __init__(
        self,
        plan: Plan,
        places: Places,
        say: Callable[[str], None],
        excused: Callable[[], bool] = lambda: False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._limits = Limits(plan.stall_timeout_s, plan.max_tasks)
        self._group = places.group
        self._say = say
        self._excused = excused
        self._now = now

    def over(self, pid: int, name: str, temp: str, places: Iterable[str], *, whole: bool = False) -> Watch:
        """The watch over a program that has just been started, with ``temp`` as its TMPDIR.

        ``whole``: nothing else of the job runs meanwhile.
        """
        strangers = frozenset({os.getpid(), os.getppid()})  # the runner, and the service that it is a child of
        family = Family(pid, temp, self._group, strangers, whole)
        return Watch(self._limits, name, family, places, self._say, self._excused, now=self._now)
