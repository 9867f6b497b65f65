"""How long a job may stay in a state, and why its attempt ends when it stays longer. The limits are settings. Pure."""

from dataclasses import dataclass

from server.reasons import Reason
from server.settings import Settings
from server.states import JobState


@dataclass(frozen=True)
class Deadline:
    """``limit_s``: seconds in the state; 0: no limit."""

    limit_s: float
    reason: Reason

    def is_over(self, since: float, now: float) -> bool:
        """Whether the limit has passed for a job that has been in the state ``since`` then (Unix seconds)."""
        return 0 < self.limit_s < now - since


def deadlines(settings: Settings) -> dict[JobState, Deadline]:
    """The states with a limit.

    The others: UPLOADING waits for files (``upload_timeout_s``, which does not count while a step before it is at work), QUEUED
    for room, however long that takes.
    """
    return {
        JobState.PROVISIONING: Deadline(settings.provisioning_limit_s, Reason.MACHINE_NOT_CREATED),
        JobState.STARTING: Deadline(settings.starting_timeout_s, Reason.APP_NOT_STARTED),
        JobState.RUNNING: Deadline(settings.run_timeout_s, Reason.RUN_TIMEOUT),
        JobState.LOST: Deadline(settings.lost_timeout_s, Reason.MACHINE_LOST),
        JobState.FINISHING: Deadline(settings.finishing_timeout_s, Reason.RESULTS_NOT_SAVED),
    }
