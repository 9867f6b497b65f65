"""The app's run, or its runs where it takes the files of a list one by one. Owns what each one's end means for the job."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field

from cumulus_runner import processes
from cumulus_runner.endtag import find_end_tag, location_stamp
from cumulus_runner.errors import StageFailed, Stopped
from cumulus_runner.findings import Findings, label, written
from cumulus_runner.journal import Journal
from cumulus_runner.lines import STDERR
from cumulus_runner.orders import Places, Plan, Run
from cumulus_runner.programs import STALLED, Account, Attendance, Program, StopRequest, environment, is_short_of_space
from cumulus_runner.report import Report
from cumulus_runner.watch import Watches

DONE, APP, REJECTED = "done", "app", "rejected"  # stages of a result; the other one is STALLED
FILE_DONE, FILE_FAILED, FILE_SKIPPED = "done", "failed", "skipped"
QUOTED_LINES = 3
NAMED_FILES = 5


@dataclass(frozen=True)
class Outcome:
    """How one run of the app, or all of them, ended. ``stage``: DONE, or what went wrong; ``figures``: what it found, by name."""

    stage: str
    code: int
    message: str = ""
    seen: bool | None = None
    figures: dict[str, float] = field(default_factory=dict)


class App:
    """The app of one job."""

    def __init__(
        self,
        plan: Plan,
        places: Places,
        user: Account | None,
        journal: Journal,
        report: Report,
        stop: StopRequest,
        watches: Watches,
    ) -> None:
        self._plan = plan
        self._places = places
        self._user = user
        self._journal = journal
        self._report = report
        self._stop = stop
        self._watches = watches
        self._findings = Findings(plan, places, user, stop, journal)
        self._kills = memory_kills()

    def run(self) -> Outcome:
        """Run it, for all files at once or for each by itself. Raises Stopped."""
        runs = self._plan.runs
        outcome = self._run_each(runs) if runs else self._run(os.path.join(self._places.work, "cmd"), "")
        if outcome.stage == DONE:
            self._tell_figures(outcome.figures)
        return outcome

    def _run_each(self, runs: tuple[Run, ...]) -> Outcome:
        skipped = {str(one.get("name")) for one in self._report.files if one.get("outcome") == FILE_SKIPPED}
        ended: list[tuple[Run, Outcome]] = []
        for number, run in enumerate(runs, 1):
            if {run.name, run.target} & skipped:
                continue
            if len(runs) > 1:
                self._journal.server(f"file {number} of {len(runs)}: {run.name}")
            if ended:
                self._empty_temp()
            ended.append((run, self._run_file(run)))
        return self._sum_up(runs, ended)

    def _run_file(self, run: Run) -> Outcome:
        path = os.path.join(self._places.work, "cmd")
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(run.command + "\n")
        outcome = self._run(path, run.target)
        how = FILE_DONE if outcome.stage == DONE else FILE_FAILED
        self._report.files.append({"name": run.name, "outcome": how, "message": outcome.message})
        if len(self._plan.runs) > 1:
            self._report.figures.extend(_entry(name, value, run.name) for name, value in outcome.figures.items())
            found = ", ".join(f"{label(name)}: {written(value)}" for name, value in outcome.figures.items())
            self._journal.server(f"{run.name}: {': '.join(part for part in (how, outcome.message or found) if part)}")
        if outcome.stage == DONE:
            self._warn_of_zeros(outcome.figures, f" in {run.name}" if len(self._plan.runs) > 1 else "")
        return outcome

    def _sum_up(self, runs: tuple[Run, ...], ended: list[tuple[Run, Outcome]]) -> Outcome:
        """One outcome of all: done where one file is, with a warning of each that is not."""
        failed = [(run.name, outcome) for run, outcome in ended if outcome.stage != DONE]
        if len(failed) == len(ended):
            return self._none_done(runs, failed)
        for name, outcome in failed:
            how = "could not be read" if outcome.stage == REJECTED else "failed"
            self._report.warn(f"{name} {how}: {outcome.message}")
        for name, message in self._left_out():
            if not any(name in warning for warning in self._report.warnings):
                self._report.warn(f"{name} was left out: {message}")
        done = [outcome for _, outcome in ended if outcome.stage == DONE]
        totals: dict[str, float] = {}
        for outcome in done:
            for name, value in outcome.figures.items():
                totals[name] = totals.get(name, 0) + value
        return Outcome(DONE, 0, "", done[0].seen, totals)

    def _none_done(self, runs: tuple[Run, ...], failed: list[tuple[str, Outcome]]) -> Outcome:
        stages = {outcome.stage for _, outcome in failed} | ({REJECTED} if len(failed) < len(runs) else set())
        stage = stages.pop() if len(stages) == 1 else APP
        code = next((outcome.code for _, outcome in failed if outcome.code), 0)
        seen = failed[0][1].seen if failed else None
        if len(runs) == 1 and failed:
            return Outcome(stage, code, failed[0][1].message, seen)
        told = [f"{name}: {outcome.message}" for name, outcome in failed]
        told += [f"{name}: {message}" for name, message in self._left_out()]
        more = f"; and {len(told) - NAMED_FILES} more" if len(told) > NAMED_FILES else ""
        words = f"the app has succeeded with none of {len(runs)} files: {'; '.join(told[:NAMED_FILES])}{more}"
        return Outcome(stage, code, words, seen)

    def _left_out(self) -> list[tuple[str, str]]:
        files = self._report.files
        return [(str(one.get("name")), str(one.get("message", ""))) for one in files if one.get("outcome") == FILE_SKIPPED]

    def _tell_figures(self, figures: dict[str, float]) -> None:
        """At the log's end, and for whoever asks for the job."""
        if not self._plan.runs:
            self._warn_of_zeros(figures, "")
        self._report.figures[:0] = [_entry(name, value) for name, value in figures.items()]
        for name, value in figures.items():
            self._journal.server(f"{label(name)}: {written(value)}")

    def _warn_of_zeros(self, figures: dict[str, float], where: str) -> None:
        marked = {label(name) for name in self._plan.warn_if_zero}
        for name, value in figures.items():
            if value == 0 and label(name) in marked:
                self._report.warn(f"{self._plan.app} reports 0 {label(name)}{where}")

    def _run(self, script: str, target: str) -> Outcome:
        """One run, of ``target`` alone or ("") of all files. Raises Stopped."""
        if self._stop.made:
            raise Stopped
        since, before = os.path.getsize(self._places.log), location_stamp(self._plan, self._places)
        code, attendance = self._attend(script)
        if self._stop.made:
            raise Stopped(code or 143)
        if attendance.outcome:
            stage = STALLED if attendance.outcome == STALLED else APP
            return Outcome(stage, code or 1, self._with_last_lines(f"the app was ended: {attendance.why}"))
        if self._plan.max_tasks and (words := self._findings.refused_fork()):
            limit = f"it could not start more than {self._plan.max_tasks} processes and threads at once"
            return Outcome(APP, code or 1, f"{limit} (exit code {code}); last lines: {words}")
        seen, broken = self._end_tag(since, before)
        words = self._findings.rejection(code, since)
        if words is not None:
            return Outcome(REJECTED, code, words, seen)
        message = "; ".join(part for part in (self._explain(code, seen), broken) if part)
        if message:
            return Outcome(APP, code, message, seen)
        return Outcome(DONE, code, "", seen, self._findings.figures(since, target))

    def _attend(self, script: str) -> tuple[int, Attendance]:
        """The app's exit code, 128 + n after signal n, and how it came to its end."""
        begin = time.monotonic()
        temp, output = self._places.temp, self._places.output
        env = environment(temp, self._user)
        program = Program(("/bin/sh", script), output, env, self._user)
        with suppress(OSError), open(os.path.join(self._places.work, "app.pid"), "w", encoding="ascii") as file:
            file.write(processes.describe(program.pid))
        self._journal.forget_last_lines()
        self._journal.server("the app has started")
        out, err = self._journal.stream(), self._journal.stream(STDERR)
        watch = self._watches.over(program.pid, self._plan.app, temp, (output, temp), whole=True)
        attendance = Attendance(program, self._stop, (out.feed, err.feed), watch)
        code = attendance.wait()
        out.end()
        err.end()
        self._journal.finish_program()
        code = 128 - code if code < 0 else code
        self._journal.server(f"the app has ended after {time.monotonic() - begin:.1f} s with exit code {code}")
        return code, attendance

    def _end_tag(self, since: int, before: tuple[int, int, int] | None) -> tuple[bool | None, str]:
        """Whether the end tag was seen, and what is wrong with it."""
        try:
            return find_end_tag(self._plan, self._places, since, before), ""
        except StageFailed as failure:
            return None, str(failure)

    def _explain(self, code: int, seen: bool | None) -> str:
        """Why the app failed, as far as one can see; "" where it did not. ``seen``: its end tag was, None where it has none."""
        if code == 0:
            missing = "exit code 0, end tag not seen: the app has ended without the sign of success that its author names"
            return missing if seen is False else ""
        if is_short_of_space(self._places.output):
            how = f"the machine's disk is full (exit code {code})"
        elif code == 137 and memory_kills() > self._kills:
            how = "the machine's memory was not enough (killed by signal 9)"
        elif code == 137:
            how = "killed by signal 9 – out of memory?"
        elif 128 < code <= 128 + 64:
            how = f"killed by signal {code - 128}"
        else:
            how = f"exit code {code}"
        return self._with_last_lines(how if seen is None else f"{how}, end tag {'' if seen else 'not '}seen")

    def _with_last_lines(self, how: str) -> str:
        last = " / ".join(self._journal.last_lines(QUOTED_LINES))
        return f"{how}; last lines: {last}" if last else how

    def _empty_temp(self) -> None:
        """What one file has left must not become another one's."""
        for entry in os.scandir(self._places.temp):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with suppress(OSError):
                    os.unlink(entry.path)


def _entry(name: str, value: float, file: str = "") -> dict[str, object]:
    """A figure as the report has it."""
    return {"name": name, "label": label(name), "value": value, **({"file": file} if file else {})}


def memory_kills() -> int:
    """How many processes this machine has killed for lack of memory since its start."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0
