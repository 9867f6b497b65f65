"""A job folder as the controller makes it, and the runner as a worker starts it."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FILES = Path(__file__).parents[2] / "infra" / "ansible" / "roles" / "worker_base" / "files"
RUNNER = FILES / "cumulus-runner"
sys.path.insert(0, str(FILES))


def wait_until(true: Callable[[], object], limit_s: float = 10.0) -> None:
    """Return when the condition holds; fails after the limit."""
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether a process runs; one that nobody has fetched the end of does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@dataclass
class Worker:
    """One job on a pretended worker: its folder in the storage, the data folder, the machine's own disk."""

    root: Path
    options: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for path in (self.job / "input", self.job / "output", self.data):
            path.mkdir(parents=True, exist_ok=True)

    @property
    def job(self) -> Path:
        return self.root / "jobs" / "Job_7_alice_app_1"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.job / ".cumulus.result").read_text())
        return found

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.job / ".cumulus.report").read_text())
        return found

    @property
    def log(self) -> str:
        path = self.job / ".cumulus.log"
        return path.read_text() if path.exists() else ""

    @property
    def lines(self) -> list[str]:
        """The log without the runner's own lines."""
        return [line for line in self.log.split("\n")[:-1] if not line.startswith(("[SERVER] ", "[INFO] "))]

    def order(self, command: str, *inputs: dict[str, Any], **plan: Any) -> None:
        """Write what the controller writes before a start."""
        values = {"attempt": 1, "job_id": 7, "worker": "job-7", "cpus": 2, "inputs": list(inputs), **plan}
        (self.job / ".cumulus.plan").write_text(json.dumps(values))
        (self.job / ".cumulus.cmd").write_text(command + "\n")

    def command(self, *more: str) -> list[str]:
        places = ["--job-dir", str(self.job), "--data-dir", str(self.data), "--work-dir", str(self.work)]
        return [sys.executable, str(RUNNER), "start", *places, *self.options, *more]

    def start(self, *more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(self.command(*more), capture_output=True, text=True, timeout=30, check=False)

    def stop(self) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, str(RUNNER), "stop", "--work-dir", str(self.work)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    def status(self) -> str:
        command = [sys.executable, str(RUNNER), "status", "--work-dir", str(self.work)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()

    def run(self, command: str, *inputs: dict[str, Any], **plan: Any) -> dict[str, Any]:
        """Run a job from its start to its result."""
        self.order(command, *inputs, **plan)
        done = self.start("--foreground")
        assert done.returncode == 0, done.stderr
        return self.result


@pytest.fixture
def worker(tmp_path: Path) -> "Worker":
    return Worker(tmp_path)


def shared(name: str, target: str = "", convert: list[str] | None = None, unless_indexed: bool = False) -> dict[str, Any]:
    """An input from the data folder, as it stands in a plan."""
    return {"name": name, "shared": True, "target": target or name, "convert": convert, "unless_indexed": unless_indexed}


def own(name: str) -> dict[str, Any]:
    """An input of the job alone."""
    return {"name": name, "shared": False, "target": name, "convert": None}
