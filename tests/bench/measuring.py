"""What every measurement needs: a controller of its own, the computer's description, a place in docs/performance.md."""

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil

from server.client import Client
from server.installation import running_controller
from server.settings import CHECKOUT

CUMULUS = str(Path(sys.executable).with_name("cumulus"))
REPORT = CHECKOUT / "docs" / "performance.md"
LIMIT_S = 300.0
LOOK_S = 0.01
MB = 1 << 20
T = TypeVar("T")


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def controller(home: Path, environment: Mapping[str, str] = os.environ) -> Iterator[tuple[str, psutil.Process]]:
    """A controller of this checkout on a free port, ended in order: its URL and its process."""
    child = subprocess.Popen(
        [CUMULUS, "serve", "--port", "0"], stdin=subprocess.DEVNULL, start_new_session=True, env=dict(environment)
    )
    try:
        running = until(lambda: running_controller(home))
        until(Client(running.url).healthy)
        yield running.url, psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(60)


def until(look: Callable[[], T | None]) -> T:
    """What ``look`` finds, once it finds something."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(LOOK_S)
    raise TimeoutError("a step of the benchmark did not end")


def peak_mb(pid: int) -> float:
    """The most memory that the process ever had resident, MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / MB


def computer() -> str:
    """When and on what it was measured."""
    cpu = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpu if line.startswith("model name")), platform.machine())
    memory_gb = psutil.virtual_memory().total / 1e9
    date = time.strftime("%Y-%m-%d")
    return f"Measured on {date}: {os.cpu_count()} cores ({model}), {memory_gb:.0f} GB, Linux {platform.release()}"


def write(mark: str, lines: list[str], page: Path = REPORT) -> None:
    """The report, between the two marks of its part of the page."""
    text = "\n".join(lines)
    begin, end = f"<!-- begin{mark} -->", f"<!-- end{mark} -->"
    head, _, rest = page.read_text().partition(begin)
    tail = rest.partition(end)[2]
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}")
    print(text)
