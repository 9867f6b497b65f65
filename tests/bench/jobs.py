"""What a job costs in time and memory on this computer, on the qemu cloud, beside the raw floor and another server.

Everything is measured in one run, in a home folder of its own: template and snapshot from nothing, then lives of an app that
begins and ends at once, in turns: the bare script, Cumulus, the other server, and again, so that a noisy minute meets them all.
"""

import json
import os
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import psutil

from server.catalog.flavors import read_flavors
from server.client import Client
from server.db.connection import open_database
from server.db.models import Worker
from server.db.settings_store import drain, resume
from server.db.transitions import Change
from server.home.installation import installation_id
from server.home.running import nudge
from server.settings import CHECKOUT, CloudName, Settings
from server.states import WorkerState
from server.storage.folders import Storage
from server.workers.clouds.qemu.accelerator import find_accel
from server.workers.clouds.qemu.command import Shape
from server.workers.clouds.qemu.images.images import is_image
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.process import guests_of
from tests.bench.floor import Floor
from tests.bench.lives import APP, END, GONE, LINE, MACHINE, SSH, BaselineLives, CumulusLives, form, has_begun
from tests.bench.measuring import (
    CUMULUS,
    HOMES,
    ROW_HEAD,
    Cpu,
    Figures,
    Options,
    computer,
    controller,
    keep_results,
    peak_mb,
    proportional_mb,
    resident_mb,
    say,
    timed,
    until,
    write,
)
from tests.trial_apps import trial_apps

HOME = HOMES / "home"
APPS = CHECKOUT / "tests" / "apps"
ROUNDS = {1: 5, 4: 3}  # jobs at once: how often
APP_S = 1.0
CLONES = 4
CLONES_APP_S = 60.0
COLD = ("cold-1", "cold-2")
READY_RUNS = 3
READY = "a machine waits ready: submit → the app's first line"
# Each size of disk is a machine of its own to a memory image, so that the cold ones have none, and as many processors and memory.
FLAVORS = "\n".join(
    (
        "NAME\tWEIGHT\tCPU\tRAM\tDISK",
        "m1.4xlarge\t1\t1\t1\t20",
        "cold-1\t1\t1\t1\t21",
        "cold-2\t1\t1\t1\t22",
        "MAX_ACCUMULATED_WEIGHT = 4\n",
    )
)
TARGETS = {LINE: 1.5, GONE: 1.3}
NAMES = {
    MACHINE: "→ the machine is itself",
    SSH: "→ it takes a login",
    LINE: "→ the app's first line",
    END: "→ the app's end is seen",
    GONE: "→ the machine is gone (whole life)",
}
# Where a life goes: each step of Cumulus from the one before, and the floor's counterpart.
PATH = (
    ("submission (REST, row, folder)", "submitted", ""),
    ("the loop sees it: a worker's row", "a worker's row", ""),
    ("orders are written", "worker creating", ""),
    ("terraform makes the machine", MACHINE, MACHINE),
    ("the play starts the app: login, mount, first line", LINE, LINE),
    ("the app runs", "the app's end", ""),
    ("its end is seen", END, END),
    ("the loop begins to remove the machine", "worker deleting", ""),
    ("the machine is stopped, destroyed, looked for", GONE, GONE),
)


class Lives(Protocol):
    """Somebody who runs jobs."""

    def lives(self, number: int, seconds: float) -> list[dict[str, float]]:
        """So many at once; seconds to each step."""


@dataclass
class Measured:
    """``lives``: by who ran them and how many at once. ``others``: single figures by their names."""

    lives: dict[tuple[str, int], Figures] = field(default_factory=dict)
    others: Figures = field(default_factory=Figures)
    cpu_own_s: list[float] = field(default_factory=list)
    cpu_all_s: list[float] = field(default_factory=list)
    clones_mb: dict[str, list[float]] = field(default_factory=dict)
    peak_mb: float = 0.0
    boots: list[str] = field(default_factory=list)

    def figures(self, who: str, number: int) -> Figures:
        """Those of one column."""
        return self.lives.setdefault((who, number), Figures())


def main(options: Options) -> None:
    """Measure, print the tables and write them down."""
    measured = Measured()
    settings = prepare(options, measured)
    with running(settings) as (client, process, nfs_port):
        own = CumulusLives(client, settings)
        measure_lives(participants(settings, own, nfs_port), measured, process)
        measured.clones_mb = memory_of_clones(client, settings)
        for flavor in COLD:
            say(f"A machine that boots ({flavor})")
            measure_boot(own, flavor, measured)
        measured.peak_mb = peak_mb(process.pid)
    measure_ready(settings, measured)
    report(measured)


def prepare(options: Options, measured: Measured) -> Settings:
    """A home with a snapshot; made from nothing unless an earlier run's is to be kept."""
    os.environ.update(CUMULUS_HOME=str(HOME), CUMULUS_CLOUD="qemu", CUMULUS_SUBMISSIONS_PER_MINUTE="0")
    flavors = HOMES / "flavors.tsv"
    if not (options.keep and is_image(QemuHome(HOME).current)):
        shutil.rmtree(HOME, ignore_errors=True)
        os.environ["CUMULUS_APPS"] = str(trial_apps(HOMES / "apps"))
        build, snapshot = [CUMULUS, "template", "build"], [CUMULUS, "snapshot", "create"]
        measured.others.add("template build", timed(lambda: subprocess.run(build, check=True)))
        measured.others.add("snapshot with canary and memory image", timed(lambda: subprocess.run(snapshot, check=True)))
    HOMES.mkdir(parents=True, exist_ok=True)
    flavors.write_text(FLAVORS)
    # No memory image is made beside the measurements, also by a controller that makes them when they are missed.
    os.environ.update(CUMULUS_APPS=str(APPS), CUMULUS_FLAVORS=str(flavors), CUMULUS_WARM_IMAGES="false")
    return Settings(home=HOME, cloud=CloudName.QEMU, apps=APPS, flavors=flavors)


@contextmanager
def running(settings: Settings) -> Iterator[tuple[Client, psutil.Process, int]]:
    """A controller on the home: a client of it, its process, and the port of its NFS server."""
    with controller(settings.home) as (url, process):
        database = open_database(settings.database)
        port = int((QemuHome(settings.home).nfs / "port").read_text())
        resume(Change(time.time()))
        nudge(settings.home)
        yield Client(url), process, port
        drain("the measurement is over", Change(time.time()))  # or a machine would go on waiting for a job
        nudge(settings.home)
        until_empty()
        database.close()


def shape_of(settings: Settings) -> Shape:
    """The size of the machines that have a memory image."""
    flavor = read_flavors(settings.flavors)[settings.default_flavor]
    return Shape(flavor.cpus, int(flavor.memory_gb * 1024), int(flavor.disk_gb or settings.worker_disk_gb))


def participants(settings: Settings, own: CumulusLives, nfs_port: int) -> dict[str, Lives]:
    """Whose lives are measured, in turns."""
    found: dict[str, Lives] = {"floor": Floor.of(settings.home, settings.storage, shape_of(settings), nfs_port), "Cumulus": own}
    if baseline := BaselineLives.of_environment():
        found["baseline"] = baseline
    return found


def measure_lives(whose: Mapping[str, Lives], measured: Measured, process: psutil.Process) -> None:
    """One of each uncounted (caches, terraform init), then the rounds."""
    for one in whose.values():
        one.lives(1, APP_S)
    for number, rounds in ROUNDS.items():
        for turn in range(rounds):
            say(f"{number} at once, round {turn + 1} of {rounds}: {', '.join(whose)}")
            for name, one in whose.items():
                before = Cpu.of(process)
                for steps in one.lives(number, APP_S):
                    measured.figures(name, number).add_all(steps)
                if name == "Cumulus":
                    _add_cpu(measured, before, Cpu.of(process), number)


def _add_cpu(measured: Measured, before: Cpu, after: Cpu, number: int) -> None:
    own, children = after.own_s - before.own_s, after.children_s - before.children_s
    measured.cpu_own_s.append(own / number)
    measured.cpu_all_s.append((own + children) / number)


def memory_of_clones(client: Client, settings: Settings) -> dict[str, list[float]]:
    """MB of each of four machines at once, with their apps begun: proportional and resident."""
    say(f"Memory of {CLONES} machines at once")
    jobs = [client.start("bench", APP, settings.default_flavor, form(CLONES_APP_S)) for _ in range(CLONES)]
    folders = [Storage(settings.storage).folder(job.folder) for job in jobs]
    for folder in folders:
        folder.mark_arrived()
    until(lambda: all(map(has_begun, folders)))
    time.sleep(1)
    pids = list(guests_of(installation_id(settings.home)).values())
    found = {"proportional": [proportional_mb(pid) for pid in pids], "resident": [resident_mb(pid) for pid in pids]}
    for job in jobs:
        threading.Thread(target=client.cancel, args=("bench", job.job_id)).start()
    until_empty()
    return found


def measure_ready(settings: Settings, measured: Measured) -> None:
    """A controller that keeps one machine ready: jobs that come when one waits."""
    os.environ["CUMULUS_MIN_READY"] = json.dumps({settings.default_flavor: 1})
    with running(settings) as (client, _, _):
        for turn in range(READY_RUNS):
            say(f"A machine that waits ready, {turn + 1} of {READY_RUNS}")
            until(lambda: Worker.select().where(Worker.job_id.is_null(), Worker.state == WorkerState.READY).exists(), look_s=0.1)
            measured.others.add(READY, CumulusLives(client, settings).lives(1, APP_S)[0][LINE])
    del os.environ["CUMULUS_MIN_READY"]


def until_empty() -> None:
    """Wait until no machine is left."""
    until(lambda: not Worker.select().where(Worker.state != WorkerState.DELETED).exists(), look_s=0.1)


def measure_boot(own: CumulusLives, flavor: str, measured: Measured) -> None:
    """One life on a machine that has no memory image; not counted where it has one after all."""
    steps = own.lives(1, APP_S, flavor)[0]
    measured.boots.append(str(Worker.select().order_by(Worker.id.desc()).get().boot))
    if measured.boots[-1].startswith("cold"):
        measured.others.add_all({f"cold: submit {NAMES[name]}": steps[name] for name in (MACHINE, LINE)})


def report(measured: Measured) -> None:
    """The figures as tables, and as data."""
    accel = find_accel(QemuHome(HOME)).argument
    lines = [f"{computer()}, QEMU with `{accel}`, load before {os.getloadavg()[2]:.1f}.", ""]
    for number in ROUNDS:
        lines += [*side_by_side(measured, number), ""]
    if not any(who == "baseline" for who, _ in measured.lives):
        lines += ["No other server was measured: BASELINE_URL was not set.", ""]
    lines += [*path(measured), "", *others(measured)]
    write("jobs", lines)
    lives = {f"{who} {number}": one.values for (who, number), one in measured.lives.items()}
    others_ = {"others": measured.others.values, "clones_mb": measured.clones_mb, "cpu_all_s": measured.cpu_all_s}
    keep_results("jobs", {"lives": lives, **others_, "cpu_own_s": measured.cpu_own_s, "peak_mb": measured.peak_mb})


def side_by_side(measured: Measured, number: int) -> list[str]:
    """Floor, Cumulus and the other server, the same steps: median / p90 in seconds, and the ratio of the medians."""
    floor, own = measured.figures("floor", number), measured.figures("Cumulus", number)
    baseline = measured.lives.get(("baseline", number))
    more = " baseline | baseline/Cumulus |" if baseline else ""
    lines = [
        f"| {number} at once, from nothing (submit) | floor | Cumulus | Cumulus/floor | target |{more}",
        f"|---|---|---|---|---|{'---|---|' if baseline else ''}",
    ]
    for step, name in NAMES.items():
        target = f"≤ {TARGETS[step]}" if step in TARGETS else "–"
        ratio = f"{own.median(step) / floor.median(step):.2f}" if step in own.values else "–"
        line = f"| {name} | {_pair(floor, step)} | {_pair(own, step)} | {ratio} | {target} |"
        if baseline:
            seen = step in baseline.values
            line += f" {_pair(baseline, step)} | {baseline.median(step) / own.median(step):.1f} |" if seen else " not shown | – |"
        lines.append(line)
    runs = len(own.values[GONE])
    return [*lines, "", f"Median / p90 of {runs} lives each, seconds; the app sleeps {APP_S:g} s."]


def _pair(figures: Figures, step: str) -> str:
    return f"{figures.median(step):.2f} / {figures.p90(step):.2f}" if step in figures.values else "–"


def path(measured: Measured) -> list[str]:
    """Where a life goes: seconds from each step to the next, the median's life of each column."""
    heads = [f"{who}, {number} at once" for number in ROUNDS for who in ("floor", "Cumulus")]
    lines = [f"| step | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name, own, bare in PATH:
        cells = []
        for number in ROUNDS:
            cells += [
                _share(measured.figures("floor", number), FLOOR_PATH, bare),
                _share(measured.figures("Cumulus", number), OWN_PATH, own),
            ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


OWN_PATH = tuple(own for _, own, _ in PATH)
FLOOR_PATH = (MACHINE, LINE, END, GONE)


def _share(figures: Figures, path_: tuple[str, ...], step: str) -> str:
    """The median of what a step takes, counted from the end of the one before it."""
    if not step:
        return "–"
    at = path_.index(step)
    before = figures.values[path_[at - 1]] if at else [0.0] * len(figures.values[step])
    return f"{statistics.median(end - begin for begin, end in zip(before, figures.values[step], strict=True)):.2f}"


def others(measured: Measured) -> list[str]:
    """Single figures."""
    own = measured.figures("Cumulus", 1)
    ended = zip(own.values["the app's end"], own.values[END], strict=True)
    rows = zip(own.values["submitted"], own.values["a worker's row"], strict=True)
    for begin, end in ended:
        measured.others.add("the app's end → job DONE", end - begin)
    for begin, end in rows:
        measured.others.add("submission → a worker's row", end - begin)
    targets = {"the app's end → job DONE": "≤ 2 s", "submission → a worker's row": "≤ 0.05 s", READY: "≤ 4 s (KVM: 2 s)"}
    clones, resident = measured.clones_mb["proportional"], measured.clones_mb["resident"]
    cold = [boot for boot in measured.boots if boot.startswith("cold")]
    return [
        *ROW_HEAD,
        *(measured.others.row(step, targets.get(step, "–")) for step in measured.others.values),
        "",
        f"Of {len(measured.boots)} machines without a memory image {len(cold)} booted.",
        "",
        "| of the controller and the machines | measured | target |",
        "|---|---|---|",
        f"| the controller's peak resident memory | {measured.peak_mb:.0f} MB | ≤ 150 MB |",
        f"| its own CPU for a job | {statistics.median(measured.cpu_own_s):.2f} s | – |",
        f"| CPU with its terraform and ansible children for a job | {statistics.median(measured.cpu_all_s):.2f} s | – |",
        f"| memory of one of {CLONES} machines at once, shared pages by their share | {statistics.median(clones):.0f} MB | – |",
        f"| the same, with all that is shared | {statistics.median(resident):.0f} MB | – |",
    ]
