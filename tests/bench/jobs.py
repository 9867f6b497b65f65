"""What a job costs in time and memory on this computer, on the qemu cloud.

Everything is measured in one run, in a home folder of its own: template and snapshot from nothing, then jobs of an app that
begins and ends at once, so that what is left is Cumulus and the machine.
"""

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from server.client import Client
from server.models import Event, Job, Worker, open_database
from server.settings import CHECKOUT, CloudName, Settings
from server.storage.folders import Storage
from server.workers.clouds.qemu.accel import find_accel
from server.workers.clouds.qemu.places import QemuHome
from tests.bench.measuring import CUMULUS, computer, controller, peak_mb, say, until, write

WARM_RUNS = 5
COLD_RUNS = 2
HOME = CHECKOUT / "var" / "bench"
FORM = {"text": "bench", "seconds": "1", "outcome": "ok"}


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
    figures.add("template build", timed(lambda: subprocess.run([CUMULUS, "template", "build"], check=True)))
    figures.add(
        "snapshot with canary and memory image", timed(lambda: subprocess.run([CUMULUS, "snapshot", "create"], check=True))
    )
    os.environ["CUMULUS_APPS"] = str(CHECKOUT / "tests" / "apps")
    settings = Settings(home=HOME, cloud=CloudName.QEMU, apps=CHECKOUT / "tests" / "apps", poll_interval_s=0.5)
    with controller(HOME) as (url, process):
        open_database(settings.database)
        cost = measure(Client(url), process, settings, figures)
    report(figures, cost)


def timed(act: Callable[[], object]) -> float:
    """Seconds that ``act`` takes."""
    begin = time.monotonic()
    act()
    return time.monotonic() - begin


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


def report(figures: Figures, cost: Cost) -> None:
    """The figures as tables."""
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
    accel = find_accel(QemuHome(HOME).accel).argument
    write("", [f"{computer()}, QEMU with `{accel}`, load before {os.getloadavg()[2]:.1f}.", "", *lines])
