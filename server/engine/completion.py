"""How an attempt of a job ends: done, failed, or tried again on another machine. Owns that decision and its messages."""

import json

import structlog

from server.db.models import Change, Job, transition
from server.engine.records.manifests import Manifests
from server.policy.backoff import backoff_s
from server.reasons import Reason
from server.settings import Settings
from server.states import JOB_TRANSITIONS, JobState
from server.storage.folders import RunResult
from server.storage.report import RunReport

log = structlog.get_logger()

STOPPED = "stopped"  # a stage of the runner's result
_STAGES = {
    "input": Reason.INPUT_MISSING,
    "inspect": Reason.INPUT_FAULTY,
    "convert": Reason.CONVERSION_FAILED,
    "rejected": Reason.INPUT_REJECTED,
    "stalled": Reason.STALLED,
    "results": Reason.RESULTS_NOT_SAVED,
}


class Completion:
    """Ends the attempts of one installation's jobs."""

    def __init__(self, settings: Settings, manifests: Manifests) -> None:
        self._manifests = manifests
        self._max_attempts = settings.max_attempts
        self._retry_delay_s = settings.retry_delay_s

    def finish(self, job: Job, result: RunResult, report: RunReport | None, now: float) -> None:
        """Evaluate the runner's result. The job's own results are in the storage by then: the runner writes its own last."""
        state = JobState(job.state)
        if result.stage == STOPPED:
            return self._was_stopped(job, result.message, now)
        if state is not JobState.FINISHING and not transition(Job, job.id, state, JobState.FINISHING, Change(now)):
            return
        job.state = JobState.FINISHING
        if result.stage == "done" and result.exit_code == 0 and result.end_tag_seen is not False:
            fields = {"ended": now, "outcome": JobState.DONE, "reason": "", "message": "", **_reported(report)}
            if transition(Job, job.id, JobState.FINISHING, JobState.DONE, Change(now), fields):
                self._manifests.write(job.id)
        else:
            self.fail(job, _STAGES.get(result.stage, Reason.APP_FAILED), result.message, now)

    def _was_stopped(self, job: Job, text: str, now: float) -> None:
        """The runner was stopped from outside: its machine was shut down, or its lease ran out."""
        if job.state == JobState.RUNNING and transition(Job, job.id, JobState.RUNNING, JobState.LOST, Change(now, text=text)):
            job.state = JobState.LOST
        if job.state == JobState.LOST:
            self.retry_or_fail(job, Reason.MACHINE_LOST, f"Its run was ended: {text}.", now)

    def retry_or_fail(self, job: Job, reason: Reason, text: str, now: float, *, counts: bool = True) -> None:
        """Queue the job again where another machine may do better and it has not had too many.

        ``counts``: False where no job can get a machine now; the attempt is uncounted then.
        """
        tried = job.attempt - job.spared
        if not reason.retryable or (counts and tried >= self._max_attempts):
            return self.fail(job, reason, text, now)
        if JobState(job.state).is_final:
            return
        which = f"Attempt {tried} of {self._max_attempts}" if counts else "Waiting"
        fields = {
            "not_before": now + backoff_s(self._retry_delay_s, job.attempt),
            "message": f"{which}: {reason.explain(text)}",
            "spared": job.spared + (not counts),
        }
        if transition(Job, job.id, JobState(job.state), JobState.QUEUED, Change(now, reason=reason, text=text), fields):
            log.warning("a job is tried again", job_id=job.id, attempt=job.attempt, reason=str(reason), detail=text)

    def go_elsewhere(self, job: Job, change: Change) -> bool:
        """Queue the job again for another machine, because its own is being decommissioned; False where it is ending.

        It does not wait, and the attempt is uncounted.
        """
        state = JobState(job.state)
        with Job._meta.database.atomic("IMMEDIATE"):
            if state is JobState.RUNNING and transition(Job, job.id, state, JobState.LOST, change):
                state = JobState.LOST
            if JobState.QUEUED not in JOB_TRANSITIONS[state]:
                return False
            fields = {"not_before": change.at, "message": Reason(change.reason).explain(), "spared": job.spared + 1}
            return transition(Job, job.id, state, JobState.QUEUED, change, fields)

    def fail(self, job: Job, reason: Reason, text: str, now: float) -> None:
        """Fail the job, unless it has ended meanwhile."""
        state = JobState(Job.get_by_id(job.id).state)
        if state.is_final:
            return
        fields = {"ended": now, "outcome": JobState.FAILED, "reason": reason, "message": reason.explain(text)}
        if transition(Job, job.id, state, JobState.FAILED, Change(now, reason=reason, text=text), fields):
            self._manifests.write(job.id)
            log.warning("a job failed", job_id=job.id, reason=str(reason), blame=str(reason.blame), detail=text)


def _reported(report: RunReport | None) -> dict[str, str]:
    """What a successful run reported to its owner."""
    if report is None:
        return {}
    figures = [figure for figure in report.figures if not figure.get("file")]  # those of single files stay in the report
    return {"warning": "\n".join(report.warnings), "figures": json.dumps(figures) if figures else ""}
