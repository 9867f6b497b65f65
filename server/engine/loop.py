"""The loop that carries jobs through their lives. It decides and delegates; what blocks runs in ``steps`` on a bounded pool.

It sleeps until the next deadline or a wake-up. All it knows is in the database and the job folders, so a new loop goes on
where a killed one stopped.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import structlog
from peewee import PeeweeException

from programs.database.sqlite import is_damaged, is_of_the_file
from server.db.errors import DatabaseDamaged, DatabaseLost, DatabaseUnusable, unusable
from server.db.models import Job, Worker
from server.db.queries import Queued, jobs_in_motion, jobs_of, living_workers, next_queued_at, queued_jobs
from server.db.settings_store import why_drained
from server.engine.breaker import LAUNCHING, Circuit
from server.engine.duties.image_prewarmer import ImagePrewarmer
from server.engine.duties.sweeper import Sweeper
from server.engine.duties.timekeeping import DAY_S, Timekeeper
from server.engine.intake import Intake
from server.engine.launching.steps import Steps
from server.engine.monitor import STARTED, Monitor
from server.engine.ready_pool import ReadyPool, is_being_made, is_waiting
from server.engine.records.manifests import Manifests
from server.errors import InfrastructureError
from server.policy.scheduling import Rules, admit, rank
from server.settings import Settings
from server.states import JobState, WorkerState
from server.storage.file_watcher import FileWatcher
from server.storage.folders import Storage
from server.storage.holding import StorageTaken
from server.storage.job_folder.names import ARRIVED, RESULT
from server.supervisor import NOBODY, Supervisor

DATABASE_PAUSE_S = 2.0
TIDY_INTERVAL_S = DAY_S + 60.0  # that really passed: what is old at two looks in a row is old for a day
HEARTBEAT_LOOKS = 4  # at a started job, in the time after which a heartbeat is late
_LEAVING = frozenset({WorkerState.DELETING, WorkerState.HELD})
log = structlog.get_logger()


class Loop:
    """One controller's loop; :meth:`run` blocks until :meth:`stop`. ``turned`` hears how many seconds each turn took."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        manifests: Manifests,
        intake: Intake,
        steps: Steps,
        watch: Monitor,
        pool: ReadyPool,
        sweeper: Sweeper,
        warmer: ImagePrewarmer,
        circuit: Circuit,
        max_weight: int,
        timekeeper: Timekeeper,
        clock: Callable[[], float],
        steady: Callable[[], float],
        turned: Callable[[float], None],
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._manifests = manifests
        self._intake = intake
        self._has_adopted = False
        self._steps = steps
        self._watch = watch
        self._pool = pool
        self._sweeper = sweeper
        self._warmer = warmer
        self._circuit = circuit
        self._rules = Rules(max_weight, settings.priority_ageing_s, settings.backfill_limit_s)
        self._clock = clock
        self._steady = steady
        self._turned = turned
        self._timekeeper = timekeeper
        self._executor = ThreadPoolExecutor(settings.parallel_steps, thread_name_prefix="step")
        self._in_flight: dict[int | str, Future[None]] = {}  # by the worker's number, or the name of what is nobody's
        self._tidy_due = 0.0
        self._sweep_due = 0.0
        self._wake = threading.Event()
        self._notices = FileWatcher(storage.jobs, (ARRIVED, RESULT), self.wake)
        self._stopping = threading.Event()
        self.damage: DatabaseDamaged | DatabaseLost | DatabaseUnusable | None = None  # what the last turn met

    def wake(self) -> None:
        """Look again now: something has changed."""
        self._wake.set()

    def run(self, supervisor: Supervisor = NOBODY) -> None:
        """Turn until stopped, and tell after each turn. A turn that fails is logged and tried again; no error ends the loop."""
        while not self._stopping.is_set():
            self._wake.clear()
            begin = self._steady()
            try:
                delay = self.turn()
            except StorageTaken as problem:
                log.warning("nothing is done", detail=problem.message)
                delay = DATABASE_PAUSE_S
            except Exception as problem:  # noqa: BLE001  # whatever it is
                delay = self._turn_failed(problem)
            else:
                self.damage = None
            self._turned(self._steady() - begin)
            supervisor.alive()
            self._wake.wait(min(delay, supervisor.longest_pause_s))

    def _turn_failed(self, problem: Exception) -> float:
        """Log it; returns the seconds until the turn is tried again."""
        if not is_of_the_file(problem):
            log.error("a turn of the loop failed", exc_info=problem)
            return self._settings.poll_interval_s
        self._database_failed(problem)
        return DATABASE_PAUSE_S

    def _database_failed(self, problem: Exception, **fields: object) -> None:
        """One line: busy, or the disk is full, which may pass; or damaged, which is told until a turn succeeds."""
        if is_damaged(problem):
            damage = unusable(problem)
            log.error("the database cannot be used", code=damage.code, detail=damage.message, **fields)
            self.damage = damage
        else:
            log.warning("the database cannot be used", detail=str(problem), **fields)

    def stop(self, grace_s: float) -> bool:
        """Begin no more steps and wait for those at work; False if some still are: the next controller adopts what they do."""
        self._stopping.set()
        self._wake.set()
        self._steps.abandon()
        self._intake.abandon()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._notices.close()
        end = threading.Event()
        for future in list(self._in_flight.values()):
            future.add_done_callback(lambda _: end.set())
        deadline = self._steady() + grace_s
        while self._busy() and self._steady() < deadline:
            end.wait(0.05)
            end.clear()
        with suppress(PeeweeException):  # the next controller does it
            self._manifests.keep_up(lambda: self._steady() > deadline)
        return not self._busy()

    def turn(self) -> float:
        """One look at everything unfinished; returns the seconds until the next is due."""
        self._storage.require_own()
        now = self._clock()
        self._straighten()
        if not self._has_adopted:
            self._intake.adopt()
            self._has_adopted = True
        jobs, workers = jobs_in_motion(), living_workers()
        hears_all = self._listen(jobs)
        self._observe(jobs, workers, now)  # before the others: a step of a workflow goes on when the one before it is done
        for job in jobs:
            if job.state == JobState.UPLOADING:
                self._apart(job, now, self._receive, job, now)
            else:
                self._steps.expire(job, now)
        self._pool.give_up_old(workers, now)
        self._admit(workers, now)
        workers, jobs = living_workers(), jobs_in_motion()  # as all that has left them
        self._dispatch(workers, jobs, now)
        if (steady := self._steady()) >= self._tidy_due:
            self._tidy_due = steady + TIDY_INTERVAL_S
            self._timekeeper.keep()
            self._submit("tidy", self._steps.tidy, now)
        self._sweep(now)
        self._warm_up(workers)
        self._keep_up()
        return self._delay(workers, jobs, now, hears_all)

    def _receive(self, job: Job, now: float) -> None:
        key = f"files of job {job.id}"
        if key not in self._in_flight and self._intake.receive(job, now) and not self._stopping.is_set():
            self._submit(key, self._intake.prepare, job.id)

    def _listen(self, jobs: list[Job]) -> bool:
        """Hear at once where somebody waits for a file; True if that can be relied on."""
        awaited = [job for job in jobs if job.state == JobState.UPLOADING or job.state in STARTED]
        return self._notices.listen_only_to([self._storage.folder(job.folder).path for job in awaited])

    def _straighten(self) -> None:
        """Where the computer's clock was set, limits and pauses go on counting the time that really passed."""
        if jump := self._timekeeper.straighten():
            self._sweep_due += jump
            for part in (self._steps, self._intake, self._pool):
                part.clock_moved(jump)

    def _observe(self, jobs: list[Job], workers: list[Worker], now: float) -> None:
        started = [(job, worker) for job, worker in _with_worker(jobs, workers) if job.state in STARTED]
        self._watch.listen_only_to([job for job, _ in started])
        for job, worker in started:
            self._apart(job, now, self._watch.observe, job, worker, now)

    def _sweep(self, now: float) -> None:
        if now < self._sweep_due or "sweep" in self._in_flight or self._stopping.is_set():
            return
        self._sweep_due = now + self._settings.sweep_interval_s
        self._submit("sweep", self._swept)

    def _keep_up(self) -> None:
        """Bring the job folders up to their rows, beside the jobs."""
        if "manifests" not in self._in_flight and not self._stopping.is_set() and self._manifests.is_behind():
            self._submit("manifests", self._manifests.keep_up, self._stopping.is_set)

    def _warm_up(self, workers: list[Worker]) -> None:
        """Beside the jobs, one at a time."""
        flavor = self._warmer.look(workers)
        if flavor and "warm up" not in self._in_flight and not self._stopping.is_set():
            self._submit("warm up", self._warmer.warm_up, flavor, self._stopping.is_set)

    def _swept(self) -> None:
        self._steps.make_room()
        try:
            missing = self._sweeper.sweep().missing
        except InfrastructureError as error:
            log.warning("the cloud could not be looked at", detail=error.message)
        except Exception as problem:
            if is_of_the_file(problem):  # without the rows nobody knows what is an orphan
                self._database_failed(problem, step="sweep")
            else:
                log.exception("a sweep failed unexpectedly")
        else:
            for worker in living_workers():
                if worker.name in missing:
                    self._pool.vanished(worker, self._clock())
                    self._watch.doubt(worker, self._clock())

    def _apart(self, job: Job, now: float, step: Callable[..., None], *arguments: object) -> None:
        """One job's look; its failure keeps no other job from being looked at. A failing database is nobody's in particular."""
        try:
            step(*arguments)
        except Exception as problem:
            if isinstance(problem, PeeweeException) or is_of_the_file(problem):
                raise
            self._steps.look_failed(job, problem, now)
        else:
            self._steps.look_succeeded(job)

    def _admit(self, workers: list[Worker], now: float) -> None:
        """Give waiting jobs a worker row each; a job whose former machine still exists waits for its end.

        One that needs what another is converting is overtaken; whether it does is asked when those before it have begun.
        """
        if why := why_drained():
            return self._pool.give_up_all(workers, f"the queue is drained: {why}", now)
        breaker = self._circuit.look()
        if not breaker.may_begin(now):
            return
        occupied = {worker.job_id for worker in workers if worker.state != WorkerState.HELD}
        used, ready = sum(worker.weight for worker in workers), self._pool.ready(workers)
        if used >= self._rules.limit and not ready:
            return
        waiting = [job for job in queued_jobs(now) if job.id not in occupied]
        begun = set[int]()
        for job in admit(waiting, _at_work(workers), used, self._rules, now, lambda job: self._steps.must_wait(job, now), ready):
            self._steps.assign(job, now)
            begun.add(job.id)
            if breaker.is_open:
                return self._circuit.begun(job.id)
        left = [job for job in waiting if job.id not in begun]
        self._keep_pool(left, living_workers() if begun else workers, now)

    def _keep_pool(self, left: list[Queued], workers: list[Worker], now: float) -> None:
        """Machines wait ready only in room that no job wants."""
        if not left:
            return self._pool.refill(workers, now)
        if any(map(is_waiting, workers)):
            used, at_work = sum(worker.weight for worker in workers), _at_work(workers)
            first = min(left, key=lambda job: rank(job, at_work, self._rules, now))
            self._pool.make_room(first.weight, used, workers, now)

    def _dispatch(self, workers: list[Worker], jobs: list[Job], now: float) -> None:
        in_motion = {job.id: job for job in jobs}
        for worker in workers:
            if worker.id in self._in_flight or worker.not_before > now or self._stopping.is_set() or is_waiting(worker):
                continue
            job = in_motion.get(worker.job_id or 0)
            if is_being_made(worker):
                self._submit(worker.id, self._pool.make, worker)
            elif job is None or not _is_current(job, worker):
                self._submit(worker.id, self._steps.remove, worker)
            elif job.state in LAUNCHING:
                self._submit(worker.id, self._steps.launch, job.id, worker)
            elif job.state == JobState.LOST:
                self._submit(worker.id, self._watch.look, job.id, worker)

    def _submit(self, key: int | str, step: Callable[..., None], *arguments: object) -> None:
        future = self._executor.submit(step, *arguments)
        self._in_flight[key] = future
        future.add_done_callback(lambda done: self._landed(key, done))

    def _landed(self, key: int | str, done: "Future[None]") -> None:
        self._in_flight.pop(key, None)
        try:
            if not done.cancelled() and (problem := done.exception()):
                self._postpone(key, problem)
        except Exception as error:
            if not is_of_the_file(error):
                raise
            self._database_failed(error)  # without a pause the step is only tried again sooner
        finally:
            self.wake()

    def _postpone(self, key: int | str, problem: BaseException) -> None:
        if isinstance(problem, Exception) and is_of_the_file(problem):
            self._database_failed(problem, step=key)
        else:
            log.error("a step failed unexpectedly", step=key, exc_info=problem)
        later = {"failures": Worker.failures + 1, "not_before": self._clock() + self._settings.retry_delay_s}
        Worker.update(later).where(Worker.id == key).execute()

    def _busy(self) -> bool:
        return any(future.running() for future in list(self._in_flight.values()))  # which steps leave meanwhile

    def _delay(self, workers: list[Worker], jobs: list[Job], now: float, hears_all: bool) -> float:
        """Until the next deadline; what others than this computer may change in the storage is looked at every so often.

        While nothing can be missed, only heartbeats need a look, and deadlines.
        """
        due = [worker.not_before for worker in workers]
        due += [self._circuit.look().try_at, next_queued_at(now) or 0.0, *self._pool.try_at(), self._sweep_due]
        delay = min((at - now for at in due if at > now), default=self._settings.sweep_interval_s)
        if any(job.state == JobState.UPLOADING or job.state in STARTED for job in jobs):
            look_s = self._settings.heartbeat_late_s / HEARTBEAT_LOOKS if hears_all else self._settings.poll_interval_s
            delay = min(delay, look_s)
        return delay


def _at_work(workers: list[Worker]) -> dict[str, int]:
    """The weight of each owner's machines."""
    owners, weights = {job.id: job.owner for job in jobs_of(workers)}, dict[str, int]()
    for worker in workers:
        owner = owners.get(worker.job_id or 0, "")
        weights[owner] = weights.get(owner, 0) + worker.weight
    return weights


def _is_current(job: Job, worker: Worker) -> bool:
    """Whether the machine is that of the job's present attempt, and not on its way out."""
    return bool(job.attempt == worker.attempt and worker.state not in _LEAVING)


def _with_worker(jobs: list[Job], workers: list[Worker]) -> list[tuple[Job, Worker | None]]:
    """Each job with the machine of its present attempt; None where there is no such row any more."""
    current = {(worker.job_id, worker.attempt): worker for worker in workers if worker.state not in _LEAVING}
    return [(job, current.get((job.id, job.attempt))) for job in jobs]
