"""The stage before all others: each input is read to its end, looked at, and compared with what was sent.

Owns what is told of it, in the log and in the report.
"""

from __future__ import annotations

import os
import time
from typing import Any, Callable

from cumulus_runner.errors import StageFailed, Stopped
from cumulus_runner.inspection import MZML, Fault, Finding, inspect
from cumulus_runner.journal import Journal
from cumulus_runner.orders import Input
from cumulus_runner.programs import StopRequest
from cumulus_runner.report import Report

TELL_EVERY_S = 10.0
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


def look_at(one: Input, path: str, journal: Journal, stop: StopRequest, report: Report) -> Finding:
    """Read one input to its end. Raises Fault with the file's name in it, StageFailed where it cannot be read, Stopped."""
    try:
        finding = inspect(path, one.name, Progress(one.name, size_of(path), journal, stop))
    except Fault as fault:
        raise Fault(f"{one.name}: {fault}") from None
    except OSError as problem:
        raise StageFailed(f"input file {one.name} cannot be read: {problem.strerror}", stage=INPUT) from None
    report.inputs.append(_entry(one, finding))
    if one.expected and not os.path.isdir(path) and one.expected != f"sha256:{finding.sha256}":
        raise Fault(f"{one.name} is not the file that was sent: its content has changed since")
    if finding.kind == MZML and not (one.convert or one.rewrite) and "wrong-index" in finding.features:
        report.warn(f"{one.name}: its index does not fit; a program that believes it may not find all spectra")
    for warning in finding.warnings:
        report.warn(f"{one.name}: {warning}")
        journal.server(f"warning: {one.name}: {warning}")
    return finding


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
