"""A machine that an administrator wants gone: what becomes of its job, and the row's way to its end.

Owns the decision, in one transaction with the change of the rows, and waits for the machine's end. Where a controller runs it
does the work, as for any machine on its way out: so no two terraforms are ever at one workspace. Where none runs, this process
holds the installation meanwhile and does what a controller would do.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from server.db.models import Change, Job, Worker, transition
from server.engine.completion import Completion
from server.errors import CumulusError, InfrastructureError
from server.home.installation import AlreadyRunning, nudge, only_controller, running_controller
from server.reasons import Reason
from server.settings import Settings
from server.states import AT_WORK, WorkerState
from server.storage.folders import Storage
from server.workers.clouds import registry
from server.workers.clouds.base import Cloud
from server.workers.fleet import Fleet

LOOK_S = 0.1


class JobAtWork(CumulusError):
    """A machine cannot be removed since its job is at work on it."""

    code = "job_at_work"


@dataclass(frozen=True)
class Removal:
    """Who removes machines, and by which rules; ``change``: who wishes it and when."""

    storage: Storage
    endings: Completion

    def begin(self, worker: Worker, change: Change, *, force: bool) -> Job | None:
        """Have the machine go; returns the job that is tried again on another one, None where none is at work on it.

        ``force``: also where one is, whose attempt ends then. Raises JobAtWork.
        """
        with Worker._meta.database.atomic("IMMEDIATE"):
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
        return None if self.storage.folder(job.folder).result(job.attempt) is not None else job

    def _send_elsewhere(self, job: Job, worker: Worker, change: Change, *, force: bool) -> None:
        if not force:
            text = (
                f"job {job.id} is at work on {worker.name} ({job.state}): --force ends that, and another machine is made for it"
            )
            raise JobAtWork(text, field="NAME")
        if not self.endings.go_elsewhere(job, change):
            raise JobAtWork(f"job {job.id} is {job.state}: try again in a moment", field="NAME")


def removal_wish(who: str, now: float) -> Change:
    """The change that :meth:`Removal.begin` writes down."""
    return Change(now, who=who, reason=Reason.MACHINE_REMOVED, text="an administrator removes the machine")


class NotGone(InfrastructureError):
    """A machine could not be removed, or not yet."""

    code = "not_gone"


@dataclass(frozen=True)
class Removing:
    """Carries removals out. ``remove_here``: removes a machine as a controller does, where none runs."""

    settings: Settings
    make_fleet: Callable[[Settings, Cloud], Fleet]
    remove_here: Callable[[Settings, Worker], None]

    def finish(self, worker: Worker) -> None:
        """Return when a machine, whose row is on its way out, is gone. Raises NotGone, SetupMissing."""
        given = self.settings
        limit_s = given.making_limit_s + given.play_timeout_s + given.removal_limit_s
        end = time.monotonic() + limit_s
        nudge(given.home)
        while (row := Worker.get_by_id(worker.id)).state != WorkerState.DELETED:
            if time.monotonic() > end:
                text = f"{worker.name} is not gone after {limit_s:.0f} s, its controller goes on with it: {row.message}"
                raise NotGone(text)
            if running_controller(given.home) is None:
                with suppress(AlreadyRunning):  # one is just starting, or ending
                    self._remove(worker)
            time.sleep(LOOK_S)

    def unowned(self, name: str) -> None:
        """Remove what the cloud and Terraform have of a name that no living row has. Raises InfrastructureError."""
        cloud = registry.known_cloud(self.settings)
        cloud.start()
        try:
            self.make_fleet(self.settings, cloud).remove(name, self.settings.storage / "jobs" / name)
        finally:
            cloud.stop()

    def _remove(self, worker: Worker) -> None:
        with only_controller(self.settings.home):
            self.remove_here(self.settings, worker)
        row = Worker.get_by_id(worker.id)
        if row.state != WorkerState.DELETED:
            raise NotGone(f"{worker.name} could not be removed: {row.message}; the next controller tries it again")
