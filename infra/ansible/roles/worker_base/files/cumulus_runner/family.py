"""The processes of a program: which they are, what they have done since the last look, and how they are ended.

A program may leave its process group and its parent (a daemon does both). It is found again by its control group where the
machine has one for the job, and else by its session, its parents and the temp folder in its environment.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field

TICKS_PER_S = float(os.sysconf("SC_CLK_TCK"))
KILL_ROUNDS = 20
WORDS = {"R": "running", "S": "sleeping", "D": "waiting for a disk or the network", "T": "suspended", "t": "being traced"}


@dataclass(frozen=True)
class Process:
    """One process as proc(5) tells of it. ``ticks``: processor time of it and of its children that ended.

    ``start`` tells it from a later one of the same number.
    """

    pid: int
    parent: int
    session: int
    name: str
    state: str
    ticks: int
    threads: int
    start: int


@dataclass
class Deeds:
    """What a family has done between two looks: seconds of processor time, bytes written (to anything, pipes included)."""

    cpu_s: float = 0.0
    written: int = 0


@dataclass
class Family:
    """The processes of the program ``pid``, which has ``temp`` as its TMPDIR.

    ``group``: path of a control group that it cannot leave; "" where there is none. ``strangers``: who else is in that group.
    ``whole``: all others in it belong to the program.
    """

    pid: int
    temp: str
    group: str = ""
    strangers: frozenset[int] = frozenset()
    whole: bool = False
    proc: str = "/proc"
    _seen: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)

    def members(self) -> list[Process]:
        """Those that live now."""
        found = [process for pid in self._candidates() if (process := read_process(pid, self.proc))]
        return found if self.group and self.whole else self._relatives(found)

    def deeds(self) -> Deeds:
        """What they have done since the last call; at the first one since their start."""
        told = Deeds()
        seen: dict[tuple[int, int], tuple[int, int]] = {}
        for one in self.members():
            key = one.pid, one.start
            ticks, written = self._seen.get(key, (0, 0))
            now = one.ticks, self._written(one.pid, written)
            told.cpu_s += max(0, now[0] - ticks) / TICKS_PER_S
            told.written += max(0, now[1] - written)
            seen[key] = now
        self._seen = seen
        return told

    def tasks(self) -> int:
        """How many processes and threads they are."""
        return sum(one.threads for one in self.members())

    def told(self) -> str:
        """What they are at, such as "sh: sleeping, msconvert: sleeping"."""
        found = self.members()
        more = f" and {len(found) - 8} more" if len(found) > 8 else ""
        return ", ".join(f"{one.name}: {WORDS.get(one.state, one.state)}" for one in found[:8]) + more

    def kill(self) -> None:
        """End them all at once; held still first, so that none makes another one meanwhile."""
        for _ in range(KILL_ROUNDS):
            found = self.members()
            if not found:
                return
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for one in found:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(one.pid, number)

    def _candidates(self) -> list[int]:
        if self.group:
            with suppress(OSError), open(os.path.join(self.group, "cgroup.procs"), encoding="ascii") as file:
                return [pid for line in file if (pid := int(line)) not in self.strangers]
            return []
        return [int(name) for name in os.listdir(self.proc) if name.isdigit()]

    def _relatives(self, found: list[Process]) -> list[Process]:
        own = {one.pid for one in found if self.pid in (one.pid, one.session)}
        own.update(one.pid for one in found if one.pid not in own and self._has_mark(one.pid))
        grown = True
        while grown:
            more = {one.pid for one in found if one.parent in own} - own
            own |= more
            grown = bool(more)
        return [one for one in found if one.pid in own]

    def _has_mark(self, pid: int) -> bool:
        with suppress(OSError), open(f"{self.proc}/{pid}/environ", "rb") as file:
            return b"\0TMPDIR=" + os.fsencode(self.temp) + b"\0" in b"\0" + file.read() + b"\0"
        return False

    def _written(self, pid: int, before: int) -> int:
        """The kernel's count, also of what is still in its memory; what may not be read stays as it was."""
        with suppress(OSError), open(f"{self.proc}/{pid}/io", encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("wchar:")), before)
        return before


def read_process(pid: int, proc: str = "/proc") -> Process | None:
    """A process that lives; None where there is none, or only its exit code."""
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:
            head, _, rest = file.read().rpartition(b")")
    except OSError:
        return None
    words = rest.split()
    if len(words) < 20 or words[0] in (b"Z", b"X"):
        return None
    ticks = sum(int(word) for word in words[11:15])
    name = head.partition(b"(")[2].decode("utf-8", "replace")
    state = words[0].decode("ascii", "replace")
    return Process(pid, int(words[1]), int(words[3]), name, state, ticks, int(words[17]), int(words[19]))


def own_group(proc: str = "/proc", groups: str = "/sys/fs/cgroup") -> str:
    """The path of this process's control group where it is a service's own; "" where there is no such thing."""
    with suppress(OSError), open(f"{proc}/self/cgroup", encoding="ascii") as file:
        own = next((line.split("::")[1].strip() for line in file if line.startswith("0::")), "")
        return f"{groups}{own}" if own.endswith(".service") and os.path.isdir(f"{groups}{own}") else ""
    return ""


def all_tasks(proc: str = "/proc") -> int:
    """How many processes and threads the machine has; cheap."""
    with suppress(OSError, ValueError, IndexError), open(f"{proc}/loadavg", encoding="ascii") as file:
        return int(file.read().split()[3].partition("/")[2])
    return 0
