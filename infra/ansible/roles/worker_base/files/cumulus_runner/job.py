"""One attempt of one job from its start to its result: the order of the stages and what each one's failure means."""

from __future__ import annotations

import os
import shutil
import signal
import time
from dataclasses import replace
from typing import Callable

from cumulus_runner import machine
from cumulus_runner.errors import RunnerError, StageFailed, Stopped
from cumulus_runner.folder import JobFolder, Result, is_full
from cumulus_runner.inputs import Inputs, make_own
from cumulus_runner.journal import Journal
from cumulus_runner.lease import Lease
from cumulus_runner.link import StorageLink
from cumulus_runner.meter import Meter
from cumulus_runner.network import OPEN, fence
from cumulus_runner.orders import Places, Plan, read_plan
from cumulus_runner.programs import Account, StopRequest, limit_tasks
from cumulus_runner.report import Report
from cumulus_runner.results import Results
from cumulus_runner.room import Room
from cumulus_runner.runs import APP, DONE, App, Outcome
from cumulus_runner.watch import Watches

STOPPED = "stopped"  # the stage of a run that had to end: the controller may try it again, and knows whether it wanted that


def take_up(places: Places, user: Account | None, worker: str = "") -> Job:
    """Claim the attempt and make its work folder. ``worker``: only if the plan is for that machine; "": for any.

    Raises AlreadyStarted, RunnerError.
    """
    plan = read_plan(places)
    if worker and plan.worker != worker:
        raise RunnerError(f"the job's plan is for {plan.worker or 'no machine'}, and this is {worker}")
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
        self._report = Report(plan.attempt, machine=machine.describe())
        self._started = now()
        lease = Lease(places.job, plan.lease_s, places.lease)
        self._room = Room(self._folder, plan.reserve, plan.results_wait_s, self._stop, self._say)
        self._link = StorageLink(self._folder, places.log, lease, self._room, self._stop.make, now)
        self._journal = Journal(places.log, self._link.tell, now, plan.log_limit, plan.reserve)
        self._meter = Meter(self._journal, now)
        self._watches = Watches(plan, places, self._journal.server, self._link.is_away, now)

    def run(self) -> Result:
        """All stages and the result; nothing of the job runs any more when this returns."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.make())
        limit_tasks(self._plan.max_tasks, self._user)
        self._journal.server(
            f"job {self._plan.job_id}, attempt {self._plan.attempt}, on {self._plan.worker or os.uname().nodename}"
        )
        self._meter.start()
        self._link.start()
        result = self._stages()
        for warning in self._report.warnings:
            self._journal.server(f"warning: {warning}")
        self._journal.server(result.message or ("done, with a warning" if self._report.warnings else "done"))
        self._meter.end()
        self._meter.join()
        if not self._link.end():
            result = self._result(
                result.stage, result.exit_code, f"{result.message} (the log is not complete: no room in the storage)".strip()
            )
        self._journal.close()
        begin = time.monotonic()
        self._folder.conclude(result, self._report.to_text(), lambda problem: self._link.await_storage(problem, begin))
        self._room.close()
        return result

    def _say(self, text: str) -> None:
        self._journal.server(text)

    def _stages(self) -> Result:
        stage = "input"
        try:
            inputs = Inputs(self._plan, self._places, self._journal, self._user, self._stop, self._report, self._watches)
            inputs.require()
            stage = "inspect"
            inputs.inspect()
            stage = "input"
            to_convert = inputs.provide()
            stage = "convert"
            inputs.convert(to_convert)
            stage = "app"
            user = app_user(self._plan, self._places, self._user)
            app = App(self._plan, self._places, user, self._journal, self._report, self._stop, self._watches)
            return self._after_app(app.run())
        except StageFailed as failure:
            return self._result(failure.stage or stage, failure.exit_code, str(failure))
        except Stopped as stopped:
            return self._result(STOPPED, stopped.exit_code, self._stop.why or str(stopped))
        except OSError as problem:
            why = "the machine's disk is full" if is_full(problem) else str(problem)
            return self._result(stage, 1, f"the runner could not go on: {why}")
        except Exception as problem:  # noqa: BLE001 - a job without a result would be run again and again
            return self._result(stage, 1, f"fault in the runner: {type(problem).__name__}: {problem}")

    def _after_app(self, app: Outcome) -> Result:
        """The results are stored even if the app failed: they may tell why."""
        is_untagged = app.stage == APP and app.code == 0 and app.seen is False  # how far it came is the controller's to judge
        stage, message = DONE if is_untagged else app.stage, app.message
        try:
            stored = Results(self._places, self._journal, self._stop, self._room).store()
            self._journal.server(f"stored {stored.files} result files, {stored.size} bytes")
            self._report.results = stored.entries
            stored.require_all()
        except StageFailed as failure:
            stage, message = ("results" if stage == DONE else stage), f"{message}; {failure}" if message else str(failure)
        except Stopped as stopped:
            stage, message = STOPPED, self._stop.why or str(stopped)
        return self._result(stage, app.code, message, app.seen)

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
