"""A machine that an administrator wants gone: what becomes of its job, and the row's way to its end.

Owns the decision, in one transaction with the change of the rows; the machine is removed by ``Steps.remove`` as any other, by
whoever carries the rows on.
"""

from dataclasses import dataclass

from server.db.models import Job, Worker
from server.db.transactions import exclusive
from server.db.transitions import Change, transition
from server.engine.completion import Completion
from server.errors import CumulusError
from server.reasons import Reason
from server.states import AT_WORK, WorkerState
from server.storage.folders import Storage


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
            raise JobAtWork(text, field="NAME")
        if not self.endings.go_elsewhere(job, change):
            raise JobAtWork(f"job {job.id} is {job.state}: try again in a moment", field="NAME")


def removal_wish(who: str, now: float) -> Change:
    """The change that :meth:`Removal.begin` writes down."""
    return Change(now, who=who, reason=Reason.MACHINE_REMOVED, text="an administrator removes the machine")
