"""What the end of a run costs: results on their way into the storage by the real runner, and the look at a long log."""

import json
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import psutil

from server.settings import CHECKOUT
from server.storage.logs.job_log import Log
from tests.bench.measuring import HOMES, MB, Options, computer, keep_results, say, timed, write

HOME = HOMES / "results"
RUNNER = CHECKOUT / "infra" / "ansible" / "roles" / "worker_base" / "files" / "cumulus-runner"
MANY, MANY_TARGET_S = 20_000, 20
SMALL = f'i=0; while [ $i -lt {MANY} ]; do i=$((i+1)); printf "%2000d" $i > "$i.tsv"; done'
LARGE_MB = 2000
LARGE = f"head -c {LARGE_MB}m /dev/urandom > large"
LOG_MB, LOG_TARGET_S = 300, 2
LINE = b"[STDERR] spectrum 1234567 of 7654321 was scored: 0.123456789\n"
POINT = b"[INFO] 2033-05-18 03:33:20 UTC;CPU:12.3%;RAM:45.6%\n"


def main(_: Options) -> None:
    """Measure, print the table and write it down."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    load = psutil.getloadavg()[0]
    small_s = [stored_s(SMALL) for _ in range(3)]
    large_s = stored_s(LARGE)
    first_s, later_s, peak_mb = look()
    shutil.rmtree(HOME)
    found = {"small_s": small_s, "large_mb_s": LARGE_MB / large_s, "log_s": first_s, "log_later_ms": 1000 * later_s}
    keep_results("results", found)
    write("results", report(small_s, large_s, first_s, later_s, peak_mb, load))


def stored_s(command: str) -> float:
    """Seconds from the app's end until its results are stored, flushed and compared."""
    say(f"Storing the results of: {command[:60]}")
    job, work = HOME / "job", HOME / "work"
    for folder in (job, work):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    (job / ".cumulus.plan").write_text(json.dumps({"attempt": 1, "inputs": []}))
    (job / ".cumulus.cmd").write_text(f"{command}; sync -f .; touch ended\n")  # what the app itself wrote is not our work
    places = [f"--{name}-dir={path}" for name, path in (("job", job), ("data", HOME), ("work", work))]
    subprocess.run([sys.executable, str(RUNNER), "start", "--foreground", *places], check=True, capture_output=True)
    result = json.loads((job / ".cumulus.result").read_text())
    if result["stage"] != "done":
        raise RuntimeError(result["message"])
    return float(result["ended"]) - (work / "output" / "ended").stat().st_mtime


def look() -> tuple[float, float, float]:
    """Seconds of the first look at a long log and of one when a line was added; MB that they took at most."""
    path = HOME / "log"
    write_log(path)
    log = Log(path)
    tracemalloc.start()
    first_s = timed(log.text)
    with path.open("ab") as file:
        file.write(LINE)
    later_s = timed(log.text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return first_s, later_s, peak / MB


def write_log(path: Path) -> None:
    """A log of ``LOG_MB`` with a measure now and then."""
    part = POINT + LINE * 5000
    with path.open("wb") as file:
        for _ in range(LOG_MB * MB // len(part)):
            file.write(part)


def report(small_s: list[float], large_s: float, first_s: float, later_s: float, peak_mb: float, load: float) -> list[str]:
    """The table."""
    rounds = ", ".join(f"{one:.1f} s" for one in sorted(small_s))
    return [
        f"{computer()}, load before {load:.1f}.",
        "",
        "| of a run's end | measured | target |",
        "|---|---|---|",
        f"| {MANY:,} results of 2 kB | {rounds} | ≤ {MANY_TARGET_S} s |",
        f"| one result of {LARGE_MB / 1000:.0f} GB | {large_s:.1f} s, {LARGE_MB / large_s:.0f} MB/s | – |",
        f"| first look at a log of {LOG_MB} MB | {first_s:.2f} s | ≤ {LOG_TARGET_S} s |",
        f"| look at it when a line was added | {1000 * later_s:.0f} ms | ≤ 50 ms |",
        f"| memory that both take at most | {peak_mb:.0f} MB | ≤ 10 MB |",
    ]
