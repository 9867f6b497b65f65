"""One attempt of one job from its start to its result: the order of the stages and what each one's failure means."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import replace
from typing import Callable

from cumulus_runner import processes
from cumulus_runner.endtag import find_end_tag
from cumulus_runner.errors import RunnerError, StageFailed, Stopped
from cumulus_runner.folder import JobFolder, Result, is_full
from cumulus_runner.inputs import Inputs, make_own
from cumulus_runner.journal import Journal
from cumulus_runner.lease import Lease
from cumulus_runner.lines import STDERR
from cumulus_runner.link import StorageLink
from cumulus_runner.meter import Meter
from cumulus_runner.network import OPEN, fence
from cumulus_runner.orders import Places, Plan, read_plan
from cumulus_runner.programs import Account, Attendance, Program, StopRequest, environment, is_short_of_space
from cumulus_runner.report import Report
from cumulus_runner.results import Results

QUOTED_LINES = 3
STOPPED = "stopped"  # the stage of a run that had to end: the controller may try it again, and knows whether it wanted that


def take_up(places: Places, user: Account | None) -> Job:
    """Claim the attempt and make its work folder. Raises AlreadyStarted, RunnerError."""
    plan = read_plan(places)
    folder = JobFolder(places.job)
    folder.take_up(plan.attempt, plan.worker)
    try:
        prepare_work(places, user)
        with open(folder.private("cmd"), "rb") as source, open(os.path.join(places.work, "cmd"), "wb") as target:
            shutil.copyfileobj(source, target)
        return Job(plan, places, user)
    except OSError as problem:
        folder.release(plan.attempt)  # nothing has begun: it may be tried again
        raise RunnerError(f"the job cannot be prepared: {problem.strerror}: {problem.filename}") from None


def prepare_work(places: Places, user: Account | None) -> None:
    """An empty work folder; what an earlier job left in it goes."""
    os.makedirs(places.work, exist_ok=True)
    for path in (places.input, places.output, places.temp):
        if os.path.lexists(path):
            shutil.rmtree(path)
        make_own(path, user)


class Job:
    """An attempt that was claimed here."""

    def __init__(self, plan: Plan, places: Places, user: Account | None, now: Callable[[], float] = time.time) -> None:
        self._plan = plan
        self._places = places
        self._user = user
        self._now = now
        self._folder = JobFolder(places.job)
        self._stop = StopRequest()
        self._report = Report(plan.attempt)
        self._started = now()
        lease = Lease(places.job, plan.lease_s, places.lease)
        self._link = StorageLink(self._folder, places.log, lease, self._stop.make, now)
        self._journal = Journal(places.log, self._link.tell, now)
        self._meter = Meter(self._journal, now)
        self._kills = memory_kills()

    def run(self) -> Result:
        """All stages and the result; nothing of the job runs any more when this returns."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.make())
        self._journal.server(
            f"job {self._plan.job_id}, attempt {self._plan.attempt}, on {self._plan.worker or os.uname().nodename}"
        )
        self._meter.start()
        self._link.start()
        result = self._stages()
        self._journal.server(result.message or "done")
        self._meter.end()
        self._meter.join()
        if not self._link.end():
            result = self._result(
                result.stage, result.exit_code, f"{result.message} (the log is not complete: no room in the storage)".strip()
            )
        self._journal.close()
        self._folder.conclude(result, self._report.to_text())
        return result

    def _stages(self) -> Result:
        stage = "input"
        try:
            inputs = Inputs(self._plan, self._places, self._journal, self._user, self._stop)
            to_convert = inputs.provide()
            stage = "convert"
            inputs.convert(to_convert)
            stage = "app"
            code = self._run_app()
            return self._after_app(code)
        except StageFailed as failure:
            return self._result(stage, failure.exit_code, str(failure))
        except Stopped as stopped:
            return self._result(STOPPED, stopped.exit_code, self._stop.why or str(stopped))
        except OSError as problem:
            why = "the machine's disk is full" if is_full(problem) else str(problem)
            return self._result(stage, 1, f"the runner could not go on: {why}")
        except Exception as problem:  # noqa: BLE001 - a job without a result would be run again and again
            return self._result(stage, 1, f"fault in the runner: {type(problem).__name__}: {problem}")

    def _run_app(self) -> int:
        """The app's exit code, 128 + n after signal n. Raises Stopped."""
        if self._stop.made:
            raise Stopped
        begin = time.monotonic()
        command = ("/bin/sh", os.path.join(self._places.work, "cmd"))
        user = app_user(self._plan, self._places, self._user)
        app = Program(command, self._places.output, environment(self._places.temp, user), user)
        with suppress(OSError), open(os.path.join(self._places.work, "app.pid"), "w", encoding="ascii") as file:
            file.write(processes.describe(app.pid))
        self._journal.server("the app has started")
        out, err = self._journal.stream(), self._journal.stream(STDERR)
        code = Attendance(app, self._stop, (out.feed, err.feed)).wait()
        out.end()
        err.end()
        self._journal.finish_program()
        code = 128 - code if code < 0 else code
        self._journal.server(f"the app has ended after {time.monotonic() - begin:.1f} s with exit code {code}")
        if self._stop.made:
            raise Stopped(code or 143)
        return code

    def _after_app(self, code: int) -> Result:
        """The results are stored even if the app failed: they may tell why."""
        seen, stage, broken = None, "done" if code == 0 else "app", ""
        try:
            seen = find_end_tag(self._plan, self._places)
        except StageFailed as failure:
            stage, broken = "app", str(failure)
        message = "; ".join(part for part in (self._explain(code, seen), broken) if part)
        try:
            stored = Results(self._places, self._journal, self._stop).store()
            self._journal.server(f"stored {stored.files} result files, {stored.size} bytes")
        except StageFailed as failure:
            stage, message = ("results" if code == 0 else stage), f"{message}; {failure}" if message else str(failure)
        except Stopped as stopped:
            stage, message = STOPPED, self._stop.why or str(stopped)
        return self._result(stage, code, message, seen)

    def _explain(self, code: int, seen: bool | None) -> str:
        """Why the app failed, as far as one can see; "" where it did not. ``seen``: its end tag was, None where it has none."""
        if code == 0:
            missing = "exit code 0, end tag not seen: the app has ended without the sign of success that its author names"
            return missing if seen is False else ""
        last = " / ".join(self._journal.last_lines(QUOTED_LINES))
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
        if seen is not None:
            how = f"{how}, end tag {'' if seen else 'not '}seen"
        return f"{how}; last lines: {last}" if last else how

    def _result(self, stage: str, code: int, message: str, seen: bool | None = None) -> Result:
        readable = message.encode("utf-8", "replace").decode("utf-8")  # a file's name need not be text
        return Result(self._plan.attempt, code, stage, readable, seen, self._started, self._now())


def app_user(plan: Plan, places: Places, user: Account | None) -> Account | None:
    """Who the app runs as: the user of all programs, in the machine's own network where the app may use the internet.

    Raises StageFailed where it could then reach more than that.
    """
    if user is None or user.network == OPEN or not plan.internet:
        return user
    try:
        fence(user.uid, places.server)
    except RunnerError as problem:
        raise StageFailed(str(problem)) from None
    return replace(user, network=OPEN)


def memory_kills() -> int:
    """How many processes this machine has killed for lack of memory since its start."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0
