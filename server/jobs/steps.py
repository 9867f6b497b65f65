"""The steps of a job's life. Each may be entered again after a crash: it looks at what is there before it acts.

The quick ones (receive, assign, observe) run in the loop; launch and remove block and run on its pool.
"""

import errno
import threading
from collections.abc import Callable

import structlog

from server.catalog.apps import Catalog
from server.catalog.flavors import Flavor, Flavors
from server.catalog.values import input_files
from server.errors import CumulusError, InfrastructureError, InvalidInput, NotFound
from server.jobs.chains import bring_results
from server.jobs.orders import missing_inputs, write_orders
from server.jobs.retention import Retention
from server.jobs.reuse import Reuse
from server.jobs.submission import parse_settings
from server.jobs.troubles import PATIENCE_S, Troubles, reason_of
from server.models import Change, Job, Worker, insert, move, note
from server.settings import Settings
from server.states import JobState, Reason, WorkerState
from server.storage.folders import FolderGone, JobFolder, RunResult, Storage
from server.workers.causes import classify
from server.workers.clouds.base import Layout
from server.workers.fleet import Address, Fleet

HEARTBEAT_DOUBT_S = 20.0  # a little more than the runner's own 15 s
UNREADABLE_DOUBT_S = 60.0  # of silence: until then a result may still be written, or NFS show it late
MAX_BACKOFF_S = 600.0
log = structlog.get_logger()


class Steps:
    """What can be done for a job; holds the parts that doing it takes and no state of jobs."""

    def __init__(
        self, settings: Settings, catalog: Catalog, flavors: Flavors, storage: Storage, fleet: Fleet, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._flavors = flavors
        self._storage = storage
        self._fleet = fleet
        self._reuse = Reuse(storage, settings.conversion_wait_s)
        self._clock = clock
        self._retention = Retention(storage, settings.data_max_age_days)
        self._abandoned = threading.Event()
        self._troubles = Troubles()

    def abandon(self) -> None:
        """The controller is going: give up waiting for plays; the next controller enters the steps again."""
        self._abandoned.set()

    def tidy(self, now: float) -> None:
        """Remove what is kept only for a while."""
        try:
            self._reuse.forget_finished()
            self._fleet.forget_old_plays(now)
            for one in self._retention.clean(now):
                log.info("no longer kept", kind=one.kind, name=one.name, bytes=one.bytes, reason=one.reason)
        except Exception:
            log.exception("what is no longer kept could not be removed")

    def receive(self, job: Job, now: float) -> None:
        """UPLOADING: queue the job once its files are there and the job before it is done; fail it where they never will be."""
        folder = self._storage.folder(job.folder)
        folder.require()
        before = JobState.DONE if job.start_after is None else self._outcome(job.start_after)
        if before in (JobState.FAILED, JobState.CANCELLED):
            self._fail(job, Reason.STEP_BEFORE_FAILED, f"Job {job.start_after} is {before}.", now)
        elif not folder.has_arrived():
            if now - job.created > self._settings.upload_timeout_s:
                self._fail(job, Reason.UPLOAD_TIMEOUT, "", now)
        elif before == JobState.DONE:
            self._queue_complete(job, folder, now)

    def must_wait(self, job: Job, now: float) -> bool:
        """QUEUED: whether the job had better wait for a conversion that another one is at."""
        return self._reuse.must_wait(job.id, now)

    def assign(self, job: Job, now: float) -> None:
        """QUEUED: give the job a worker row and its next attempt, both in one transaction."""
        attempt = job.attempt + 1
        name = f"job-{job.id}" if attempt == 1 else f"job-{job.id}-{attempt}"
        fields = {"attempt": attempt, "message": ""}
        with Job._meta.database.atomic("IMMEDIATE"):
            if move(Job, job.id, JobState.QUEUED, JobState.PROVISIONING, Change(now, text=name), fields):
                insert(
                    Worker,
                    Change(now),
                    name=name,
                    job_id=job.id,
                    attempt=attempt,
                    flavor=job.flavor,
                    weight=job.weight,
                    state=WorkerState.REQUESTED,
                )

    def launch(self, job_id: int, worker: Worker) -> None:
        """PROVISIONING and STARTING: make the machine, start the app on it. Safe to repeat: nothing is made or started twice."""
        job = Job.get_by_id(job_id)
        folder = self._storage.folder(job.folder)
        try:
            self._launch(job, worker, folder)
        except (InvalidInput, NotFound) as error:
            reason = Reason.SETTINGS_UNUSABLE if isinstance(error, InvalidInput) else Reason.APP_GONE
            self._fail(job, reason, error.message, self._clock())
        except CumulusError as error:
            self._not_launched(job_id, worker, folder, error)
        except _BadFolder as bad:
            self._fail(job, reason_of(bad.problem), _words(bad.problem), self._clock())
        except Exception as error:  # whatever it is: the job must not stay here for ever
            log.exception("a launch failed unexpectedly", job_id=job_id, worker=worker.name)
            self._not_launched(job_id, worker, folder, InfrastructureError(_words(error)))

    def observe(self, job: Job, worker: Worker | None, now: float) -> None:
        """RUNNING and FINISHING: see in the job's folder whether the app has ended, or its machine is gone."""
        folder = self._storage.folder(job.folder)
        folder.require()
        result = folder.result(job.attempt)
        self._reuse.publish(job, folder)
        if result is not None:
            self._finish(job, result, now)
        elif folder.has_unreadable_result():  # never to be taken for a lost machine: the app has run
            if self._silence(job, folder, now) > UNREADABLE_DOUBT_S:
                self._fail(job, Reason.RESULT_UNREADABLE, "", now)
        elif not self._is_healthy(job, worker, folder, now):
            result = folder.result(job.attempt)  # it may have been the last thing the machine did
            if result is not None:
                self._finish(job, result, now)
            else:
                self._retry_or_fail(job, Reason.MACHINE_LOST, "", now)

    def look_failed(self, job: Job, problem: Exception, now: float) -> None:
        """A look at the job failed unexpectedly: said once, and the job is given up where that lasts.

        While no job's folder can be seen, the storage is away, and that is waited for.
        """
        if not self._storage.is_there():
            return self._troubles.over(job.id)
        lasting = self._troubles.met(job.id, now)
        if not lasting:
            traceback = None if isinstance(problem, OSError | CumulusError) else problem
            log.warning("a job cannot be looked at", job_id=job.id, detail=_words(problem), exc_info=traceback)
        if lasting >= PATIENCE_S:
            self._fail(job, reason_of(problem), _words(problem), now)
            self._troubles.over(job.id)

    def look_succeeded(self, job: Job) -> None:
        """What had been the matter with the job is over."""
        self._troubles.over(job.id)

    def remove(self, worker: Worker) -> None:
        """The machine's end: stop what runs on it, destroy it, believe it when the cloud confirms. Repeated until it is so."""
        state = WorkerState(Worker.get_by_id(worker.id).state)
        if state is not WorkerState.DELETING and not move(Worker, worker.id, state, WorkerState.DELETING, Change(self._clock())):
            return
        job = Job.get_or_none(Job.id == worker.job_id)
        try:
            self._fleet.remove(worker.name, self._storage.folder(job.folder if job else worker.name).path)
        except InfrastructureError as error:
            self._postpone_removal(worker, error)
            return
        move(Worker, worker.id, WorkerState.DELETING, WorkerState.DELETED, Change(self._clock()), {"ended": self._clock()})

    def _queue_complete(self, job: Job, folder: JobFolder, now: float) -> None:
        try:
            files = input_files(self._catalog.get(job.app), parse_settings(Job.get_by_id(job.id).settings))
            missing = bring_results(job, files, self._storage) or missing_inputs(files, self._storage.data, folder)
        except NotFound as error:
            return self._fail(job, Reason.APP_GONE, error.message, now)
        except InvalidInput as error:
            return self._fail(job, Reason.SETTINGS_UNUSABLE, error.message, now)
        if missing:
            return self._fail(job, Reason.INPUT_MISSING, f"Missing: {', '.join(missing[:20])}", now)
        self._reuse.note_needs(job.id, files)
        move(Job, job.id, JobState.UPLOADING, JobState.QUEUED, Change(now))

    def _outcome(self, job_id: int) -> str:
        """How a job ended, "" while it has not; one that is gone did not succeed."""
        row = Job.select(Job.outcome).where(Job.id == job_id).first()
        return JobState.FAILED if row is None else str(row.outcome)

    def _launch(self, job: Job, worker: Worker, folder: JobFolder) -> None:
        flavor = self._flavors.get(job.flavor)
        if flavor is None:
            return self._fail(job, Reason.FLAVOR_GONE, f"There is no machine size {job.flavor} any more", self._clock())
        layout = self._fleet.layout(worker.name, folder.path)
        self._write_orders(job, worker, flavor, layout, folder)
        move(Worker, worker.id, WorkerState.REQUESTED, WorkerState.CREATING, Change(self._clock()))
        self._fleet.launch(
            worker.name,
            flavor,
            layout,
            on_machine=lambda address: self._has_machine(job, worker, address),
            unwanted=lambda: self._is_unwanted(job),
        )
        self._has_started(job, worker)

    def _write_orders(self, job: Job, worker: Worker, flavor: Flavor, layout: Layout, folder: JobFolder) -> None:
        """Leave the orders for an attempt that was not taken up yet. Raises _BadFolder where this folder alone is at fault."""
        try:
            folder.require()
            if not folder.has_started(job.attempt):
                folder.require_own_files()
                folder.forget_unreadable_result()
                write_orders(job, worker.name, flavor, layout, self._catalog, folder, self._reuse)
        except (FolderGone, OSError) as problem:
            full = isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)
            if full or not self._storage.is_there():
                raise InfrastructureError(f"the orders cannot be written: {_words(problem)}") from problem
            raise _BadFolder(problem) from problem

    def _not_launched(self, job_id: int, worker: Worker, folder: JobFolder, error: CumulusError) -> None:
        if self._abandoned.is_set():
            return
        reason = self._launch_failure(worker, error)
        self._keep_output(folder, worker, error, reason)
        self._retry_or_fail(Job.get_by_id(job_id), reason, error.message, self._clock())

    def _launch_failure(self, worker: Worker, error: CumulusError) -> Reason:
        """What the tools' own words mean, the first error's before all others; where they tell nothing: how far it went."""
        if told := classify(error.message) or classify(getattr(error, "output", "")):
            return told
        created = Worker.get_by_id(worker.id).state not in (WorkerState.REQUESTED, WorkerState.CREATING)
        return Reason.APP_NOT_STARTED if created else Reason.MACHINE_NOT_CREATED

    def _has_machine(self, job: Job, worker: Worker, address: Address) -> None:
        fields = {"address": address.host, "port": address.port, "boot": address.boot}
        change = Change(self._clock(), text=address.boot)
        move(Worker, worker.id, WorkerState.CREATING, WorkerState.BOOTING, change, fields)
        move(Job, job.id, JobState.PROVISIONING, JobState.STARTING, change)

    def _has_started(self, job: Job, worker: Worker) -> None:
        now = self._clock()
        move(Worker, worker.id, WorkerState.BOOTING, WorkerState.READY, Change(now))
        move(Worker, worker.id, WorkerState.READY, WorkerState.BUSY, Change(now))
        move(Job, job.id, JobState.STARTING, JobState.RUNNING, Change(now), {"started": now})

    def _is_unwanted(self, job: Job) -> bool:
        return self._abandoned.is_set() or JobState(Job.get_by_id(job.id).state).is_final

    def _is_healthy(self, job: Job, worker: Worker | None, folder: JobFolder, now: float) -> bool:
        """Ask the cloud only where the heartbeat is late; believe a late heartbeat of a living machine for a while."""
        late = self._silence(job, folder, now)
        if late < HEARTBEAT_DOUBT_S:
            return True
        return worker is not None and self._fleet.alive(worker.name) and late < self._settings.heartbeat_timeout_s

    def _silence(self, job: Job, folder: JobFolder, now: float) -> float:
        """Seconds since the runner's last sign of life."""
        return now - max(folder.heartbeat() or 0.0, job.state_since)

    def _finish(self, job: Job, result: RunResult, now: float) -> None:
        if job.state == JobState.RUNNING:
            move(Job, job.id, JobState.RUNNING, JobState.FINISHING, Change(now))
            job.state = JobState.FINISHING
        if result.stage == "done" and result.exit_code == 0 and result.end_tag_seen is not False:
            fields = {"ended": now, "outcome": JobState.DONE, "reason": "", "message": ""}
            move(Job, job.id, JobState.FINISHING, JobState.DONE, Change(now), fields)
        else:
            self._fail(job, _reason(result), result.message, now)

    def _retry_or_fail(self, job: Job, reason: Reason, text: str, now: float) -> None:
        if not reason.retryable or job.attempt >= self._settings.max_attempts or JobState(job.state).is_final:
            return self._fail(job, reason, text, now)
        delay = min(self._settings.retry_delay_s * 2 ** (job.attempt - 1), MAX_BACKOFF_S)
        message = f"Attempt {job.attempt} of {self._settings.max_attempts}: {reason.explain(text)}"
        fields = {"not_before": now + delay, "message": message}
        move(Job, job.id, JobState(job.state), JobState.QUEUED, Change(now, reason=reason, text=text), fields)
        log.warning("a job is tried again", job_id=job.id, attempt=job.attempt, reason=str(reason), detail=text)

    def _fail(self, job: Job, reason: Reason, text: str, now: float) -> None:
        if JobState(job.state).is_final:
            return
        state = JobState(Job.get_by_id(job.id).state)
        if state.is_final:
            return
        fields = {"ended": now, "outcome": JobState.FAILED, "reason": reason, "message": reason.explain(text)}
        if move(Job, job.id, state, JobState.FAILED, Change(now, reason=reason, text=text), fields):
            log.warning("a job failed", job_id=job.id, reason=str(reason), blame=str(reason.blame), detail=text)

    def _postpone_removal(self, worker: Worker, error: CumulusError) -> None:
        failures = Worker.get_by_id(worker.id).failures + 1
        delay = min(self._settings.retry_delay_s * 2 ** (failures - 1), MAX_BACKOFF_S)
        fields = {"failures": failures, "not_before": self._clock() + delay, "message": error.message}
        Worker.update(fields).where(Worker.id == worker.id).execute()
        note(Worker, worker.id, Change(self._clock(), reason=error.code, text=error.message))
        log.warning("a machine could not be removed yet", worker=worker.name, failures=failures, detail=error.message)

    def _keep_output(self, folder: JobFolder, worker: Worker, error: CumulusError, reason: Reason) -> None:
        """A failed tool's own words and the machine's last ones stay with the job, for whoever looks into it."""
        parts = [
            f"{reason.text} ({reason}, {reason.blame})\n{reason.advice}",
            error.message,
            getattr(error, "output", ""),
            f"--- console ---\n{self._fleet.console_log(worker.name)}",
        ]
        try:
            folder.keep(f"failure.{worker.attempt}", "\n\n".join(parts) + "\n")
        except OSError as problem:
            log.warning("a failure's output could not be kept", worker=worker.name, detail=_words(problem))


class _BadFolder(Exception):
    """A job's own folder is at fault; ``problem`` says how."""

    def __init__(self, problem: FolderGone | OSError) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _words(problem: Exception) -> str:
    return problem.message if isinstance(problem, CumulusError) else f"{type(problem).__name__}: {problem}"


def _reason(result: RunResult) -> Reason:
    by_stage = {"input": Reason.INPUT_MISSING, "convert": Reason.CONVERSION_FAILED, "results": Reason.RESULTS_NOT_SAVED}
    return by_stage.get(result.stage, Reason.APP_FAILED)
