"""A machine that an administrator removes: what becomes of its job, and the row's way to its end.

Owns the decision, in one transaction with the change of the rows, and knows when the machine is gone. Where a controller runs it
does the work, as for any machine on its way out: so no two terraforms are ever at one workspace. Where none runs, this process
holds the installation meanwhile and does what a controller would do.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

from server.db.models import Job, Worker
from server.db.transactions import exclusive
from server.db.transitions import Change, transition
from server.engine.completion import Completion
from server.errors import CumulusError, InfrastructureError
from server.home.controller_lock import only_controller
from server.home.running import AlreadyRunning, running_controller
from server.reasons import Reason
from server.services.machines.cloud_access import CloudAccess
from server.settings import Settings
from server.states import AT_WORK, WorkerState
from server.storage.folders import Storage


class JobAtWork(CumulusError):
    """A machine cannot be removed since its job is at work on it."""

    code = "job_at_work"


@dataclass(frozen=True)
class Removal:
    """Decides what becomes of a machine's job."""

    storage: Storage
    completion: Completion

    def begin(self, worker: Worker, change: Change, *, force: bool) -> Job | None:
        """Put the machine on its way out; returns the job that is tried again on another one, None where none is at work on it.

        ``force``: also where one is, whose attempt ends then. Raises JobAtWork.
        """
        with exclusive():
            worker = Worker.get_by_id(worker.id)
            job = self._at_work(worker)
            if job is not None:
                self._send_elsewhere(job, worker, change, force=force)
            state = WorkerState(worker.state)
            if state is WorkerState.DELETING:
                Worker.update(not_before=0.0).where(Worker.id == worker.id).execute()
            elif state is not WorkerState.DELETED:
                transition(Worker, worker.id, state, WorkerState.DELETING, change, {"not_before": 0.0})
            return job

    def _at_work(self, worker: Worker) -> Job | None:
        """The job of which the machine is doing the present attempt. One whose result is there needs it no more."""
        job = Job.get_or_none(Job.id == worker.job_id)
        if job is None or job.attempt != worker.attempt or job.state not in AT_WORK:
            return None
        if worker.state in (WorkerState.HELD, WorkerState.DELETING):
            return None
        return None if self.storage.folder(job.folder).reports.result(job.attempt) is not None else job

    def _send_elsewhere(self, job: Job, worker: Worker, change: Change, *, force: bool) -> None:
        if not force:
            text = (
                f"job {job.id} is at work on {worker.name} ({job.state}): --force ends that, and another machine is made for it"
            )
            raise JobAtWork(text, field="name")
        if not self.completion.go_elsewhere(job, change):
            raise JobAtWork(f"job {job.id} is {job.state}: try again in a moment", field="name")


def removal_request(who: str, now: float) -> Change:
    """The change that :meth:`Removal.begin` writes down."""
    return Change(now, who=who, reason=Reason.MACHINE_REMOVED, text="an administrator removes the machine")


class NotGone(InfrastructureError):
    """A machine could not be removed, or not yet."""

    code = "not_gone"


class Removing:
    """Sees removals to their end. Where a controller runs it does the work; where none runs, each question carries it on."""

    def __init__(self, settings: Settings, access: CloudAccess) -> None:
        self._settings = settings
        self._access = access
        self._unowned: dict[str, Future[None]] = {}

    @property
    def limit_s(self) -> float:
        """Seconds after which a machine should be gone."""
        given = self._settings
        return given.making_limit_s + given.play_timeout_s + given.removal_limit_s

    def is_gone(self, worker: Worker) -> bool:
        """Whether a machine, whose row is on its way out, is gone. Raises NotGone, SetupMissing."""
        if _is_deleted(worker):
            return True
        if self._access.remove_here is not None and running_controller(self._settings.home) is None:
            with suppress(AlreadyRunning):  # one is just starting, or ending
                self._remove(worker, self._access.remove_here)
        return _is_deleted(worker)

    def begin_unowned(self, name: str) -> None:
        """Remove what the cloud and Terraform have of a name that no living row has.

        In the controller that takes a thread of its own, elsewhere it is done at the end. Raises InfrastructureError.
        """
        if not self._access.serves:
            return self._remove_unowned(name)
        if (earlier := self._unowned.get(name)) is None or earlier.done():
            self._unowned[name] = done = Future[None]()
            threading.Thread(
                target=_outcome_of, args=(done, lambda: self._remove_unowned(name)), name="removal", daemon=True
            ).start()
        return None

    def is_unowned_gone(self, name: str) -> bool:
        """Whether that is gone; True also where nobody has begun it. Raises InfrastructureError where it failed."""
        done = self._unowned.get(name)
        if done is not None and done.done():
            self._unowned.pop(name, None)
            done.result()
        return done is None or done.done()

    def _remove_unowned(self, name: str) -> None:
        with self._access.ready(self._settings) as (_, fleet):
            fleet.remove(name, self._settings.storage / "jobs" / name)

    def _remove(self, worker: Worker, remove_here: Callable[[Settings, Worker], None]) -> None:
        with only_controller(self._settings.home):
            remove_here(self._settings, worker)
        row = Worker.get_by_id(worker.id)
        if row.state != WorkerState.DELETED:
            raise NotGone(f"{worker.name} could not be removed: {row.message}; the next controller tries it again")


def _is_deleted(worker: Worker) -> bool:
    return bool(Worker.get_by_id(worker.id).state == WorkerState.DELETED)


def _outcome_of(done: "Future[None]", work: Callable[[], None]) -> None:
    """Carry something out, and remember how it ended."""
    try:
        work()
    except BaseException as problem:
        done.set_exception(problem)
        if not isinstance(problem, CumulusError):
            raise
    else:
        done.set_result(None)
