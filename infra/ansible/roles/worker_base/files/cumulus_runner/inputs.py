"""The app's input: each file inspected, then linked, copied, rewritten or converted into the work folder.

It is there under its final name only when it is whole. Owns which file takes which way, and which is left out.
"""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Callable

from cumulus_runner.converting import Converter, make_own, unread
from cumulus_runner.errors import StageFailed, Stopped
from cumulus_runner.folder import is_full
from cumulus_runner.inspecting import Inspection
from cumulus_runner.inspection import FASTA, MGF, MZML, Finding
from cumulus_runner.journal import Journal
from cumulus_runner.orders import Input, Places, Plan
from cumulus_runner.programs import Account, StopRequest
from cumulus_runner.report import Report
from cumulus_runner.watch import Watches

__all__ = ["Inputs", "make_own"]

CHUNK = 1024 * 1024
REWRITTEN = (FASTA, MGF)  # by ourselves, where no converter is ordered


class Inputs:
    """Provides one job's input files. ``left_out``: why an input with this number is not among them."""

    def __init__(
        self,
        plan: Plan,
        places: Places,
        journal: Journal,
        user: Account | None,
        stop: StopRequest,
        report: Report,
        watches: Watches,
    ) -> None:
        self._plan = plan
        self._places = places
        self._journal = journal
        self._stop = stop
        self._report = report
        self._inspection = Inspection(plan, places, journal, user, stop, report)
        self._converter = Converter(plan, places, journal, user, stop, report, watches)
        self._findings: dict[int, Finding] = {}
        self._failed = threading.Event()
        self.left_out: dict[int, str] = {}

    def require(self) -> None:
        """Raises StageFailed where an input is not there."""
        for one in self._plan.inputs:
            if not os.path.exists(self._source(one)):
                where = "the data folder" if one.shared else "the job's own input folder"
                raise StageFailed(f"input file {one.name} is not in {where}")

    def inspect(self) -> None:
        """Look at all of them, each to its end. Raises StageFailed for the first that cannot be used, Stopped."""
        found = self._inspection.run([self._source(one) for one in self._plan.inputs])
        faults = {number: what for number, what in found.items() if isinstance(what, str)}
        self._findings = {number: what for number, what in found.items() if isinstance(what, Finding)}
        for number, finding in self._findings.items():
            if changed := self._inspection.tell(number, finding):
                faults[number] = changed
        self._leave_out(faults)

    def provide(self) -> list[int]:
        """Link, copy or rewrite what needs no converter; returns the numbers of those that do. Raises StageFailed, Stopped."""
        used = [number for number in range(len(self._plan.inputs)) if number not in self.left_out]
        ready = [number for number in used if not self._must_convert(number)]
        for number in ready:
            self._attempt(number, self._way_of(number))
        if ready:
            names = ", ".join(self._plan.inputs[number].target for number in ready)
            self._journal.server(f"{'copied' if self._plan.copy_inputs else 'linked'} input: {names}")
        return [number for number in used if number not in ready]

    def convert(self, numbers: list[int]) -> None:
        """Convert, as many at once as there are processors. Raises StageFailed for the first that fails, Stopped."""
        if not numbers:
            return
        with ThreadPoolExecutor(min(self._plan.cpus, len(numbers)), thread_name_prefix="convert") as pool:
            outcomes = {number: pool.submit(self._convert, number) for number in numbers}
        problems = {number: problem for number, outcome in outcomes.items() if (problem := outcome.exception())}
        for problem in sorted(problems.values(), key=lambda problem: not isinstance(problem, Stopped)):
            if not isinstance(problem, StageFailed):
                raise problem
        self._leave_out({number: str(problem) for number, problem in problems.items()})

    def _leave_out(self, faults: dict[int, str]) -> None:
        """Go on without what cannot be used, where the app takes files one by one and has others. Raises StageFailed."""
        without = {*self.left_out, *faults}
        for number, why in faults.items():
            one = self._plan.inputs[number]
            left = any(
                other.alone and other.group == one.group and place not in without for place, other in enumerate(self._plan.inputs)
            )
            if not one.alone or not left:
                raise StageFailed(why)
        for number, why in faults.items():
            self.left_out[number] = why
            self._report.files.append({"name": self._plan.inputs[number].name, "outcome": "skipped", "message": why})
            self._report.warn(f"{why}. The other files were processed without it.")
            self._journal.server(f"left out: {why}")

    def _source(self, one: Input) -> str:
        return os.path.join(*((self._places.data,) if one.shared else (self._places.shown_job, "input")), one.name)

    def _target(self, one: Input) -> str:
        path = os.path.join(self._places.input, one.target)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def _must_convert(self, number: int) -> bool:
        one, finding = self._plan.inputs[number], self._findings[number]
        if one.convert and not one.unless_indexed:
            return True
        if not (one.convert or one.rewrite):
            return False
        if words := unread(one, finding):
            self._journal.server(f"{one.name} is converted for the app ({', '.join(sorted(words))})")
        return bool(words) or finding.kind != MZML

    def _way_of(self, number: int) -> Callable[[int], None]:
        one, finding = self._plan.inputs[number], self._findings[number]
        if finding.kind in REWRITTEN and unread(one, finding):
            return self._rewrite
        return self._copy if self._plan.copy_inputs else self._link

    def _attempt(self, number: int, provide: Callable[[int], None]) -> None:
        if self._stop.made:
            raise Stopped
        try:
            provide(number)
        except OSError as problem:
            why = "the machine's disk is full" if is_full(problem) else problem.strerror
            raise StageFailed(f"input file {self._plan.inputs[number].name} could not be provided: {why}") from None

    def _link(self, number: int) -> None:
        one = self._plan.inputs[number]
        os.symlink(self._source(one), self._target(one))

    def _rewrite(self, number: int) -> None:
        one = self._plan.inputs[number]
        self._converter.rewrite(one, self._source(one), self._findings[number], self._target(one))

    def _copy(self, number: int) -> None:
        one = self._plan.inputs[number]
        source, target = self._source(one), self._target(one)
        part = os.path.join(self._places.temp, "copy.part")
        if os.path.isdir(source):
            shutil.copytree(source, part, copy_function=self._copy_file)
        else:
            self._copy_file(source, part)
        os.rename(part, target)

    def _copy_file(self, source: str, target: str) -> str:
        with open(source, "rb") as read, open(target, "xb") as write:
            while chunk := read.read(CHUNK):
                if self._stop.made:
                    raise Stopped
                write.write(chunk)
            size = os.fstat(read.fileno()).st_size
        if os.path.getsize(target) != size:
            raise StageFailed(f"input file {os.path.basename(source)} changed while it was copied")
        return target

    def _convert(self, number: int) -> None:
        if self._stop.made:
            raise Stopped
        if self._failed.is_set():
            return
        one = self._plan.inputs[number]
        try:
            self._converter.convert(number, one, self._source(one), self._findings[number], self._target(one))
        except Exception:
            if not one.alone:
                self._failed.set()
            raise
