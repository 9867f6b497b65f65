"""What the agent adds to rsync: 1 GB over ssh against bare rsync, a resume after a kill, the list of a long queue."""

import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from agent.installation import running_agent
from agent.queue.database import open_database
from agent.queue.models import Job, database_of
from agent.queue.orders import Order, Wanted, own_place
from agent.queue.queue import Queue
from agent.sending.children import end_orphans
from agent.sending.rsync import PARTIAL, Rsync
from agent.sending.staging import Load
from agent.sending.target import read_target
from agent.settings import RootSetting, Settings
from server.settings import CHECKOUT
from tests.agent.sshd import Sshd, running_sshd
from tests.bench.measuring import Options, computer, peak_mb, say, until, write

HOME = CHECKOUT / "var" / "bench-agent"
AGENT = str(Path(sys.executable).with_name("cumulus-agent"))
GB = 1_000_000_000
ROUNDS = 3
BARE = ".upload.0000000000000000.000000"  # where an upload may write
SLOW_KIB = 60_000
QUEUED = 1_000


@dataclass
class Figures:
    """Seconds of each way, the agent's own CPU as a share of a core beside its rsyncs, what was sent again after a kill."""

    agent_s: list[float] = field(default_factory=list)
    bare_s: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    resent: float = 0.0
    memory_mb: float = 0.0
    listing_ms: float = 0.0


def main(options: Options) -> None:
    """Measure, print the table and write it down."""
    shutil.rmtree(HOME, ignore_errors=True)
    source, storage = HOME / "source", HOME / "storage"
    for folder in (source, storage / "data", storage / "jobs"):
        folder.mkdir(parents=True)
    make_file(source / "run.raw")
    figures = Figures()
    with running_sshd(HOME / "sshd") as sshd:
        sshd.allow(storage)
        settings = agent_settings(source, sshd, HOME / "agent")
        with agent(settings) as (url, process):
            for number in range(1, ROUNDS + 1):
                say(f"Round {number} of {ROUNDS}")
                compare(figures, settings, storage, url, process, number)
            figures.memory_mb = peak_mb(process.pid)
        figures.resent = resumed(agent_settings(source, sshd, HOME / "slow"), storage)
    figures.listing_ms = listing(HOME / "long")
    shutil.rmtree(HOME)
    report(figures)


def make_file(path: Path) -> None:
    """1 GB that no compression makes smaller, written long ago."""
    block = random.Random(1)
    with path.open("wb") as file:
        for _ in range(GB // 10_000_000):
            file.write(block.randbytes(10_000_000))
    os.utime(path, (1, 1))


def agent_settings(source: Path, sshd: Sshd, home: Path) -> Settings:
    """An agent that sends to this computer's own ssh server."""
    home.mkdir()
    sshd.trust(home / "known_hosts")
    return Settings(
        home=home,
        target=f"{sshd.login}:",
        roots=(RootSetting(path=str(source)),),
        ssh_port=sshd.port,
        ssh_key=sshd.folder / "key",
        port=0,
        retry_delay_s=0.5,
    )


@contextmanager
def agent(settings: Settings, **more: object) -> Iterator[tuple[str, psutil.Process]]:
    """An agent in a process of its own; its URL and its process. Ended in order, or killed by who uses it."""
    given = {**settings.model_dump(exclude={"password_file", "roots", "allowed_hosts"}), **more}
    own = {f"CUMULUS_AGENT_{name.upper()}": str(value) for name, value in given.items()}
    own["CUMULUS_AGENT_ROOTS"] = json.dumps([root.model_dump() for root in settings.roots])
    with (HOME / "agent.out").open("ab") as output:
        child = subprocess.Popen([AGENT, "serve"], env={**os.environ, **own}, stdout=output, stderr=output)
    try:
        running = until(lambda: running_agent(settings.home))
        yield running.url, psutil.Process(child.pid)
    finally:
        if child.poll() is None:
            child.terminate()
        child.wait(30)


def compare(figures: Figures, settings: Settings, storage: Path, url: str, process: psutil.Process, number: int) -> None:
    """One transfer by each, the agent's with all that it does for a job, from the order to the marker."""
    target = storage / "data" / "run.raw"
    rsync = Rsync(settings, read_target(settings.target))
    command = rsync.send(Load(settings.roots[0].path, ("run.raw",)), f"data/{BARE}")
    target.unlink(missing_ok=True)
    os.sync()
    begin = time.monotonic()
    subprocess.run(command.argv, input=b"run.raw\0", stdout=subprocess.DEVNULL, check=True)
    figures.bare_s.append(time.monotonic() - begin)
    shutil.rmtree(storage / "data" / BARE)
    os.sync()
    before, begin = process.cpu_times(), time.monotonic()
    until(order(url, storage, number, Path(settings.roots[0].path) / "run.raw").exists)
    took, after = time.monotonic() - begin, process.cpu_times()
    figures.agent_s.append(took)
    figures.cpu.append((after.user + after.system - before.user - before.system) / took)


def order(url: str, storage: Path, number: int, file: Path) -> Path:
    """Ask for the file for a job; the marker that will be there at the end."""
    folder = storage / "jobs" / f"Job_{number}_bench_app_1"
    (folder / "input").mkdir(parents=True)
    form = {"job_id": str(number), "job_dir": folder.name, "owner": "bench", "files": json.dumps([str(file)])}
    httpx.post(f"{url}/send-rsync", data=form).raise_for_status()
    return folder / ".cumulus.rsync"


def resumed(settings: Settings, storage: Path) -> float:
    """The agent killed with -9 when half of the file was there: which share of that half is sent once more."""
    say("Killing the agent at half of the file")
    target = storage / "data" / "run.raw"
    target.unlink(missing_ok=True)
    with agent(settings, bwlimit_kib=SLOW_KIB) as (url, process):
        marker = order(url, storage, 100, Path(settings.roots[0].path) / "run.raw")
        until(lambda: half_there(target.parent))
        process.kill()
    end_orphans(settings.home)  # as the next agent does
    kept = until(lambda: next(target.parent.glob(f".upload.*/{PARTIAL}/run.raw"), None))
    there = kept.stat().st_size
    told = HOME / "stats.txt"
    wrapper = HOME / "rsync"
    wrapper.write_text(f'#!/bin/bash\nset -o pipefail\nrsync --info=stats2 "$@" | tee -a {told}\n')
    wrapper.chmod(0o755)
    with agent(settings, rsync=str(wrapper)):
        until(marker.exists)
    if target.stat().st_size != GB:
        raise RuntimeError("the file is not whole")
    sent = sum(int(number) for number in re.findall(r"^Total bytes sent: (\d+)$", told.read_text(), re.MULTILINE))
    return max(0, sent - (GB - there)) / there


def half_there(folder: Path) -> bool:
    """Whether half of the file has come in, under the name that rsync gives it meanwhile."""
    with suppress(FileNotFoundError):
        return any(path.stat().st_size > GB // 2 for path in folder.glob(".upload.*/.run.raw.*"))
    return False


def listing(home: Path) -> float:
    """The median time of a list of 1,000 queued jobs, milliseconds."""
    database = open_database(home / "queue.sqlite")
    queue = Queue()
    for number in range(1, QUEUED + 1):
        folder = f"Job_{number}_owner{number % 7}_app_1"
        files = (Wanted(f"/x/{number}.raw", "data", f"{number}.raw"), Wanted("/x/l.txt", own_place(folder), "l.txt"))
        queue.jobs.add(Order(number, folder, f"owner{number % 7}", files), float(number))
    times = []
    for _ in range(30):
        begin = time.perf_counter()
        if len(queue.listing.lines()) != 2 * QUEUED:
            raise RuntimeError("the list is not whole")
        times.append(1000 * (time.perf_counter() - begin))
    database_of(Job).close()
    database.close()
    return statistics.median(times)


def report(figures: Figures) -> None:
    """The figures as a table."""
    bare, own = statistics.median(figures.bare_s), statistics.median(figures.agent_s)
    ratio = statistics.median(one / two for one, two in zip(figures.bare_s, figures.agent_s, strict=True))
    lines = [
        f"{computer()}, load before {os.getloadavg()[2]:.1f}.",
        "",
        "| of the agent | measured | target |",
        "|---|---|---|",
        f"| 1 GB over ssh, from order to marker | {own:.1f} s, {GB / own / 1e6:.0f} MB/s | – |",
        f"| the same by bare rsync with the same options | {bare:.1f} s, {GB / bare / 1e6:.0f} MB/s | – |",
        f"| speed against bare rsync, {ROUNDS} rounds in turn | {ratio:.2f} | ≥ 0.95 |",
        f"| sent once more of what was there, after a kill at a half | {100 * figures.resent:.1f} % | ≤ 2 % |",
        f"| CPU of its own while it sends | {100 * statistics.median(figures.cpu):.1f} % of a core | ≤ 3 % |",
        f"| peak resident memory | {figures.memory_mb:.0f} MB | ≤ 80 MB |",
        f"| list of {QUEUED:,} queued jobs of two files | {figures.listing_ms:.1f} ms | ≤ 20 ms |",
    ]
    write("agent", lines)
