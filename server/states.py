"""The words for where a job and a worker stand, which moves are allowed, and why a job ended as it did.

Owns vocabulary and policy only; rows and the guarded change are in ``models``.
"""

from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """A job's life, in order; the last four are final. LOST: started, but nothing is heard of it; being looked at."""

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

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to the job by itself."""
        return self in _FINAL

    @property
    def wire(self) -> str:
        """The desktop client's word for this state (an archived job also needs its outcome: :func:`wire_status`)."""
        return _WIRE[self]


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


_FINAL = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.ARCHIVED})

_WIRE = {
    JobState.UPLOADING: "PENDING",
    JobState.QUEUED: "PENDING",
    JobState.PROVISIONING: "PREPARING",
    JobState.STARTING: "PREPARING",
    JobState.RUNNING: "RUNNING",
    JobState.LOST: "RUNNING",
    JobState.FINISHING: "RUNNING",
    JobState.DONE: "DONE",
    JobState.FAILED: "FAILED",
    JobState.CANCELLED: "CANCELLED",
    JobState.ARCHIVED: "ARCHIVED",
}

_ENDS = frozenset({JobState.FAILED, JobState.CANCELLED})

JOB_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.UPLOADING: frozenset({JobState.QUEUED}) | _ENDS,
    JobState.QUEUED: frozenset({JobState.PROVISIONING}) | _ENDS,
    # Back to QUEUED: the machine failed, not the app, and another one is tried.
    JobState.PROVISIONING: frozenset({JobState.STARTING, JobState.QUEUED}) | _ENDS,
    JobState.STARTING: frozenset({JobState.RUNNING, JobState.QUEUED}) | _ENDS,
    JobState.RUNNING: frozenset({JobState.FINISHING, JobState.LOST}) | _ENDS,
    JobState.LOST: frozenset({JobState.RUNNING, JobState.FINISHING, JobState.QUEUED}) | _ENDS,
    JobState.FINISHING: frozenset({JobState.DONE}) | _ENDS,
    JobState.DONE: frozenset({JobState.ARCHIVED}),
    JobState.FAILED: frozenset({JobState.ARCHIVED}),
    JobState.CANCELLED: frozenset({JobState.ARCHIVED}),
    JobState.ARCHIVED: frozenset(),
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


class Blame(StrEnum):
    """Who can do something about a failure."""

    USER = "user"
    APP = "app"
    INFRASTRUCTURE = "infrastructure"
    ADMIN = "admin"


@dataclass(frozen=True)
class _Policy:
    blame: Blame
    text: str


class Reason(StrEnum):
    """Why a job left its state other than by success."""

    CANCELLED = "cancelled"
    INPUT_MISSING = "input_missing"
    STEP_BEFORE_FAILED = "step_before_failed"
    UPLOAD_FAILED = "upload_failed"
    UPLOAD_TIMEOUT = "upload_timeout"
    CONVERSION_FAILED = "conversion_failed"
    APP_FAILED = "app_failed"
    RESULTS_NOT_SAVED = "results_not_saved"
    SETTINGS_UNUSABLE = "settings_unusable"
    APP_GONE = "app_gone"
    FLAVOR_GONE = "flavor_gone"
    MACHINE_NOT_CREATED = "machine_not_created"
    APP_NOT_STARTED = "app_not_started"
    MACHINE_LOST = "machine_lost"
    RUN_TIMEOUT = "run_timeout"

    @property
    def blame(self) -> Blame:
        """Who can do something about it."""
        return _POLICIES[self].blame

    @property
    def retryable(self) -> bool:
        """Whether another machine may do better; an app that ran and failed is never run again."""
        return self.blame is Blame.INFRASTRUCTURE

    @property
    def text(self) -> str:
        """One sentence for a person."""
        return _POLICIES[self].text


_POLICIES = {
    Reason.CANCELLED: _Policy(Blame.USER, "The job was cancelled."),
    Reason.INPUT_MISSING: _Policy(Blame.USER, "An input file is missing."),
    Reason.STEP_BEFORE_FAILED: _Policy(Blame.USER, "The job that it starts after did not succeed."),
    Reason.UPLOAD_FAILED: _Policy(Blame.USER, "An input file could not be sent."),
    Reason.UPLOAD_TIMEOUT: _Policy(Blame.USER, "The input files did not arrive in time."),
    Reason.CONVERSION_FAILED: _Policy(Blame.USER, "An input file could not be converted."),
    Reason.APP_FAILED: _Policy(Blame.APP, "The app failed."),
    Reason.RESULTS_NOT_SAVED: _Policy(Blame.ADMIN, "The results could not be saved in the storage."),
    Reason.SETTINGS_UNUSABLE: _Policy(Blame.USER, "The settings do not fit the app."),
    Reason.APP_GONE: _Policy(Blame.ADMIN, "The app is no longer offered."),
    Reason.FLAVOR_GONE: _Policy(Blame.ADMIN, "The machine size is no longer offered."),
    Reason.MACHINE_NOT_CREATED: _Policy(Blame.INFRASTRUCTURE, "No machine could be made."),
    Reason.APP_NOT_STARTED: _Policy(Blame.INFRASTRUCTURE, "The app could not be started on its machine."),
    Reason.MACHINE_LOST: _Policy(Blame.INFRASTRUCTURE, "The machine was lost."),
    Reason.RUN_TIMEOUT: _Policy(Blame.APP, "The run took longer than this installation allows."),
}
