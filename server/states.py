"""The words for where a job and a worker stand, and which moves are allowed; why a job ended as it did is in ``reasons``.

Owns vocabulary and policy only; rows and the guarded change are in ``models``.
"""

from enum import StrEnum


class JobState(StrEnum):
    """A job's life, in order; the last five are final. LOST: started, but nothing is heard of it; being looked at.

    DELETED: its owner wants no more of it; nobody sees it again, and its number stays taken.
    """

    UPLOADING = "uploading"
    QUEUED = "queued"
    PROVISIONING = "provisioning"
    STARTING = "starting"
    RUNNING = "running"
    LOST = "lost"
    FINISHING = "finishing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ARCHIVED = "archived"
    DELETED = "deleted"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to the job by itself."""
        return self in _FINAL


class WorkerState(StrEnum):
    """A machine's life, in order."""

    REQUESTED = "requested"
    CREATING = "creating"
    BOOTING = "booting"
    READY = "ready"
    BUSY = "busy"
    HELD = "held"
    DELETING = "deleting"
    DELETED = "deleted"


class UploadState(StrEnum):
    """An upload's life. COMPLETE: all bytes are there, and it is given its place; DONE: it has it; the last three end it.

    GONE: what was DONE is no longer in the storage. REFUSED: it was not what it should be, or its job takes it no more.
    """

    RECEIVING = "receiving"
    COMPLETE = "complete"
    DONE = "done"
    GONE = "gone"
    REFUSED = "refused"
    EXPIRED = "expired"


# Where a job has a machine, or is about to get one.
AT_WORK = frozenset({JobState.PROVISIONING, JobState.STARTING, JobState.RUNNING, JobState.LOST, JobState.FINISHING})

# Where a machine is made for a job, or its app is started on it.
LAUNCHING = frozenset({JobState.PROVISIONING, JobState.STARTING})
# Where its app has started and its end is awaited.
STARTED = frozenset({JobState.RUNNING, JobState.LOST, JobState.FINISHING})

_FINAL = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.ARCHIVED, JobState.DELETED})

_ENDS = frozenset({JobState.FAILED, JobState.CANCELLED})
_GOES = frozenset({JobState.ARCHIVED, JobState.DELETED})

JOB_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.UPLOADING: frozenset({JobState.QUEUED}) | _ENDS,
    JobState.QUEUED: frozenset({JobState.PROVISIONING}) | _ENDS,
    # Back to QUEUED: the machine failed, not the app, and another one is tried.
    JobState.PROVISIONING: frozenset({JobState.STARTING, JobState.QUEUED}) | _ENDS,
    JobState.STARTING: frozenset({JobState.RUNNING, JobState.QUEUED}) | _ENDS,
    JobState.RUNNING: frozenset({JobState.FINISHING, JobState.LOST}) | _ENDS,
    JobState.LOST: frozenset({JobState.RUNNING, JobState.FINISHING, JobState.QUEUED}) | _ENDS,
    JobState.FINISHING: frozenset({JobState.DONE}) | _ENDS,
    JobState.DONE: _GOES,
    JobState.FAILED: _GOES,
    JobState.CANCELLED: _GOES,
    # Back: what the trash had of it was restored.
    JobState.ARCHIVED: frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.DELETED}),
    JobState.DELETED: frozenset(),
}

WORKER_TRANSITIONS: dict[WorkerState, frozenset[WorkerState]] = {
    WorkerState.REQUESTED: frozenset({WorkerState.CREATING, WorkerState.DELETING}),
    WorkerState.CREATING: frozenset({WorkerState.BOOTING, WorkerState.DELETING}),
    WorkerState.BOOTING: frozenset({WorkerState.READY, WorkerState.HELD, WorkerState.DELETING}),
    WorkerState.READY: frozenset({WorkerState.BUSY, WorkerState.HELD, WorkerState.DELETING}),
    WorkerState.BUSY: frozenset({WorkerState.HELD, WorkerState.DELETING}),
    WorkerState.HELD: frozenset({WorkerState.DELETING}),
    WorkerState.DELETING: frozenset({WorkerState.DELETED}),
    WorkerState.DELETED: frozenset(),
}
