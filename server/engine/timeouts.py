"""Ends the attempts of jobs that stay in a state for too long. The limits are :mod:`server.policy.deadlines`'."""

from server.db.models import Job, Worker
from server.engine.completion import Completion
from server.engine.launching.launch_retries import LaunchRetries
from server.policy.deadlines import Deadline, deadlines
from server.reasons import Reason
from server.settings import Settings
from server.states import LAUNCHING, JobState
from server.storage.folders import Storage


class Timeouts:
    """Applies one installation's limits. Quick: it runs in the loop."""

    def __init__(self, settings: Settings, storage: Storage, completion: Completion, retries: LaunchRetries) -> None:
        self._deadlines = deadlines(settings)
        self._results_wait_s = settings.results_wait_s
        self._storage = storage
        self._completion = completion
        self._retries = retries

    def expire(self, job: Job, now: float) -> None:
        """Any state: end the attempt of a job that has been there for too long. It does not count where the cloud failed."""
        deadline = self._deadlines.get(JobState(job.state))
        if deadline and deadline.is_over(job.state_since, now) and not self._may_wait(job, deadline, now):
            text = f"It was {job.state} for longer than {deadline.limit_s:.0f} s."
            failure = self._cloud_failure(job)
            self._completion.retry_or_fail(job, failure or deadline.reason, text, now, counts=failure is None)

    def _cloud_failure(self, job: Job) -> Reason | None:
        """Why the cloud could not make the machine that the job waits for; None where the cloud did not fail."""
        if job.state not in LAUNCHING:
            return None
        worker = Worker.get_or_none(Worker.job_id == job.id, Worker.attempt == job.attempt)
        return self._retries.failure(worker.name) if worker else None

    def _may_wait(self, job: Job, deadline: Deadline, now: float) -> bool:
        """Whether the app ended in time and only waits for room in the storage, which has a limit of its own."""
        waits = job.state == JobState.RUNNING and self._storage.folder(job.folder).results_wait()
        return waits and not deadline.is_over(job.state_since + self._results_wait_s, now)
