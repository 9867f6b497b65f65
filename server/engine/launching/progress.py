"""How far a launch has come, as its job's and its worker's rows record it. Each step may be recorded again."""

from server.db.models import Change, Job, Worker, transition
from server.states import LAUNCHING, JobState, WorkerState
from server.workers.fleet import Address


def record_machine(job: Job, worker: Worker, address: Address, now: float) -> None:
    """The machine is there, and boots. ``now``: Unix seconds."""
    fields = {"address": address.host, "port": address.port, "boot": address.boot}
    change = Change(now, text=address.boot)
    transition(Worker, worker.id, WorkerState.CREATING, WorkerState.BOOTING, change, fields)
    transition(Job, job.id, JobState.PROVISIONING, JobState.STARTING, change)


def record_start(job: Job, worker: Worker, now: float) -> None:
    """The app has started on the machine. ``now``: Unix seconds."""
    transition(Worker, worker.id, WorkerState.BOOTING, WorkerState.READY, Change(now))
    transition(Worker, worker.id, WorkerState.READY, WorkerState.BUSY, Change(now))
    transition(Job, job.id, JobState.STARTING, JobState.RUNNING, Change(now), {"started": now, "message": ""})


def is_being_launched(job: Job, worker: Worker) -> bool:
    """Whether this attempt is still wanted: the job may have ended, or be tried again, meanwhile."""
    return job.state in LAUNCHING and job.attempt == worker.attempt
