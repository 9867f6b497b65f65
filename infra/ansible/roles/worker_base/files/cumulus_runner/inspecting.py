"""The stage before all others: each input is read to its end, looked at, and compared with what was sent.

Owns what is told of it, in the log and in the report.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

from cumulus_runner.errors import StageFailed, Stopped
from cumulus_runner.inspection import MZML, Fault, Finding, inspect
from cumulus_runner.journal import Journal
from cumulus_runner.orders import Input, Places, Plan
from cumulus_runner.programs import Account, StopRequest
from cumulus_runner.report import Report

TELL_EVERY_S = 10.0
MANY_BYTES = 256 * 1024 * 1024
INPUT = "input"  # the stage whose failures are not the file's fault


class Progress:
    """How much of a file was read: said in the log now and then. Ends the reading when the job has to stop."""

    def __init__(
        self, name: str, total: int, journal: Journal, stop: StopRequest, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._total = total
        self._journal = journal
        self._stop = stop
        self._clock = clock
        self._read = 0
        self._told = clock()

    def __call__(self, size: int) -> None:
        """So many bytes more. Raises Stopped."""
        if self._stop.made:
            raise Stopped
        self._read += size
        now = self._clock()
        if now - self._told >= TELL_EVERY_S and self._total:
            self._told = now
            self._journal.server(f"checked {min(100, 100 * self._read // self._total)} % of {self._name}")


Look = Callable[[str, str, Progress], Finding]


class Inspection:
    """Looks at one job's inputs. ``many``: from how many bytes of several files on each gets a process of its own."""

    def __init__(
        self,
        plan: Plan,
        places: Places,
        journal: Journal,
        user: Account | None,
        stop: StopRequest,
        report: Report,
        many: int = MANY_BYTES,
    ) -> None:
        self._plan = plan
        self._temp = places.temp
        self._journal = journal
        self._user = user
        self._stop = stop
        self._report = report
        self._many = many

    def run(self, paths: Sequence[str]) -> dict[int, Finding | str]:
        """What each input is, by its number, or what is wrong with it. Raises StageFailed where one cannot be read, Stopped."""
        numbers = range(len(paths))
        apart = min(self._plan.cpus, len(paths)) > 1 and sum(map(size_of, paths)) >= self._many
        if not apart:
            return {number: self._judged(number, paths[number], inspect) for number in numbers}
        with ThreadPoolExecutor(self._plan.cpus, thread_name_prefix="inspect") as pool:
            outcomes = [pool.submit(self._judged, number, paths[number], self._inspect_apart) for number in numbers]
        return {number: outcome.result() for number, outcome in enumerate(outcomes)}

    def tell(self, number: int, finding: Finding) -> str:
        """Put an input into the report, and what is odd about it. Returns what is wrong where it is not what was sent."""
        one = self._plan.inputs[number]
        self._report.inputs.append(_entry(one, finding))
        warnings = list(finding.warnings)
        if finding.kind == MZML and not (one.convert or one.rewrite) and "wrong-index" in finding.features:
            warnings.append("its index does not fit; a program that believes it may not find all spectra")
        for warning in warnings:
            self._report.warn(f"{one.name}: {warning}")
            self._journal.server(f"warning: {one.name}: {warning}")
        if one.expected and not finding.folder and one.expected != f"sha256:{finding.sha256}":
            return f"{one.name} is not the file that was sent: its content has changed since"
        return ""

    def _judged(self, number: int, path: str, look: Look) -> Finding | str:
        name = self._plan.inputs[number].name
        if self._stop.made:
            raise Stopped
        try:
            return look(path, name, Progress(name, size_of(path), self._journal, self._stop))
        except Fault as fault:
            return f"{name}: {fault}"
        except OSError as problem:
            raise StageFailed(f"input file {name} cannot be read: {problem.strerror}", stage=INPUT) from None

    def _inspect_apart(self, path: str, name: str, progress: Progress) -> Finding:
        from cumulus_runner.apart import inspect_apart

        return inspect_apart(path, name, progress, self._temp, self._user, self._stop)


def size_of(path: str) -> int:
    """Bytes of a file, or of all files in a folder; 0 where that cannot be seen."""
    try:
        if not os.path.isdir(path):
            return os.path.getsize(path)
        return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(path) for name in names)
    except OSError:
        return 0


def _entry(one: Input, finding: Finding) -> dict[str, Any]:
    entry = {
        "name": one.name,
        "target": one.target,
        "size": finding.size,
        "sha256": finding.sha256,
        "kind": finding.kind or os.path.splitext(one.name)[1].lstrip("."),
    }
    return entry if finding.spectra is None else {**entry, "spectra": finding.spectra}
