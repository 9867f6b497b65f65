"""A machine's end: what runs on it is stopped, the machine destroyed, and its row closed once the cloud confirms.

The machine of a failed attempt may stay for inspection first. Blocks; the loop runs it on its pool, again and again until the
machine is gone.
"""

from collections.abc import Callable
from datetime import datetime

import structlog

from server.db.models import Change, Job, Worker, record_event, transition
from server.engine.breaker import CircuitBreaker
from server.engine.launching.launch_retries import LaunchRetries
from server.engine.records.manifests import Manifests
from server.errors import InfrastructureError
from server.policy.backoff import backoff_s
from server.policy.limit_advice import limit_named
from server.settings import Settings
from server.states import JobState, WorkerState
from server.storage.folders import JobFolder, Storage
from server.workers.fleet import Fleet

DIRECT_AFTER = 3  # failed removals, after which what remains is removed without Terraform
_MAY_BE_HELD = frozenset({WorkerState.BOOTING, WorkerState.READY, WorkerState.BUSY, WorkerState.HELD})
log = structlog.get_logger()


class Teardown:
    """Removes the machines of one installation."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        fleet: Fleet,
        manifests: Manifests,
        retries: LaunchRetries,
        breaker: CircuitBreaker,
        clock: Callable[[], float],
    ) -> None:
        self._hold_failed_s = settings.hold_failed_s
        self._retry_delay_s = settings.retry_delay_s
        self._storage = storage
        self._fleet = fleet
        self._manifests = manifests
        self._retries = retries
        self._breaker = breaker
        self._clock = clock

    def remove(self, worker: Worker) -> None:
        """Remove the machine, or hold it for inspection. Safe to repeat."""
        worker, job = Worker.get_by_id(worker.id), Job.get_or_none(Job.id == worker.job_id)
        state = WorkerState(worker.state)
        if state is WorkerState.DELETED or self._is_held(worker, state, job):  # it ended after the loop had read its row
            return
        begins = Change(self._clock())
        if state is not WorkerState.DELETING and not transition(Worker, worker.id, state, WorkerState.DELETING, begins):
            return
        try:
            self._destroy(worker, self._folder_of(worker, job))
        except InfrastructureError as error:
            self._postpone(worker, error)
        else:
            self._close(worker, job)

    def _destroy(self, worker: Worker, folder: JobFolder) -> None:
        at_rest = folder.result(worker.attempt) is not None  # the runner writes it last, after the results
        directly = worker.failures >= DIRECT_AFTER
        self._fleet.remove(worker.name, folder.path, at_rest=at_rest, without_terraform=directly)

    def _close(self, worker: Worker, job: Job | None) -> None:
        """The cloud has confirmed that the machine is gone."""
        now = self._clock()
        if not transition(Worker, worker.id, WorkerState.DELETING, WorkerState.DELETED, Change(now), {"ended": now}):
            return
        self._retries.clear(worker.name)
        self._breaker.has_room()
        if job is not None and job.outcome in (JobState.FAILED, JobState.CANCELLED):
            self._manifests.write(job.id)  # its runner may have reported more after the end

    def _postpone(self, worker: Worker, error: InfrastructureError) -> None:
        failures = Worker.get_by_id(worker.id).failures + 1
        delay = backoff_s(self._retry_delay_s, failures)
        text = limit_named(error.message)
        fields = {"failures": failures, "not_before": self._clock() + delay, "message": text}
        Worker.update(fields).where(Worker.id == worker.id).execute()
        record_event(Worker, worker.id, Change(self._clock(), reason=error.code, text=text))
        log.warning("a machine could not be removed yet", worker=worker.name, failures=failures, detail=text)

    def _is_held(self, worker: Worker, state: WorkerState, job: Job | None) -> bool:
        """Whether the machine of a failed attempt stays for inspection; only where its app has certainly ended."""
        until = self._hold_until(worker, job)
        if until <= self._clock() or state not in _MAY_BE_HELD:
            return False
        if state is not WorkerState.HELD and not self._hold(worker, state, self._folder_of(worker, job), until):
            return False
        Worker.update(not_before=until).where(Worker.id == worker.id).execute()
        return True

    def _hold(self, worker: Worker, state: WorkerState, folder: JobFolder, until: float) -> bool:
        """Stop the app, and write down how to log in; False where the machine is gone or the app may still run."""
        self._fleet.stop_job(worker.name, folder.path)
        if not self._fleet.exists(worker.name) or self._fleet.runs(worker.name, folder.path) is not False:
            return False
        login = self._fleet.login_command(worker.name, folder.path)
        text = f"for inspection, until {datetime.fromtimestamp(until):%Y-%m-%d %H:%M}: {login}"
        fields = {"held_until": until, "message": text}
        transition(Worker, worker.id, state, WorkerState.HELD, Change(self._clock(), text=text), fields)
        return True

    def _hold_until(self, worker: Worker, job: Job | None) -> float:
        """Unix seconds; 0 where no job has the machine, or its attempt did not fail."""
        failed = job is not None and (job.state == JobState.FAILED or not JobState(job.state).is_final)
        if not failed:
            return 0.0
        if worker.state == WorkerState.HELD or worker.held_until:
            return float(worker.held_until)
        return self._clock() + self._hold_failed_s if self._hold_failed_s else 0.0

    def _folder_of(self, worker: Worker, job: Job | None) -> JobFolder:
        return self._storage.folder(job.folder if job else worker.name)
