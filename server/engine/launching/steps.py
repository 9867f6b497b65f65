"""The steps of a job's life beside its run. Each may be entered again after a crash: it looks at what is there before it acts.

The quick ones (assign, expire) run in the loop; launch and remove block and run on its pool. What happens before a job is queued
is in ``intake``, what between the app's start and its end in ``watch``.
"""

import errno
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import structlog
from peewee import OperationalError

from programs.database.sqlite import is_of_the_file
from server.catalog.apps import Catalog
from server.catalog.flavors import Flavor, Flavors
from server.db.models import Change, Job, Queued, Worker, create, living_workers, record_event, transition, worker_name
from server.engine.breaker import LAUNCHING, Circuit
from server.engine.completion import Completion, backoff_s
from server.engine.duties.retention import Retention
from server.engine.duties.timekeeping import why_doubted
from server.engine.failures import PATIENCE_S, Troubles, reason_of
from server.engine.installed_apps import InstalledApps
from server.engine.intake import reason_for
from server.engine.launching.conversion_cache import ConversionCache
from server.engine.launching.run_plan import write_orders
from server.engine.ready_pool import ReadyPool
from server.engine.records.manifests import Manifests
from server.engine.records.recording import Learned
from server.errors import CumulusError, InfrastructureError, InvalidInput, NotFound
from server.policy.deadlines import Deadline, deadlines
from server.policy.error_classification import cause
from server.policy.limit_advice import limit_named
from server.reasons import Reason
from server.settings import Settings
from server.states import JobState, WorkerState
from server.storage.folders import FolderGone, JobFolder, Storage
from server.storage.inputs.pins import InputProblem, Pins
from server.workers.address import Address
from server.workers.clouds.base import Layout
from server.workers.fleet import Fleet
from server.workers.transient_errors import passing

GB = 1e9
DIRECT_AFTER = 3  # failed removals, before what remains is removed without Terraform
UNKNOWN = Address("", 0)  # of a machine whose terraform failed after it was made
log = structlog.get_logger()


class Steps:
    """What can be done for a job; holds the parts that doing it takes and no state of jobs."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        flavors: Flavors,
        storage: Storage,
        fleet: Fleet,
        endings: Completion,
        reuse: ConversionCache,
        circuit: Circuit,
        pool: ReadyPool,
        manifests: Manifests,
        installed: InstalledApps,
        retention: Retention,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._flavors = flavors
        self._storage = storage
        self._fleet = fleet
        self._endings = endings
        self._reuse = reuse
        self._circuit = circuit
        self._pool = pool
        self._manifests = manifests
        self._installed = installed
        self._clock = clock
        self._deadlines = deadlines(settings)
        self._persistence = pool.persistence
        self._pins = Pins(storage)
        self._retention = retention
        self._abandoned = threading.Event()
        self._troubles = Troubles()

    def abandon(self) -> None:
        """The controller is going: give up waiting for plays; the next controller enters the steps again."""
        self._abandoned.set()

    def tidy(self, now: float) -> None:
        """Remove what is kept only for a while."""
        try:
            self._reuse.forget_finished()
            if mended := self._manifests.mend():
                log.info("records of jobs lacked their end, and are whole now", jobs=mended[:20])
            believed = 0.0 if why_doubted(now) else now
            self._fleet.forget_old_plays(believed)
            for one in self._retention.clean(now):
                log.info("no longer kept", kind=one.kind, name=one.name, bytes=one.bytes, reason=one.reason)
            self._fleet.forget_unused(believed)
        except CumulusError as problem:
            log.warning("what is no longer kept could not be removed", detail=problem.message)
        except Exception:
            log.exception("what is no longer kept could not be removed")

    def make_room(self) -> None:
        """Let the trash give way where the storage is short of room."""
        try:
            self._retention.relieve(self._settings.min_free_gb * GB)
        except OSError as problem:  # the storage is away, or takes nothing
            log.warning("the trash could not be looked at", detail=str(problem))

    def clock_moved(self, seconds: float) -> None:
        """The computer's clock was set by so much."""
        self._troubles.moved(seconds)

    def must_wait(self, job: Queued, now: float) -> bool:
        """QUEUED: whether the job had better wait for a conversion that another one is at."""
        return self._reuse.must_wait(job.id, now)

    def assign(self, waiting: Queued, now: float) -> None:
        """QUEUED: give the job its next attempt and a machine that waits ready, or a row for one that is to be made.

        All in one transaction, and not beyond the limit of weights, whoever asks.
        """
        with Job._meta.database.atomic("IMMEDIATE"):
            job = Job.get_by_id(waiting.id)
            if job.state != JobState.QUEUED:
                return
            now = max(now, job.state_since)  # it may have been queued since this turn of the loop began
            attempt = job.attempt + 1
            if not self._pool.take(waiting, attempt, now) and not self._request(job, attempt, now):
                return
            fields = {"attempt": attempt, "message": ""}
            transition(Job, job.id, JobState.QUEUED, JobState.PROVISIONING, Change(now, text=f"attempt {attempt}"), fields)
        self._manifests.write(job.id)

    def _request(self, job: Job, attempt: int, now: float) -> bool:
        """Ask for a machine for the job, if its weight fits."""
        if sum(worker.weight for worker in living_workers()) + job.weight > self._flavors.max_weight:
            return False
        fields = {"job_id": job.id, "attempt": attempt, "flavor": job.flavor, "weight": job.weight}
        create(Worker, Change(now), name=worker_name(job.id, attempt), state=WorkerState.REQUESTED, **fields)
        return True

    def launch(self, job_id: int, worker: Worker) -> None:
        """PROVISIONING and STARTING: make the machine, start the app on it. Safe to repeat: nothing is made or started twice."""
        job = Job.get_by_id(job_id)
        folder = self._storage.folder(job.folder)
        try:
            self._launch(job, worker, folder)
        except (InvalidInput, NotFound, InputProblem) as error:
            self._endings.fail(job, reason_for(error), error.message, self._clock())
        except CumulusError as error:
            self._not_launched(job_id, worker, folder, error)
        except _BadFolder as bad:
            self._endings.fail(job, reason_of(bad.problem), _words(bad.problem), self._clock())
        except Exception as error:  # whatever it is: the job must not stay here for ever
            if is_of_the_file(error):  # says nothing about the launch, which is entered again
                raise
            log.exception("a launch failed unexpectedly", job_id=job_id, worker=worker.name)
            self._not_launched(job_id, worker, folder, InfrastructureError(_words(error)))

    def expire(self, job: Job, now: float) -> None:
        """Any state: end the attempt of a job that has been where it is for too long."""
        deadline = self._deadlines.get(JobState(job.state))
        if deadline and deadline.is_over(job.state_since, now) and not self._may_wait(job, deadline, now):
            text = f"It was {job.state} for longer than {deadline.limit_s:.0f} s."
            trouble = self._trouble(job)
            self._endings.retry_or_fail(job, trouble or deadline.reason, text, now, counts=trouble is None)

    def _trouble(self, job: Job) -> Reason | None:
        """The cloud's own trouble with the machine that the job waits for; None where it has none."""
        worker = Worker.get_or_none(Worker.job_id == job.id, Worker.attempt == job.attempt) if job.state in LAUNCHING else None
        return self._persistence.trouble(worker.name) if worker else None

    def _may_wait(self, job: Job, deadline: Deadline, now: float) -> bool:
        """Whether the app has ended in time, and only room in the storage is waited for, which has a limit of its own."""
        waits = job.state == JobState.RUNNING and self._storage.folder(job.folder).results_wait()
        return waits and not deadline.is_over(job.state_since + self._settings.results_wait_s, now)

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
            self._endings.fail(job, reason_of(problem), _words(problem), now)
            self._troubles.over(job.id)

    def look_succeeded(self, job: Job) -> None:
        """What had been the matter with the job is over."""
        self._troubles.over(job.id)

    def remove(self, worker: Worker) -> None:
        """The machine's end: stop what runs on it, destroy it, believe it when the cloud confirms. Repeated until it is so."""
        worker, job = Worker.get_by_id(worker.id), Job.get_or_none(Job.id == worker.job_id)
        state = WorkerState(worker.state)
        if state is WorkerState.DELETED or self._is_held(worker, state, job):  # its end came after the loop had looked
            return
        if state is not WorkerState.DELETING and not transition(
            Worker, worker.id, state, WorkerState.DELETING, Change(self._clock())
        ):
            return
        try:
            folder = self._folder_of(worker, job)
            at_rest = folder.result(worker.attempt) is not None  # the runner's last word, after the results
            directly = worker.failures >= DIRECT_AFTER
            self._fleet.remove(worker.name, folder.path, at_rest=at_rest, without_terraform=directly)
        except InfrastructureError as error:
            self._postpone_removal(worker, error)
            return
        if transition(
            Worker, worker.id, WorkerState.DELETING, WorkerState.DELETED, Change(self._clock()), {"ended": self._clock()}
        ):
            self._persistence.over(worker.name)
            self._circuit.has_room()
            if job is not None and job.outcome in (JobState.FAILED, JobState.CANCELLED):
                self._manifests.write(job.id)  # its runner may have told more after the end

    def _is_held(self, worker: Worker, state: WorkerState, job: Job | None) -> bool:
        """Whether the machine of a failed attempt stays for inspection; held only where its app has certainly ended."""
        until = self._hold_until(worker, job)
        if until <= self._clock() or state not in (WorkerState.BOOTING, WorkerState.READY, WorkerState.BUSY, WorkerState.HELD):
            return False
        if state is not WorkerState.HELD:
            folder = self._folder_of(worker, job).path
            self._fleet.stop_job(worker.name, folder)
            if not self._fleet.machines.exists(worker.name) or self._fleet.runs(worker.name, folder) is not False:
                return False
            login = self._fleet.login_command(worker.name, folder)
            text = f"for inspection, until {datetime.fromtimestamp(until):%Y-%m-%d %H:%M}: {login}"
            transition(
                Worker,
                worker.id,
                state,
                WorkerState.HELD,
                Change(self._clock(), text=text),
                {"held_until": until, "message": text},
            )
        Worker.update(not_before=until).where(Worker.id == worker.id).execute()
        return True

    def _hold_until(self, worker: Worker, job: Job | None) -> float:
        """Unix seconds; 0 where the machine is nobody's, or its attempt did not fail."""
        failed = job is not None and (job.state == JobState.FAILED or not JobState(job.state).is_final)
        if not failed:
            return 0.0
        if worker.state == WorkerState.HELD or worker.held_until:
            return float(worker.held_until)
        return self._clock() + self._settings.hold_failed_s if self._settings.hold_failed_s else 0.0

    def _folder_of(self, worker: Worker, job: Job | None) -> JobFolder:
        return self._storage.folder(job.folder if job else worker.name)

    def _launch(self, job: Job, worker: Worker, folder: JobFolder) -> None:
        flavor = self._flavors.get(job.flavor)
        if flavor is None:
            return self._endings.fail(job, Reason.FLAVOR_GONE, f"There is no machine size {job.flavor} any more", self._clock())
        layout = self._fleet.layout(worker.name, folder.path)
        learned = self._write_orders(job, worker, flavor, layout, folder)

        def on_machine(address: Address) -> None:
            if learned:
                self._record(job, worker, learned)
            self._has_machine(job, worker, address)

        def unwanted() -> bool:
            return self._is_unwanted(job.id, worker)

        if worker.state == WorkerState.READY:
            self._fleet.start(worker.name, layout, on_machine=on_machine, unwanted=unwanted)
        else:
            transition(Worker, worker.id, WorkerState.REQUESTED, WorkerState.CREATING, Change(self._clock()))
            self._fleet.launch(
                worker.name,
                flavor,
                layout,
                on_machine=on_machine,
                unwanted=unwanted,
                has_started=lambda: folder.has_started(worker.attempt),
            )
        self._has_started(job, worker)

    def _write_orders(self, job: Job, worker: Worker, flavor: Flavor, layout: Layout, folder: JobFolder) -> Learned | None:
        """Leave the orders for an attempt that was not taken up yet. Raises _BadFolder where this folder alone is at fault."""
        try:
            folder.require()
            if folder.has_started(job.attempt):
                return None
            made_of = self._fleet.machines.snapshot_of(worker.name) if worker.state == WorkerState.READY else ""
            self._installed.require_version(self._catalog.get(job.app), made_of)
            folder.require_own_files()
            folder.forget_unreadable_result()
            parts = self._catalog, folder, self._pins, self._reuse
            learned = write_orders(job, worker.name, flavor, layout, *parts, self._settings)
            self._fleet.admit(folder.path)
            return learned
        except (FolderGone, OSError) as problem:
            full = isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)
            if full or not self._storage.is_there():
                raise InfrastructureError(f"the orders cannot be written: {_words(problem)}") from problem
            raise _BadFolder(problem) from problem

    def _record(self, job: Job, worker: Worker, learned: Learned) -> None:
        """Before the app starts: what is run, and on what. The machine was made of the snapshot that its variables name.

        Raises CloudError where another one was promoted meanwhile, and lacks the app.
        """
        snapshot = self._fleet.machines.snapshot_of(worker.name)
        program = self._installed.require_version(learned.app, snapshot)
        self._manifests.write(job.id, replace(learned, cloud=str(self._settings.cloud), snapshot=snapshot, program=program))

    def _not_launched(self, job_id: int, worker: Worker, folder: JobFolder, error: CumulusError) -> None:
        job = Job.get_by_id(job_id)
        if self._abandoned.is_set() or not self._is_being_launched(job, worker):
            return
        pause_s = self._persistence.pause_s(job_id, worker.name, error, cause(error) or passing(error))
        if pause_s is not None:
            return self._go_on_later(job, worker, error, pause_s)
        self._persistence.over(worker.name)
        fault = self._fleet.machines.fault(worker.name)
        reason = self._launch_failure(worker, error, fault)
        self._keep_output(folder, worker, error, reason, fault)
        if folder.has_started(worker.attempt):  # the play failed, or came too late, after it had done its work
            self._has_machine(job, worker, UNKNOWN)  # or terraform did, and the machine has begun by itself
            return self._has_started(job, worker)
        text = limit_named(fault or error.message)
        # Where only machines of this size cannot be made, or none has this app, others are made on.
        outage = reason.retryable and not reason.is_of_some and self._circuit.failed(job.id, text, reason).is_open
        self._endings.retry_or_fail(job, reason, text, self._clock(), counts=not (outage or reason.waits))

    def _go_on_later(self, job: Job, worker: Worker, error: CumulusError, pause_s: float) -> None:
        """The launch is entered again on the same machine: what was made of it stays."""
        now = self._clock()
        with Job._meta.database.atomic("IMMEDIATE"):
            Worker.update(not_before=now + pause_s, message=error.message).where(Worker.id == worker.id).execute()
            unchanged = (Job.id == job.id) & (Job.attempt == job.attempt) & Job.state.in_(LAUNCHING)
            if Job.update(message=f"The cloud is asked again: {error.message}").where(unchanged).execute():
                record_event(Worker, worker.id, Change(now, reason=error.code, text=error.message))
        log.warning("a machine is gone on with later", worker=worker.name, pause_s=round(pause_s, 1), detail=error.message)

    def _launch_failure(self, worker: Worker, error: CumulusError, fault: str) -> Reason:
        """What the cloud and the tools say; where they tell nothing: how far it went."""
        if told := cause(error, fault) or passing(error):
            return told
        created = Worker.get_by_id(worker.id).state not in (WorkerState.REQUESTED, WorkerState.CREATING)
        return Reason.APP_NOT_STARTED if created else Reason.MACHINE_NOT_CREATED

    def _has_machine(self, job: Job, worker: Worker, address: Address) -> None:
        fields = {"address": address.host, "port": address.port, "boot": address.boot}
        change = Change(self._clock(), text=address.boot)
        transition(Worker, worker.id, WorkerState.CREATING, WorkerState.BOOTING, change, fields)
        transition(Job, job.id, JobState.PROVISIONING, JobState.STARTING, change)

    def _has_started(self, job: Job, worker: Worker) -> None:
        now = self._clock()
        transition(Worker, worker.id, WorkerState.BOOTING, WorkerState.READY, Change(now))
        transition(Worker, worker.id, WorkerState.READY, WorkerState.BUSY, Change(now))
        transition(Job, job.id, JobState.STARTING, JobState.RUNNING, Change(now), {"started": now, "message": ""})
        self._persistence.over(worker.name)
        self._circuit.succeeded()

    def _is_unwanted(self, job_id: int, worker: Worker) -> bool:
        """Whether nobody waits for the launch any more; while the database is busy, it goes on."""
        try:
            return self._abandoned.is_set() or not self._is_being_launched(Job.get_by_id(job_id), worker)
        except OperationalError:
            return False

    def _is_being_launched(self, job: Job, worker: Worker) -> bool:
        """Whether it is this attempt that is wanted: the job may have ended, or be tried again, meanwhile."""
        return job.state in LAUNCHING and job.attempt == worker.attempt

    def _postpone_removal(self, worker: Worker, error: CumulusError) -> None:
        failures = Worker.get_by_id(worker.id).failures + 1
        delay = backoff_s(self._settings.retry_delay_s, failures)
        text = limit_named(error.message)
        fields = {"failures": failures, "not_before": self._clock() + delay, "message": text}
        Worker.update(fields).where(Worker.id == worker.id).execute()
        record_event(Worker, worker.id, Change(self._clock(), reason=error.code, text=text))
        log.warning("a machine could not be removed yet", worker=worker.name, failures=failures, detail=text)

    def _keep_output(self, folder: JobFolder, worker: Worker, error: CumulusError, reason: Reason, fault: str) -> None:
        """A failed tool's own words and the machine's last ones stay with the job, for whoever looks into it."""
        parts = [
            f"{reason.text} ({reason}, {reason.blame})\n{reason.advice}",
            limit_named(error.message),
            *([f"The cloud says of the machine: {fault}"] if fault else []),
            getattr(error, "output", ""),
            f"--- console ---\n{self._fleet.machines.console_log(worker.name)}",
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
