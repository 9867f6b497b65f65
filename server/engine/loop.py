"""The loop that carries jobs through their lives. It decides and delegates; what blocks runs in the background.

It sleeps until the next deadline or a wake-up. All it knows is in the database and the job folders, so a new loop continues
where a killed one stopped.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from peewee import PeeweeException

from programs.database.sqlite import is_of_the_file
from server.db.errors import DatabaseDamaged, DatabaseLost, DatabaseUnusable
from server.db.models import Job, Worker
from server.db.queries import jobs_at_work, living_workers
from server.engine.background import Background
from server.engine.duties.admission import Admission
from server.engine.duties.schedule import Schedule
from server.engine.duties.timekeeping import Timekeeper
from server.engine.monitoring.awaited_files import AwaitedFiles
from server.engine.ready_pool import is_being_made, is_waiting
from server.engine.stages import Stages
from server.settings import Settings
from server.states import LAUNCHING, STARTED, JobState, WorkerState
from server.storage.file_watcher import FileWatcher
from server.storage.folders import Storage
from server.storage.holding import StorageTaken
from server.storage.job_folder.names import ARRIVED, RESULT
from server.supervisor import NOBODY, Supervisor

LONGEST_REST_S = 0.5
DATABASE_PAUSE_S = 2.0
_LEAVING = frozenset({WorkerState.DELETING, WorkerState.HELD})
log = structlog.get_logger()


class Loop:
    """One controller's loop; :meth:`run` blocks until :meth:`stop`. ``turned`` gets the seconds that each turn took."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        stages: Stages,
        admission: Admission,
        schedule: Schedule,
        background: Background,
        timekeeper: Timekeeper,
        turned: Callable[[float], None],
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._stages = stages
        self._admission = admission
        self._schedule = schedule
        self._background = background
        self._timekeeper = timekeeper
        self._turned = turned
        self._has_adopted = False
        self._wake = background.changed
        self._file_watcher = FileWatcher(storage.jobs, (ARRIVED, RESULT), self.wake)
        self._awaited = AwaitedFiles(settings, storage, self._file_watcher)
        self._stopping = threading.Event()

    @property
    def damage(self) -> DatabaseDamaged | DatabaseLost | DatabaseUnusable | None:
        """What is wrong with the database; None while it is sound."""
        return self._background.health.damage

    def wake(self) -> None:
        """Turn now: something has changed."""
        self._wake.set()

    def run(self, supervisor: Supervisor = NOBODY) -> None:
        """Turn until stopped, and notify the supervisor after each turn. A failed turn is logged and tried again."""
        while not self._stopping.is_set():
            self._wake.clear()
            begin = self._timekeeper.steady()
            try:
                delay = self.turn(begin)
            except StorageTaken as problem:
                log.warning("the loop pauses", detail=problem.message)
                delay = DATABASE_PAUSE_S
            except Exception as problem:  # noqa: BLE001  # whatever it is
                delay = self._turn_failed(problem)
            else:
                self._background.health.succeeded()
            took = self._timekeeper.steady() - begin
            self._turned(took)
            supervisor.alive()
            self._stopping.wait(min(took, LONGEST_REST_S))  # who wakes the loop again and again leaves others time
            self._wake.wait(min(delay, supervisor.longest_pause_s))

    def stop(self, grace_s: float) -> bool:
        """Begin no more steps and wait for those at work; False if some still are: the next controller adopts what they do."""
        steady = self._timekeeper.steady
        deadline = steady() + grace_s
        self._stopping.set()
        self._wake.set()
        self._stages.abandon()
        self._background.stop()
        self._file_watcher.close()
        self._background.wait(lambda: steady() >= deadline)
        with suppress(PeeweeException):  # the next controller does it
            self._schedule.finish(lambda: steady() > deadline)
        return not self._background.is_busy()

    def turn(self, steady: float | None = None) -> float:
        """Inspect everything unfinished once; returns the seconds until the next turn is due.

        ``steady``: the time, in seconds that never jump; then jobs whose files would have been heard of wait for their turn.
        """
        self._storage.require_own()
        now = self._timekeeper.clock()
        self._adjust_clock()
        if not self._has_adopted:
            self._stages.intake.adopt()
            self._has_adopted = True
        jobs, workers = jobs_at_work(), living_workers()
        uploading = self._awaited.due([job for job in jobs if job.state in STARTED], steady)
        self._inspect(jobs, workers, now)
        for job in uploading:
            self._isolated(job, now, self._receive, job, now)
        self._admission.admit(workers, now)
        workers, jobs = living_workers(), jobs_at_work()  # as the changes above have left them
        self._dispatch(workers, jobs, now)
        self._schedule.begin_due(workers, now)
        return self._delay(workers, jobs, now)

    def _turn_failed(self, problem: Exception) -> float:
        """Log it; returns the seconds until the turn is tried again."""
        if not is_of_the_file(problem):
            log.error("a turn of the loop failed", exc_info=problem)
            return self._settings.poll_interval_s
        self._background.health.failed(problem)
        return DATABASE_PAUSE_S

    def _adjust_clock(self) -> None:
        """Where the computer's clock was set, limits and pauses continue to count the time that really passed."""
        if jump := self._timekeeper.adjust_clock():
            self._stages.clock_moved(jump)
            self._schedule.clock_moved(jump)

    def _inspect(self, jobs: list[Job], workers: list[Worker], now: float) -> None:
        """Started jobs first: a step of a workflow continues when the one before it is done."""
        monitor, timeouts = self._stages.monitor, self._stages.timeouts
        started = [(job, worker) for job, worker in _with_worker(jobs, workers) if job.state in STARTED]
        monitor.listen_only_to([job for job, _ in started])
        for job, worker in started:
            self._isolated(job, now, monitor.observe, job, worker, now)
        for job in jobs:
            timeouts.expire(job, now)

    def _receive(self, job: Job, now: float) -> None:
        key, intake = f"files of job {job.id}", self._stages.intake
        if self._background.may_begin(key):
            if intake.receive(job, now):
                self._background.begin(key, intake.prepare, job.id)
            else:
                self._awaited.looked_at(job)

    def _isolated(self, job: Job, now: float, step: Callable[..., None], *arguments: object) -> None:
        """Inspect one job; its failure keeps no other job from being inspected. A failing database concerns them all."""
        try:
            step(*arguments)
        except Exception as problem:
            if isinstance(problem, PeeweeException) or is_of_the_file(problem):
                raise
            self._stages.failing.inspection_failed(job, problem, now)
        else:
            self._stages.failing.inspection_succeeded(job)

    def _dispatch(self, workers: Sequence[Worker], jobs: Sequence[Job], now: float) -> None:
        """Begin each worker's next step."""
        in_motion, begin = {job.id: job for job in jobs}, self._background.begin
        for worker in workers:
            if worker.not_before > now or is_waiting(worker):
                continue
            job = in_motion.get(worker.job_id or 0)
            if is_being_made(worker):
                begin(worker.id, self._stages.pool_launcher.make, worker)
            elif job is None or not _is_current(job, worker):
                begin(worker.id, self._stages.teardown.remove, worker)
            elif job.state in LAUNCHING:
                begin(worker.id, self._stages.launcher.launch, job.id, worker)
            elif job.state == JobState.LOST:
                begin(worker.id, self._stages.monitor.inspect, job.id, worker)

    def _delay(self, workers: list[Worker], jobs: list[Job], now: float) -> float:
        """Seconds until the next deadline, or until all folders are inspected again."""
        due = [worker.not_before for worker in workers]
        due += [*self._admission.next_at(now), *self._stages.pool_launcher.try_at(), self._schedule.next_at()]
        delay = min((at - now for at in due if at > now), default=self._settings.sweep_interval_s)
        if not self._awaited.is_empty or any(job.state in STARTED for job in jobs):
            delay = min(delay, self._awaited.pause_s)
        return delay


def _is_current(job: Job, worker: Worker) -> bool:
    """Whether the machine is that of the job's present attempt, and stays."""
    return bool(job.attempt == worker.attempt and worker.state not in _LEAVING)


def _with_worker(jobs: list[Job], workers: list[Worker]) -> list[tuple[Job, Worker | None]]:
    """Each job with the machine of its present attempt; None where there is no such row any more."""
    current = {(worker.job_id, worker.attempt): worker for worker in workers if worker.state not in _LEAVING}
    return [(job, current.get((job.id, job.attempt))) for job in jobs]
