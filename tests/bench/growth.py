"""What many jobs cost: a thousand wait on the local cloud for an app that ends at once, and a real controller runs them.

Bounded by time or, for the long run, by a number of lives (`--lifecycles 5000`). Meanwhile clients ask twenty
questions a second, which is what a hundred open windows do.
"""

import os
import shutil
import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import psutil

from server.client import Client
from server.db.connection import open_database
from server.db.models import Job, Worker
from server.db.settings_store import drain, resume
from server.db.transitions import Change
from server.home.running import nudge
from server.settings import CHECKOUT, CloudName, Settings
from server.states import JobState
from server.storage.folders import Storage
from tests.bench.api import get, ordered
from tests.bench.lives import APP, form
from tests.bench.load import Order
from tests.bench.measuring import HOMES, MB, Cpu, Options, computer, controller, keep_results, quantile, say, until, write

HOME = HOMES / "growth"
FLAVORS = "NAME\tWEIGHT\tCPU\tRAM\nm1.4xlarge\t1\t1\t1\nMAX_ACCUMULATED_WEIGHT = {at_once}\n"
AT_ONCE = 4  # more only wait for one another on two cores
QUEUED = 1000
SECONDS = 140.0
SAMPLE_S = 1.0
SETTLED = 0.2  # of the lives: until then caches fill
CLIENTS, PAUSE_S, CHUNK_S = 4, 0.2, 10.0
TURN = "cumulus_loop_turn_seconds"


@dataclass
class Growth:
    """What was seen. ``memory``: (lives that had ended, the controller's resident MB), once a second."""

    lives: int = 0
    seconds: float = 0.0
    cpu_own_s: float = 0.0
    cpu_children_s: float = 0.0
    turns: int = 0
    turn_p50_s: float = 0.0
    turn_p99_s: float = 0.0
    failed: int = 0
    queued: int = 0
    memory: list[tuple[int, float]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    @property
    def a_minute(self) -> float:
        """Lives a minute."""
        return 60 * self.lives / self.seconds

    @property
    def mb_per_1000(self) -> float:
        """Slope of the memory once the caches are full, MB for 1,000 lives."""
        settled = [sample for sample in self.memory if sample[0] >= SETTLED * self.lives]
        lives, memory = zip(*settled, strict=True)
        return 1000 * statistics.linear_regression(lives, memory).slope


def main(options: Options) -> None:
    """Measure, print the table and write it down."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    (HOME / "flavors.tsv").write_text(FLAVORS.format(at_once=AT_ONCE))
    settings = Settings(home=HOME, cloud=CloudName.LOCAL, apps=CHECKOUT / "tests" / "apps", flavors=HOME / "flavors.tsv")
    own = {"CUMULUS_HOME": str(HOME), "CUMULUS_CLOUD": "local", "CUMULUS_APPS": str(settings.apps)}
    own["CUMULUS_SUBMISSIONS_PER_MINUTE"] = "0"
    with controller(HOME, {**os.environ, **own, "CUMULUS_FLAVORS": str(settings.flavors)}) as (url, process):
        database = open_database(settings.database)
        growth = grow(settings, Client(url), process, options.lifecycles)
        database.close()
    report(growth)


def grow(settings: Settings, client: Client, process: psutil.Process, lifecycles: int) -> Growth:
    """Fill the queue, open it, look on."""
    drain("to be filled", Change(time.time()))
    wanted = min(QUEUED, lifecycles or QUEUED)
    say(f"Submitting {wanted} jobs")
    submitted = submit(settings, client, wanted)
    until(lambda: Job.select().where(Job.state == JobState.QUEUED).count() == submitted)
    growth = Growth(queued=submitted)
    before, turns = Cpu.of(process), buckets(client.url)
    begin = time.monotonic()
    with questions(client.url, growth):
        _switch(settings, open_=True)
        while not (growth.lives >= lifecycles if lifecycles else time.monotonic() - begin > SECONDS):
            time.sleep(SAMPLE_S)
            growth.lives = Worker.select().where(Worker.state == "deleted").count()
            growth.memory.append((growth.lives, process.memory_info().rss / MB))
            if lifecycles > submitted and submitted - growth.lives < QUEUED:
                submitted += submit(settings, client, min(100, lifecycles - submitted))
    growth.seconds = time.monotonic() - begin
    after = Cpu.of(process)
    growth.cpu_own_s, growth.cpu_children_s = after.own_s - before.own_s, after.children_s - before.children_s
    _add_turns(growth, turns, buckets(client.url))
    _switch(settings, open_=False)
    say("Waiting for the machines that are left")
    until(lambda: not Worker.select().where(Worker.state != "deleted").exists(), look_s=0.2)
    growth.failed = Job.select().where(Job.state == JobState.FAILED).count()
    return growth


def submit(settings: Settings, client: Client, number: int) -> int:
    """So many jobs whose files are there; returns the number."""
    storage = Storage(settings.storage)

    def one(_: int) -> None:
        storage.folder(client.start("bench", APP, settings.default_flavor, form(0)).folder).mark_arrived()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(number)))
    return number


def _switch(settings: Settings, *, open_: bool) -> None:
    change = Change(time.time())
    resume(change) if open_ else drain("the measurement is over", change)
    nudge(settings.home)


@contextmanager
def questions(url: str, growth: Growth) -> Iterator[None]:
    """Clients ask for the newest hundred jobs while the block runs."""
    port, over = urlsplit(url).port or 0, threading.Event()

    def ask() -> None:
        while not over.is_set():
            texts = [get("/joblist/1/100"), get("/joblist/0/100"), get("/info")]
            growth.latencies += ordered(Order(port, texts, CLIENTS, CHUNK_S, 1_000_000, PAUSE_S)).latencies

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def buckets(url: str) -> dict[float, float]:
    """The histogram of the loop's turns: how many took so many seconds at most."""
    lines = httpx.get(f"{url}/metrics", trust_env=False).text.splitlines()
    found = (line.removeprefix(f'{TURN}_bucket{{le="').split('"} ') for line in lines if line.startswith(f"{TURN}_bucket"))
    return {float(limit): float(number) for limit, number in found}


def _add_turns(growth: Growth, before: Mapping[float, float], after: Mapping[float, float]) -> None:
    counts = {limit: after[limit] - before[limit] for limit in after}
    growth.turns = int(max(counts.values()))
    growth.turn_p50_s, growth.turn_p99_s = bucket_quantile(counts, 0.5), bucket_quantile(counts, 0.99)


def bucket_quantile(counts: Mapping[float, float], share: float) -> float:
    """As Prometheus's histogram_quantile: interpolated within the bucket; the last finite limit where it is beyond that."""
    wanted, below, passed = share * max(counts.values()), 0.0, 0.0
    for limit in sorted(counts):
        if counts[limit] >= wanted:
            if limit == float("inf"):
                return below
            return below + (limit - below) * (wanted - passed) / (counts[limit] - passed)
        below, passed = limit, counts[limit]
    return below


def report(growth: Growth) -> None:
    """The figures as a table, and as data."""
    own, children = growth.cpu_own_s / growth.lives, growth.cpu_children_s / growth.lives
    turn = f"{1000 * growth.turn_p50_s:.0f} / {1000 * growth.turn_p99_s:.0f} ms"
    p50, p99 = (1000 * quantile(growth.latencies, share) for share in (0.5, 0.99))
    lines = [
        f"{computer()}, {AT_ONCE} jobs at once of {growth.queued:,} that waited, {growth.lives:,} lives in {growth.seconds:.0f} s"
        f" ({growth.failed} failed).",
        "",
        "| with a long queue | measured | target |",
        "|---|---|---|",
        f"| lives a minute | {growth.a_minute:.0f} | ≥ 25 |",
        f"| CPU of the controller and its children for a life | {own + children:.2f} s ({own:.2f} s its own) | ≤ 4 s |",
        f"| a turn of the loop, median / p99 of {growth.turns:,} | {turn} | p99 ≤ 50 ms |",
        f"| an answer meanwhile, median / p99 of {len(growth.latencies):,} | {p50:.1f} / {p99:.1f} ms | p99 ≤ 50 ms |",
        f"| the controller's memory, first → last | {growth.memory[0][1]:.0f} → {growth.memory[-1][1]:.0f} MB | – |",
        f"| its slope after a fifth of the lives | {growth.mb_per_1000:+.1f} MB for 1,000 lives | flat |",
    ]
    write("growth", lines)
    keep_results(
        "growth",
        {
            "lives": growth.lives,
            "seconds": growth.seconds,
            "failed": growth.failed,
            "cpu_own_s": growth.cpu_own_s,
            "cpu_children_s": growth.cpu_children_s,
            "turn_p50_s": growth.turn_p50_s,
            "turn_p99_s": growth.turn_p99_s,
            "answer_p50_ms": p50,
            "answer_p99_ms": p99,
            "memory": growth.memory,
        },
    )
