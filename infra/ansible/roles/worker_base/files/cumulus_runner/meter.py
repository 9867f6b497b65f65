"""How busy the machine is: the ``[INFO]`` lines, the only ones that the desktop client plots."""

from __future__ import annotations

import threading
from typing import Callable

from cumulus_runner.journal import Journal
from cumulus_runner.lines import INFO, stamp

INTERVAL_S = 15.0


class Meter(threading.Thread):
    """Writes a line at once and then every 15 seconds; ``now``: Unix seconds."""

    def __init__(self, journal: Journal, now: Callable[[], float], proc: str = "/proc") -> None:
        super().__init__(name="meter", daemon=True)
        self._journal = journal
        self._now = now
        self._proc = proc
        self._ended = threading.Event()
        self._before = processor_times(proc)

    def run(self) -> None:
        """Write lines until :meth:`end`."""
        while True:
            self._journal.own(self._line())
            if self._ended.wait(INTERVAL_S):
                return

    def end(self) -> None:
        """Write no more lines."""
        self._ended.set()

    def _line(self) -> str:
        now = processor_times(self._proc)
        busy = usage(self._before, now)
        self._before = now
        return f"{INFO} {stamp(self._now())};CPU:{busy:.1f}%;RAM:{memory_usage(self._proc):.1f}%"


def processor_times(proc: str = "/proc") -> tuple[int, int]:
    """Ticks that all processors together were busy, and all of them, since the machine's start."""
    with open(f"{proc}/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    idle = ticks[3] + ticks[4]  # idle and iowait; guest times are within user and nice
    return sum(ticks) - idle, sum(ticks)


def usage(before: tuple[int, int], now: tuple[int, int]) -> float:
    """Percent of the processors' time that was used between two readings; since the machine's start where none passed."""
    busy, total = now[0] - before[0], now[1] - before[1]
    if total <= 0:
        busy, total = now
    return min(100.0, max(0.0, 100.0 * busy / total)) if total else 0.0


def memory_usage(proc: str = "/proc") -> float:
    """Percent of the memory that programs cannot get any more."""
    with open(f"{proc}/meminfo", encoding="ascii") as file:
        amounts = {words[0]: int(words[1]) for words in map(str.split, file)}
    total = amounts["MemTotal:"]
    return 100.0 * (total - amounts.get("MemAvailable:", amounts["MemFree:"])) / total
