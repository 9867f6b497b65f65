"""What strangers cost: a siege of a controller's door, and the worst request that each route allows."""

import os
import resource
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from server.db.connection import open_database
from server.home.installation import installation_id
from server.home.running import running_controller
from server.storage.identity import write_identity
from tests.bench.measuring import CUMULUS, Options, computer, until, write
from tests.bench.siege import SLOW_POST, close, connect, polling, send_malformed, trickle
from tests.bench.worst import Installation, Worst, fill, sent, worst_requests
from tests.conftest import FLAVORS, TEST_APPS

MB = 1 << 20
OWN_FILES = 9000  # of this process: it holds both sieges' connections
TRICKLE_S = 3.0


@dataclass
class Besieged:
    """A controller of its own as a process. ``shown``: its job with the many results."""

    port: int
    shown: int
    process: psutil.Process

    def sent(self, request: bytes) -> tuple[bytes, float]:
        """The answer and how long it took, seconds."""
        return sent(self.port, request)

    def all_at_once(self, times: int) -> None:
        """Send each of the worst requests several times, all at once; what is refused for that does not matter."""

        def send(one: Worst) -> None:
            with suppress(OSError):  # more was sent than is kept
                sent(self.port, one.request)

        threads = [threading.Thread(target=send, args=(one,)) for one in worst_requests(self.shown) for _ in range(times)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def memory_mb(self) -> float:
        """What it takes now."""
        return float(self.process.memory_info().rss) / MB

    def peak_mb(self) -> float:
        """The most that it took since its start, or since :meth:`forget_peak`."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

    def forget_peak(self) -> None:
        """Measure the peak from here on."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


@dataclass
class Seen:
    """What the controller's own clients saw of a siege, in seconds; MB that it took more afterwards."""

    failures: list[str]
    health_s: float
    poll_p50_s: float
    poll_p99_s: float
    grown_mb: float


def environment(home: Path) -> dict[str, str]:
    """A controller's, on the local cloud."""
    flavors = home.parent / "flavors.tsv"
    flavors.write_text(FLAVORS)
    own = {"HOME": home, "CLOUD": "local", "APPS": TEST_APPS, "FLAVORS": flavors, "MIN_FREE_GB": 0, "PORT": 0}
    others = {name: value for name, value in os.environ.items() if not name.startswith("CUMULUS_")}
    return {**others, **{f"CUMULUS_{name}": str(value) for name, value in own.items()}}


@contextmanager
def besieged(folder: Path, size: Installation) -> Iterator[Besieged]:
    """A controller that answers, over an installation of that size."""
    home = folder / "home"
    database = open_database(home / "cumulus.sqlite")
    shown = fill(home / "storage", size)
    write_identity(home / "storage", installation_id(home))
    database.close()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([CUMULUS, "serve"], env=environment(home), stderr=log)
        try:
            until(lambda: running_controller(home) is not None or process.poll() is not None)
            running = running_controller(home)
            assert running is not None, (folder / "log").read_text()
            yield Besieged(int(running.url.rpartition(":")[2]), shown, psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait(30)


def started_with_files(folder: Path, limit: int) -> tuple[str, int]:
    """What a controller says that may open so many files only, and its exit code."""
    script = f'ulimit -n {limit} && exec "$0" serve'
    done = subprocess.run(
        ["bash", "-c", script, CUMULUS], env=environment(folder / "home"), capture_output=True, text=True, timeout=60
    )
    return done.stdout + done.stderr, done.returncode


def siege_of(made: Besieged, malformed: int, idle: int, slow: int) -> Seen:
    """All three at once, after a first one that lets the controller grow to its size. The connections stay open meanwhile."""
    _let_open(OWN_FILES)
    close(send_malformed(made.port, 200))
    before = made.memory_mb()
    with polling(made.port) as waits:
        time.sleep(1.0)
        held = send_malformed(made.port, malformed)
        held += connect(made.port, idle)
        slowest = connect(made.port, slow, lambda _number: SLOW_POST)
        trickle(slowest, TRICKLE_S)
        time.sleep(1.0)
    grown = made.memory_mb() - before
    close(held + slowest)
    return Seen(waits.failures, max(waits.health), waits.poll(0.5), waits.poll(0.99), grown)


def _let_open(files: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, hard), hard))


def main(options: Options) -> None:
    """Measure, print the tables and write them down."""
    with TemporaryDirectory() as folder, besieged(Path(folder), Installation()) as made:
        lines = [*_siege_lines(made), "", *_worst_lines(made)]
    write("door", [f"{computer()}.", "", *lines])


def _siege_lines(made: Besieged) -> list[str]:
    seen = siege_of(made, 5000, 2000, 500)
    return [
        "5,000 malformed requests, 2,000 idle connections and 500 slow posts, while a client polls on connections of its own:",
        "",
        "| what | measured | target |",
        "|---|---|---|",
        f"| `/healthz`, slowest | {seen.health_s * 1000:.0f} ms | ≤ 1,000 ms |",
        f"| `/joblist/0/100`, median | {seen.poll_p50_s * 1000:.0f} ms | |",
        f"| `/joblist/0/100`, p99 | {seen.poll_p99_s * 1000:.0f} ms | ≤ 200 ms |",
        f"| requests that failed | {len(seen.failures)} | 0 |",
        f"| memory more than before | {seen.grown_mb:.0f} MB | flat |",
    ]


def _worst_lines(made: Besieged) -> list[str]:
    rows = []
    for one in worst_requests(made.shown):
        made.forget_peak()
        before, answer, first_s = made.memory_mb(), *made.sent(one.request)
        more = max(0.0, made.peak_mb() - before)
        _, again_s = made.sent(one.request)
        rows.append(
            f"| {one.name} | {first_s * 1000:.0f} ms | {again_s * 1000:.0f} ms | {more:.0f} MB | {len(answer) / 1000:.0f} kB |"
        )
    made.forget_peak()
    made.all_at_once(3)
    return [
        "| the worst request | time | again | memory meanwhile | answer |",
        "|---|---|---|---|---|",
        *rows,
        f"| all of them three times, at once | | | {made.peak_mb():.0f} MB in all (target ≤ 200) | |",
    ]
