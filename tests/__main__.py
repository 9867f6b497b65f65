"""`make check`, `make test` and `make test-all`: the stages of a run, one after the other, each with how long it took.

Tests run on several workers; tests/order.py says what stays together and what begins first. There are more workers than
processors, because much of this is waiting.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from server.settings import CHECKOUT
from tests.e2e.homes import BUILT
from tests.faults.figures import forget, report

SLOWEST = 25
WORKERS = max(3, min(8, 2 * (os.cpu_count() or 2) + 1))


@dataclass(frozen=True)
class Run:
    """Which tests a run is of. ``workers``: how many processes share them; ``dated``: whether docs/reliability.md tells of it."""

    marks: str
    workers: int = WORKERS
    dated: bool = False


RUNS = {
    "check": Run("not long and not vm and not system", workers=max(2, os.cpu_count() or 2)),
    "test": Run("not long"),
    "all": Run("", dated=True),
}


@dataclass
class Stages:
    """A pytest plugin that tells at the end how long each stage took. ``began``: Unix seconds, of the whole run."""

    began: float
    took_s: dict[str, float] = field(default_factory=dict)
    counted: str = ""

    def end(self, name: str, since: float) -> None:
        """Note a stage that began ``since``, and say so."""
        self.took_s[name] = time.time() - since
        print(_line(name, self.took_s[name]), flush=True)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """All of them once more, above pytest's closing line."""
        numbers = [f"{len(terminalreporter.stats.get(word, ())):,} {word}" for word in ("passed", "failed", "error", "skipped")]
        self.counted = f"{', '.join(numbers)} in {(time.time() - self.began) / 60:.0f} minutes"
        took_s = {**self.took_s, "tests": time.time() - self.began - sum(self.took_s.values())}
        terminalreporter.section("stages")
        for name, seconds in took_s.items():
            terminalreporter.line(_line(name, seconds))
        if BUILT.exists() and BUILT.stat().st_mtime > self.began:
            terminalreporter.line(f"{_line('template', float(BUILT.read_text()))}, beside the tests")


def main(name: str, *options: str) -> int:
    """One run; returns the exit code."""
    run, now = RUNS[name], time.time()
    stages = Stages(_given_start(now))
    stages.end("set-up", stages.began)
    if subprocess.run([CHECKOUT / "scripts" / "lint.sh"], check=False).returncode:
        return 1
    stages.end("lint", now)
    if run.dated:
        forget()
    parallel = ["-n", str(run.workers)]
    shown = [f"--durations={SLOWEST}", "--durations-min=1", "-q"]
    code = pytest.main([str(CHECKOUT / "tests"), "-m", run.marks, *parallel, *shown, *options], plugins=[stages])
    if run.dated:
        report(ok=code == pytest.ExitCode.OK, run=f"`make test-all`: {stages.counted}")
    return int(code)


def _given_start(now: float) -> float:
    """When `make` began, Unix seconds: the set-up comes before this program."""
    try:
        return min(now, float(os.environ.get("MAKE_BEGAN", now)))
    except ValueError:
        return now


def _line(name: str, seconds: float) -> str:
    return f"{name:8} {seconds:6.1f} s"


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in RUNS:
        sys.exit(f"usage: python -m {Path(__file__).parent.name} {'|'.join(RUNS)} [options of pytest]")
    sys.exit(main(*sys.argv[1:]))
