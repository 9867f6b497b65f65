"""The two state machines of the agent, and what can go wrong with a transfer.

A transfer is one file or folder on its way; a job is all that a job's folder waits for. Several jobs may want one transfer.
"""

from enum import StrEnum


class TransferState(StrEnum):
    """Where one file or folder is on its way."""

    WAITING = "waiting"  # its source is not known to be complete
    READY = "ready"
    SENDING = "sending"
    SENT = "sent"  # and checked
    TAKEN = "taken"  # the storage has something else of its name: each job gets it for itself, by a transfer of its own
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobState(StrEnum):
    """Where the files of a job are."""

    SENDING = "sending"
    MARKING = "marking"  # all files are there; next come the manifest and the marker
    DELIVERED = "delivered"
    FAILING = "failing"  # next, the controller learns why
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE_TRANSFERS = (TransferState.WAITING, TransferState.READY, TransferState.SENDING)
ACTIVE_JOBS = (JobState.SENDING, JobState.MARKING, JobState.FAILING)
CANCELLABLE_JOBS = (JobState.SENDING, JobState.MARKING)

# Two tables: both machines have a state of the same word, and words are what such states are compared by.
TRANSFER_TRANSITIONS: dict[TransferState, frozenset[TransferState]] = {
    TransferState.WAITING: frozenset({TransferState.READY, TransferState.FAILED, TransferState.CANCELLED}),
    TransferState.READY: frozenset({TransferState.SENDING, TransferState.CANCELLED}),
    TransferState.SENDING: frozenset(
        # READY: to be tried again; WAITING: the source has changed meanwhile.
        {
            TransferState.SENT,
            TransferState.TAKEN,
            TransferState.READY,
            TransferState.WAITING,
            TransferState.FAILED,
            TransferState.CANCELLED,
        }
    ),
    TransferState.SENT: frozenset(),
    TransferState.TAKEN: frozenset(),
    TransferState.FAILED: frozenset(),
    TransferState.CANCELLED: frozenset(),
}

JOB_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.SENDING: frozenset({JobState.MARKING, JobState.FAILING, JobState.CANCELLED}),
    JobState.MARKING: frozenset({JobState.DELIVERED, JobState.FAILING, JobState.CANCELLED}),
    JobState.FAILING: frozenset({JobState.FAILED}),
    JobState.DELIVERED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


class FailureKind(StrEnum):
    """Why a transfer failed. The controller knows these values (POST /fail)."""

    NETWORK = "network"
    INTERRUPTED = "interrupted"
    TARGET_FULL = "target_full"
    TARGET_REFUSES = "target_refuses"
    TARGET_GONE = "target_gone"
    TARGET_DAMAGED = "target_damaged"
    LOGIN_REFUSED = "login_refused"
    HOST_KEY_CHANGED = "host_key_changed"
    SOURCE_UNREADABLE = "source_unreadable"
    SOURCE_CHANGED = "source_changed"
    SETUP = "setup"
    UNKNOWN = "unknown"

    @property
    def retryable(self) -> bool:
        """Whether the same may succeed a little later without help."""
        return self in (FailureKind.NETWORK, FailureKind.INTERRUPTED, FailureKind.TARGET_FULL)

    @property
    def text(self) -> str:
        """One sentence for the job's owner."""
        return _TEXTS[self]

    @classmethod
    def named_in(cls, message: str) -> "FailureKind | None":
        """The failure whose text a job's message begins with, if any."""
        return next((one for one in cls if message.startswith(one.text)), None)


_TEXTS = {
    FailureKind.NETWORK: "The storage cannot be reached.",
    FailureKind.INTERRUPTED: "The transfer was interrupted.",
    FailureKind.TARGET_FULL: "The storage is full.",
    FailureKind.TARGET_REFUSES: "The storage does not let the agent write there.",
    FailureKind.TARGET_GONE: "The job's folder is not in the storage.",
    FailureKind.TARGET_DAMAGED: "What arrived in the storage is not what was sent, twice: its disk may be damaged.",
    FailureKind.LOGIN_REFUSED: "The storage refuses the agent's key.",
    FailureKind.HOST_KEY_CHANGED: "The storage's host key is not the one that the agent knows: somebody may be in between.",
    FailureKind.SOURCE_UNREADABLE: "A file cannot be read.",
    FailureKind.SOURCE_CHANGED: "A file was changed while it was sent.",
    FailureKind.SETUP: "A program that is needed for transfers is missing or too old.",
    FailureKind.UNKNOWN: "The transfer failed.",
}
