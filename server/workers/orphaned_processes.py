"""Terraforms and Ansibles that an earlier controller left behind. Owns finding, awaiting and ending them.

A controller that is killed leaves its children at work; two at once on one machine would spoil its state. A child is known
by what the kernel says of it, not by a record that could be missing: terraform by its environment (data folder and workspace),
a play by its private folder, on its command line or as the one that a forked play works in.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import structlog

from server.workers.ansible.fork_server import folder_of

END_GRACE_S = 15.0
POLL_S = 0.05
log = structlog.get_logger()


@dataclass
class OrphanReaper:
    """The children of earlier controllers, found once at the first question; later ones are this controller's own."""

    data: Path
    plays: Path
    processes: Callable[[], Iterator[psutil.Process]] = psutil.process_iter
    _found: dict[str, list[psutil.Process]] | None = field(default=None, init=False)
    _looking: threading.Lock = field(default_factory=threading.Lock, init=False)

    def end_for(self, worker: str, limit_s: float) -> None:
        """Return when none is at work for the worker: a terraform may end by itself within ``limit_s``, a play is ended."""
        mine = self._at_work().pop(worker, [])
        terraforms = [process for process in mine if self._workspace(process) == worker]
        for play in (process for process in mine if process not in terraforms):
            _signal(play, signal.SIGKILL)
        if terraforms:
            log.info("waiting for a terraform of an earlier controller", worker=worker, pids=[one.pid for one in terraforms])
        left = _wait(terraforms, limit_s)
        for number in (signal.SIGINT, signal.SIGKILL):
            for process in left:
                _signal(process, number)
            left = _wait(left, END_GRACE_S)

    def workers(self) -> list[str]:
        """The workers that something is still at work for."""
        return sorted(worker for worker, processes in list(self._at_work().items()) if any(map(_is_at_work, processes)))

    def _at_work(self) -> dict[str, list[psutil.Process]]:
        """Who asks while the first one still looks waits for it: half a list would let two terraforms at one state."""
        with self._looking:
            if self._found is None:
                self._found = self._scan()
            return self._found

    def _scan(self) -> dict[str, list[psutil.Process]]:
        found: dict[str, list[psutil.Process]] = {}
        for process in self.processes():
            if process.pid != os.getpid() and (worker := self._workspace(process) or self._played(process)):
                found.setdefault(worker, []).append(process)
        return found

    def _workspace(self, process: psutil.Process) -> str:
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            return ""
        return environment.get("TF_WORKSPACE", "") if environment.get("TF_DATA_DIR") == str(self.data) else ""

    def _played(self, process: psutil.Process) -> str:
        try:
            words = [*process.cmdline(), f"{folder_of(process)}{os.sep}"]
        except (psutil.Error, OSError):
            return ""
        start = f"{self.plays}{os.sep}"
        found = next((word.partition(start)[2] for word in words if start in word), "")
        return found.partition("/")[0].rpartition(".")[0]


def _wait(processes: list[psutil.Process], limit_s: float) -> list[psutil.Process]:
    """Those that are still at work after at most ``limit_s``."""
    end = time.monotonic() + limit_s
    while (left := [process for process in processes if _is_at_work(process)]) and time.monotonic() < end:
        time.sleep(POLL_S)
    return left


def _is_at_work(process: psutil.Process) -> bool:
    """A dead process that nobody has waited for is over, too: not every container has an init that does."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return  # it has ended
