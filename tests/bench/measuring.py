"""What every measurement needs: a controller of its own, series of figures, and places for the results.

Results are kept twice: in docs/performance.md, between the marks of each part, and in var/bench/results.json for programs.
"""

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from server.client import Client
from server.home.running import running_controller
from server.settings import CHECKOUT
from server.workers.ansible import fork_server
from tests.processes import command_of

CUMULUS = str(Path(sys.executable).with_name("cumulus"))
REPORT = CHECKOUT / "docs" / "performance.md"
HOMES = CHECKOUT / "var" / "bench"
RESULTS = HOMES / "results.json"
LIMIT_S = 300.0
LOOK_S = 0.01
MB = 1 << 20
T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """What the command line asks for. ``keep``: use an earlier run's template and snapshot. ``lifecycles``: 0: as time allows."""

    keep: bool = False
    lifecycles: int = 0


@dataclass
class Figures:
    """Values of each step (seconds unless its name says otherwise), one entry a measurement."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, step: str, value: float) -> None:
        """One more measurement."""
        self.values.setdefault(step, []).append(value)

    def add_all(self, steps: Mapping[str, float]) -> None:
        """One measurement of several steps."""
        for step, value in steps.items():
            self.add(step, value)

    def median(self, step: str) -> float:
        """The middle one."""
        return statistics.median(self.values[step])

    def p90(self, step: str) -> float:
        """What nine of ten do not exceed, interpolated."""
        return quantile(self.values[step], 0.9)

    def row(self, step: str, target: str = "–") -> str:
        """A line of a table: median, p90, worst, number, target."""
        values = self.values[step]
        return f"| {step} | {self.median(step):.2f} | {self.p90(step):.2f} | {max(values):.2f} | {len(values)} | {target} |"


ROW_HEAD = ("| step | median s | p90 s | worst s | runs | target |", "|---|---|---|---|---|---|")


def quantile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of them do not exceed, interpolated between neighbours."""
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = int(at)
    return ordered[low] + (at - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def timed(act: Callable[[], object]) -> float:
    """Seconds that ``act`` takes."""
    begin = time.monotonic()
    act()
    return time.monotonic() - begin


@dataclass(frozen=True)
class Cpu:
    """Seconds that a controller has computed itself, and its children: those that ended, and the one that plays for Ansible."""

    own_s: float
    children_s: float

    @classmethod
    def of(cls, process: psutil.Process) -> "Cpu":
        """As the kernel has counted until now."""
        times = process.cpu_times()
        players = [one.cpu_times() for one in process.children() if fork_server.__name__ in command_of(one)]
        ended = times.children_user + times.children_system
        return cls(times.user + times.system, ended + sum(sum(player[:4]) for player in players))


@contextmanager
def controller(home: Path, environment: Mapping[str, str] = os.environ) -> Iterator[tuple[str, psutil.Process]]:
    """A controller of this checkout on a free port, ended in order: its URL and its process. Its log is in ``home``."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "controller.log").open("ab") as log:
        child = subprocess.Popen(
            [CUMULUS, "serve", "--port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=dict(environment),
        )
    try:
        running = until(lambda: _announced(home, child))
        until(Client(running.url).healthy)
        yield running.url, psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(60)


def _announced(home: Path, child: "subprocess.Popen[bytes]") -> Any:
    if child.poll() is not None:
        raise RuntimeError(f"the controller ended at once: {(home / 'controller.log').read_text()[-2000:]}")
    return running_controller(home)


def until(look: Callable[[], T | None], limit_s: float = LIMIT_S, look_s: float = LOOK_S) -> T:
    """What ``look`` finds, once it finds something."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(look_s)
    raise TimeoutError("a step of the benchmark did not end")


def peak_mb(pid: int) -> float:
    """The most memory that the process ever had resident, MB."""
    return _kib(Path(f"/proc/{pid}/status"), "VmHWM") * 1024 / MB


def proportional_mb(pid: int) -> float:
    """Memory of a process, each page divided by the number of those that share it, MB (Linux: smaps_rollup)."""
    return _kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss") * 1024 / MB


def resident_mb(pid: int) -> float:
    """Memory of a process with all that it shares, MB."""
    return _kib(Path(f"/proc/{pid}/smaps_rollup"), "Rss") * 1024 / MB


def _kib(path: Path, name: str) -> int:
    line = next(line for line in path.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


def computer() -> str:
    """When and on what it was measured."""
    cpu = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpu if line.startswith("model name")), platform.machine())
    memory_gb = psutil.virtual_memory().total / 1e9
    date = time.strftime("%Y-%m-%d")
    return f"Measured on {date}: {os.cpu_count()} cores ({model}), {memory_gb:.0f} GB, Linux {platform.release()}"


def write(mark: str, lines: Sequence[str], page: Path = REPORT) -> None:
    """The report of a part, between the two marks of its part of the page; ``mark``: "" on a page with one part."""
    text = "\n".join(lines)
    begin, end = (f"<!-- {f'{word} {mark}'.rstrip()} -->" for word in ("begin", "end"))
    head, found, rest = page.read_text().partition(begin)
    _, ended, tail = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{page} has no place for {mark or 'the report'}")
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}")
    print(text)


def read_results() -> dict[str, Any]:
    """The figures of the parts that were measured last."""
    try:
        return dict(json.loads(RESULTS.read_text()))
    except FileNotFoundError:
        return {}


def keep_results(part: str, figures: Mapping[str, Any]) -> None:
    """Write a part's figures beside those of the others."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    found = read_results() | {part: {"measured": computer(), "load": os.getloadavg()[2], **figures}}
    beside = RESULTS.with_suffix(".new")
    beside.write_text(json.dumps(found, indent=1) + "\n")
    beside.rename(RESULTS)
