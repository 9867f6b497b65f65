"""Jobs that the controller cannot inspect: since when, and when it gives them up.

Kept in memory only: a new controller inspects them again, and is as patient as the one before.
"""

from collections.abc import Callable

import structlog

from server.db.models import Job
from server.errors import CumulusError, InvalidInput, NotFound
from server.reasons import Reason
from server.storage.folders import FolderGone
from server.storage.inputs.pins import InputProblem

PATIENCE_S = 60.0  # for which inspections may fail before a job is given up
log = structlog.get_logger()


class Failures:
    """Since when each job's inspections have failed, without a successful one in between. Times are Unix seconds."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def record(self, job_id: int, now: float) -> float:
        """Record a failed inspection; returns for how many seconds they have been failing."""
        return now - self._since.setdefault(job_id, now)

    def clear(self, job_id: int) -> None:
        """Forget the failures: an inspection succeeded, or the job was given up."""
        self._since.pop(job_id, None)

    def shift(self, seconds: float) -> None:
        """The computer's clock was set by that much; no failure lasts longer because of it."""
        self._since = {job_id: since + seconds for job_id, since in self._since.items()}


class FailingJobs:
    """Gives up jobs whose inspection keeps failing. ``storage_is_there``: False while no job's folder can be seen.

    ``fail`` ends a job: as :meth:`server.engine.completion.Completion.fail`.
    """

    def __init__(self, storage_is_there: Callable[[], bool], fail: Callable[[Job, Reason, str, float], None]) -> None:
        self._storage_is_there = storage_is_there
        self._fail = fail
        self._failures = Failures()

    def inspection_failed(self, job: Job, problem: Exception, now: float) -> None:
        """Log the first failure, and give the job up once they have lasted too long; wait while the storage is away."""
        if not self._storage_is_there():
            return self._failures.clear(job.id)
        lasting_s = self._failures.record(job.id, now)
        if not lasting_s:
            traceback = None if isinstance(problem, OSError | CumulusError) else problem
            log.warning("a job cannot be inspected", job_id=job.id, detail=describe(problem), exc_info=traceback)
        if lasting_s >= PATIENCE_S:
            self._fail(job, reason_of(problem), describe(problem), now)
            self._failures.clear(job.id)

    def inspection_succeeded(self, job: Job) -> None:
        """Whatever had failed before is over."""
        self._failures.clear(job.id)

    def clock_moved(self, seconds: float) -> None:
        """The computer's clock was set by that much."""
        self._failures.shift(seconds)


def reason_of(problem: Exception) -> Reason:
    """Why a job fails whose inspection met this problem."""
    if isinstance(problem, FolderGone):
        return Reason.FOLDER_GONE
    return Reason.FOLDER_UNUSABLE if isinstance(problem, OSError) else Reason.CONTROLLER_FAULT


def refusal_reason(error: InvalidInput | NotFound | InputProblem) -> Reason:
    """Why a job fails whose settings, app or input files cannot be used."""
    if isinstance(error, InputProblem):
        return error.reason
    return Reason.APP_GONE if isinstance(error, NotFound) else Reason.SETTINGS_UNUSABLE


def describe(problem: Exception) -> str:
    """The problem in words: an expected one by its message, any other with its type."""
    return problem.message if isinstance(problem, CumulusError) else f"{type(problem).__name__}: {problem}"
