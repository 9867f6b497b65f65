"""`make bench`: what a job costs in time and memory on this computer, on the qemu cloud. Writes docs/performance.md.

Everything is measured in one run, in a home folder of its own: template and snapshot from nothing, then jobs of an app that
begins and ends at once, so that what is left is Cumulus and the machine.
"""

import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil

from server.client import Client
from server.installation import running_controller
from server.models import Event, Job, Worker, open_database
from server.settings import CHECKOUT, CloudName, Settings
from server.storage.folders import Storage
from server.workers.clouds.qemu.accel import find_accel
from server.workers.clouds.qemu.places import QemuHome

WARM_RUNS = 5
COLD_RUNS = 2
HOME = CHECKOUT / "var" / "bench"
REPORT = CHECKOUT / "docs" / "performance.md"
LIMIT_S = 300.0
LOOK_S = 0.01
FORM = {"text": "bench", "seconds": "1", "outcome": "ok"}
MB = 1 << 20
T = TypeVar("T")


@dataclass
class Figures:
    """Seconds of each step, one entry a run."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, step: str, value: float) -> None:
        """One more measurement."""
        self.seconds.setdefault(step, []).append(value)

    def row(self, step: str, target: str = "–") -> str:
        """A line of the table: median, worst, runs, target."""
        values = self.seconds[step]
        return f"| {step} | {statistics.median(values):.2f} | {max(values):.2f} | {len(values)} | {target} |"


def main() -> None:
    """Measure, print the table and write it down."""
    shutil.rmtree(HOME, ignore_errors=True)
    os.environ.update(CUMULUS_HOME=str(HOME), CUMULUS_CLOUD="qemu")
    figures = Figures()
    cumulus = str(Path(sys.executable).with_name("cumulus"))
    figures.add("template build", timed(lambda: subprocess.run([cumulus, "template", "build"], check=True)))
    figures.add(
        "snapshot with canary and memory image", timed(lambda: subprocess.run([cumulus, "snapshot", "create"], check=True))
    )
    os.environ["CUMULUS_APPS"] = str(CHECKOUT / "tests" / "apps")
    settings = Settings(home=HOME, cloud=CloudName.QEMU, apps=CHECKOUT / "tests" / "apps", poll_interval_s=0.5)
    with controller(cumulus) as (client, process):
        open_database(settings.database)
        cost = measure(client, process, settings, figures)
    write(figures, cost)


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def timed(act: Callable[[], object]) -> float:
    """Seconds that ``act`` takes."""
    begin = time.monotonic()
    act()
    return time.monotonic() - begin


@contextmanager
def controller(cumulus: str) -> Iterator[tuple[Client, psutil.Process]]:
    """A controller of this checkout on a free port, ended in order."""
    child = subprocess.Popen([cumulus, "serve", "--port", "0"], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        client = until(lambda: (running := running_controller(HOME)) and Client(running.url))
        until(client.healthy)
        yield client, psutil.Process(child.pid)
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


@dataclass(frozen=True)
class Cost:
    """What the controller itself took: CPU seconds for a job with and without its children, resident memory at its peak."""

    own_cpu_s: float
    all_cpu_s: float
    peak_mb: float


def measure(client: Client, process: psutil.Process, settings: Settings, figures: Figures) -> Cost:
    """The runs: warm ones of the flavor that has a memory image, cold ones of another."""
    run(client, settings, settings.default_flavor, Figures(), "first")  # terraform init, caches
    before = process.cpu_times()
    for number in range(WARM_RUNS):
        say(f"Warm job {number + 1} of {WARM_RUNS}")
        run(client, settings, settings.default_flavor, figures, "warm")
    after = process.cpu_times()
    for number in range(COLD_RUNS):
        say(f"Cold job {number + 1} of {COLD_RUNS}")
        run(client, settings, "m1.8xlarge", figures, "cold")
    own = after.user + after.system - before.user - before.system
    children = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(own / WARM_RUNS, (own + children) / WARM_RUNS, peak_mb(process.pid))


def peak_mb(pid: int) -> float:
    """The most memory that the process ever had resident, MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / MB


def run(client: Client, settings: Settings, flavor: str, figures: Figures, kind: str) -> None:
    """One job's whole life, each step against this computer's clock."""
    begin = time.time()
    started = client.start("bench", "probe_1.0", flavor, FORM)
    folder = Storage(settings.storage).folder(started.folder)
    folder.mark_arrived()
    log = folder.path / ".cumulus.log"
    until(lambda: log.exists() and b"probe started" in log.read_bytes())
    figures.add(f"{kind}: submit → the app's first line", time.time() - begin)
    until(lambda: client.jobs(1)[0]["status"] == "DONE")
    seen = time.time()
    result = folder.result(1)
    if result is not None and result.ended is not None:  # by the machine's clock, which it got from this computer
        figures.add(f"{kind}: the app's end → DONE visible", seen - result.ended)
    worker = until(lambda: Worker.get_or_none(Worker.job_id == started.job_id, Worker.state == "deleted"))
    figures.add(f"{kind}: teardown (DONE → machine gone)", worker.ended - Job.get_by_id(started.job_id).ended)
    figures.add(f"{kind}: machine answers ssh (terraform apply)", step_s(worker, "creating", "booting"))


def step_s(worker: Worker, first: str, last: str) -> float:
    """Seconds between a worker's arrivals in two states."""
    rows = Event.select().where(Event.subject == "worker", Event.subject_id == worker.id)
    at = {row.new: row.at for row in rows}
    return float(at[last] - at[first])


def write(figures: Figures, cost: Cost) -> None:
    """The report, between the two marks of its page."""
    targets = {"warm: submit → the app's first line": "≤ 6 s", "warm: the app's end → DONE visible": "≤ 3 s"}
    lines = ["| step | median s | worst s | runs | target |", "|---|---|---|---|---|"]
    lines += [figures.row(step, targets.get(step, "–")) for step in figures.seconds]
    lines += [
        "",
        "| of the controller | measured | target |",
        "|---|---|---|",
        f"| peak resident memory | {cost.peak_mb:.0f} MB | ≤ 150 MB |",
        f"| CPU of its own for a job | {cost.own_cpu_s:.2f} s | – |",
        f"| CPU with its terraform and ansible children for a job | {cost.all_cpu_s:.2f} s | – |",
    ]
    text = "\n".join([describe(), "", *lines])
    head, _, rest = REPORT.read_text().partition("<!-- begin -->")
    tail = rest.partition("<!-- end -->")[2]
    REPORT.write_text(f"{head}<!-- begin -->\n{text}\n<!-- end -->{tail}")
    print(text)


def describe() -> str:
    """The computer that was measured."""
    memory_gb = psutil.virtual_memory().total / 1e9
    accel = find_accel(QemuHome(HOME).accel).argument
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "",
    )
    return (
        f"Measured on {time.strftime('%Y-%m-%d')}: {os.cpu_count()} cores ({model or platform.machine()}), {memory_gb:.0f} GB, "
        f"Linux {platform.release()}, QEMU with `{accel}`, load before {os.getloadavg()[2]:.1f}."
    )


if __name__ == "__main__":
    main()
