"""Jobs that the controller cannot look at: for how long, and what is said of them in the end.

Kept in memory only: a new controller looks anew, and is as patient again.
"""

from server.reasons import Reason
from server.storage.folders import FolderGone

PATIENCE_S = 60.0  # of failing looks before a job is given up


class Troubles:
    """Since when each job's looks have failed, without a good one between. Times are Unix seconds."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def met(self, job_id: int, now: float) -> float:
        """Note a look that failed; returns for how many seconds they have been failing."""
        return now - self._since.setdefault(job_id, now)

    def moved(self, seconds: float) -> None:
        """The computer's clock was set by so much: no trouble lasts longer for that."""
        self._since = {job_id: since + seconds for job_id, since in self._since.items()}

    def over(self, job_id: int) -> None:
        """Note a good look."""
        self._since.pop(job_id, None)


def reason_of(problem: Exception) -> Reason:
    """What a failed look at a job's folder means."""
    if isinstance(problem, FolderGone):
        return Reason.FOLDER_GONE
    return Reason.FOLDER_UNUSABLE if isinstance(problem, OSError) else Reason.CONTROLLER_FAULT
