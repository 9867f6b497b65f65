"""The two state machines of the agent, and what can be the matter with a transfer.

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
    MARKING = "marking"  # all are there; the manifest and the marker are to be written
    DELIVERED = "delivered"
    FAILING = "failing"  # the controller has to be told
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


class Trouble(StrEnum):
    """What a transfer has met that failed. The values are known to the controller (POST /fail)."""

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
        """Whether the same may succeed a little later without anybody's help."""
        return self in (Trouble.NETWORK, Trouble.INTERRUPTED, Trouble.TARGET_FULL)

    @property
    def text(self) -> str:
        """One sentence for the job's owner."""
        return _TEXTS[self]

    @classmethod
    def told_in(cls, message: str) -> "Trouble | None":
        """The trouble that a job's message begins with, if it is one of these."""
        return next((one for one in cls if message.startswith(one.text)), None)


_TEXTS = {
    Trouble.NETWORK: "The storage cannot be reached.",
    Trouble.INTERRUPTED: "The transfer was interrupted.",
    Trouble.TARGET_FULL: "The storage is full.",
    Trouble.TARGET_REFUSES: "The storage does not let the agent write there.",
    Trouble.TARGET_GONE: "The job's folder is not in the storage.",
    Trouble.TARGET_DAMAGED: "What arrived in the storage is not what was sent, twice: its disk may be damaged.",
    Trouble.LOGIN_REFUSED: "The storage refuses the agent's key.",
    Trouble.HOST_KEY_CHANGED: "The storage's host key is not the one that the agent knows: somebody may be in between.",
    Trouble.SOURCE_UNREADABLE: "A file cannot be read.",
    Trouble.SOURCE_CHANGED: "A file was changed while it was sent.",
    Trouble.SETUP: "A program that is needed for transfers is missing or too old.",
    Trouble.UNKNOWN: "The transfer failed.",
}
