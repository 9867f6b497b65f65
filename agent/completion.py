"""The end of a job's sending: writes its manifest and then its marker, or reports to the controller why it must fail."""

import json
from collections.abc import Callable, Iterable

import structlog

from agent.http_client import HttpClient, NoAnswer, NotAdmitted
from agent.queue.lines import left_out
from agent.queue.manifest import manifest
from agent.queue.models import Job
from agent.queue.queue import Queue
from agent.queue.states import FailureKind, JobState
from agent.sending.carrier import Carrier
from agent.sending.children import AgentEnds
from agent.sending.failures import backoff_s
from agent.sending.rsync_failures import Diagnosis, diagnose
from agent.settings import Settings

TELL_TIMEOUT_S = 20.0
NO_CONTROLLER = "no controller is set, so it was not informed"
log = structlog.get_logger()


class Completion:
    """Ends jobs, one after the other."""

    def __init__(self, settings: Settings, queue: Queue, carrier: Carrier, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._queue = queue
        self._carrier = carrier
        self._clock = clock

    def end_all(self, jobs: Iterable[Job]) -> None:
        """:meth:`end` for several, in their order."""
        for job in jobs:
            self.end(job)

    def end(self, job: Job) -> None:
        """Bring a job that is MARKING or FAILING to its end, or to another try later."""
        try:
            if job.state == JobState.MARKING:
                self._mark(job)
            else:
                self._tell(job)
        except AgentEnds:
            return
        except Exception as error:
            log.exception("a job's end failed unexpectedly", job_id=job.number)
            self._later(job, f"{type(error).__name__}: {error}")

    def _mark(self, job: Job) -> None:
        skipped = self._queue.jobs.skipped(job)
        outcome = self._carrier.finish(job.folder, manifest(self._queue.jobs.contents(job), skipped))
        if outcome.code:
            return self._not_marked(job, diagnose(outcome.code, outcome.stderr))
        if self._queue.jobs.end(job, JobState.DELIVERED, left_out(json.dumps(skipped)), self._clock()):
            log.info("all files of a job are there", job_id=job.number, owner=job.owner)

    def _not_marked(self, job: Job, found: Diagnosis) -> None:
        lasting = self._clock() - job.state_since > self._settings.give_up_s
        if found.failure.retryable and not lasting:
            return self._later(job, found.text)
        log.warning("a job cannot be marked complete", job_id=job.number, detail=found.text)
        self._queue.jobs.end(job, JobState.FAILING, found.text, self._clock())

    def _tell(self, job: Job) -> None:
        """POST /fail at the controller, which shows the message to the job's owner."""
        if not self._settings.controller:
            log.error(NO_CONTROLLER, job_id=job.number, detail=job.message)
            self._queue.jobs.end(job, JobState.FAILED, f"{job.message} ({NO_CONTROLLER})", self._clock())
            return
        problem = self._post(job)
        if not problem:
            log.info("the controller was informed that a job fails", job_id=job.number, detail=job.message)
            self._queue.jobs.end(job, JobState.FAILED, job.message, self._clock())
        elif self._clock() - job.state_since > self._settings.give_up_s:
            log.error("the controller could not be informed that a job fails", job_id=job.number, detail=problem)
            self._queue.jobs.end(job, JobState.FAILED, f"{job.message} (the controller does not know: {problem})", self._clock())
        else:
            self._later(job, problem)

    def _post(self, job: Job) -> str:
        """What went wrong; "" where nothing did."""
        form = {"job_id": str(job.number), "error_message": job.message}
        if failure := FailureKind.named_in(job.message):
            form["trouble"] = failure
        try:
            with HttpClient(self._settings.controller, TELL_TIMEOUT_S, self._settings.token) as client:
                answer = client.post("/fail", form)
                answer.require_admitted()
        except NotAdmitted as error:
            return error.message
        except NoAnswer as error:
            return f"the controller does not answer: {error}"
        return "" if answer.is_ok else f"the controller answered {answer.status}"

    def _later(self, job: Job, why: str) -> None:
        delay = backoff_s(self._settings.retry_delay_s, job.failures)
        log.warning("a job's end is tried again", job_id=job.number, detail=why, delay_s=delay)
        self._queue.jobs.postpone(job, why, self._clock() + delay)
