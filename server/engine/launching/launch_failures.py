"""What follows from a failed launch: it continues later on the same machine, or the attempt ends and leaves its output.

Owns the reason that the attempt ends with, and whether it counts.
"""

from collections.abc import Callable

import structlog

from server.db.models import Change, Job, Worker, record_event
from server.engine.breaker import CircuitBreaker
from server.engine.completion import Completion
from server.engine.failures import describe
from server.engine.launching.launch_retries import LaunchRetries
from server.engine.launching.progress import record_machine, record_start
from server.errors import CumulusError
from server.policy.error_classification import cause
from server.policy.limit_advice import limit_named
from server.reasons import Reason
from server.states import LAUNCHING, WorkerState
from server.storage.folders import JobFolder
from server.workers.fleet import Address, Fleet
from server.workers.transient_errors import passing

UNKNOWN = Address("", 0)  # of a machine whose Terraform failed after it was made
log = structlog.get_logger()


class LaunchFailures:
    """Handles the failed launches of one installation."""

    def __init__(
        self,
        fleet: Fleet,
        completion: Completion,
        retries: LaunchRetries,
        breaker: CircuitBreaker,
        clock: Callable[[], float],
    ) -> None:
        self._fleet = fleet
        self._completion = completion
        self._retries = retries
        self._breaker = breaker
        self._clock = clock

    def handle(self, job: Job, worker: Worker, folder: JobFolder, error: CumulusError) -> None:
        """The job is still being launched on that worker, and the launch has failed."""
        pause_s = self._retries.pause_s(job.id, worker.name, error, cause(error) or passing(error))
        if pause_s is not None:
            return self._continue_later(job, worker, error, pause_s)
        self._retries.clear(worker.name)
        fault = self._fleet.fault(worker.name)
        reason = self._reason(worker, error, fault)
        self._keep_output(folder, worker, error, reason, fault)
        if folder.has_started(worker.attempt):
            # The play failed, or came too late, after it had done its work; or Terraform did, and the machine began by itself.
            record_machine(job, worker, UNKNOWN, self._clock())
            record_start(job, worker, self._clock())
            return self.clear(worker)
        text = limit_named(fault or error.message)
        # Where only machines of this flavor cannot be made, or none has this app, other machines are still made.
        outage = reason.retryable and not reason.is_of_some and self._breaker.failed(job.id, text, reason).is_open
        self._completion.retry_or_fail(job, reason, text, self._clock(), counts=not (outage or reason.waits))

    def clear(self, worker: Worker) -> None:
        """The launch has succeeded."""
        self._retries.clear(worker.name)
        self._breaker.succeeded()

    def _continue_later(self, job: Job, worker: Worker, error: CumulusError, pause_s: float) -> None:
        """The launch is entered again on the same machine; whatever was made of it stays."""
        now = self._clock()
        with Job._meta.database.atomic("IMMEDIATE"):
            Worker.update(not_before=now + pause_s, message=error.message).where(Worker.id == worker.id).execute()
            unchanged = (Job.id == job.id) & (Job.attempt == job.attempt) & Job.state.in_(LAUNCHING)
            if Job.update(message=f"The cloud is asked again: {error.message}").where(unchanged).execute():
                record_event(Worker, worker.id, Change(now, reason=error.code, text=error.message))
        log.warning("a machine is continued later", worker=worker.name, pause_s=round(pause_s, 1), detail=error.message)

    def _reason(self, worker: Worker, error: CumulusError, fault: str) -> Reason:
        """What the cloud and the tools say; where they say nothing: how far the launch came."""
        if known := cause(error, fault) or passing(error):
            return known
        created = Worker.get_by_id(worker.id).state not in (WorkerState.REQUESTED, WorkerState.CREATING)
        return Reason.APP_NOT_STARTED if created else Reason.MACHINE_NOT_CREATED

    def _keep_output(self, folder: JobFolder, worker: Worker, error: CumulusError, reason: Reason, fault: str) -> None:
        """Keep a failed tool's output and the machine's console with the job, for whoever investigates."""
        parts = [
            f"{reason.text} ({reason}, {reason.blame})\n{reason.advice}",
            limit_named(error.message),
            *([f"The cloud says of the machine: {fault}"] if fault else []),
            getattr(error, "output", ""),
            f"--- console ---\n{self._fleet.console_log(worker.name)}",
        ]
        try:
            folder.keep(f"failure.{worker.attempt}", "\n\n".join(parts) + "\n")
        except OSError as problem:
            log.warning("a failed launch's output could not be kept", worker=worker.name, detail=describe(problem))
