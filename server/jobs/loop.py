"""The loop that carries jobs through their lives. It decides and delegates; what blocks runs in ``steps`` on a bounded pool.

It sleeps until the next deadline or a wake-up. All it knows is in the database and the job folders, so a new loop goes on
where a killed one stopped.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import structlog
from peewee import PeeweeException

from server.jobs.scheduler import admit
from server.jobs.steps import Steps
from server.models import Job, Worker, living_workers, unfinished_jobs
from server.settings import Settings
from server.states import JobState, WorkerState

TIDY_INTERVAL_S = 24 * 3600.0
LAUNCHING = frozenset({JobState.PROVISIONING, JobState.STARTING})
log = structlog.get_logger()


class Loop:
    """One controller's loop; :meth:`run` blocks until :meth:`stop`."""

    def __init__(self, settings: Settings, steps: Steps, max_weight: int, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._steps = steps
        self._max_weight = max_weight
        self._clock = clock
        self._pool = ThreadPoolExecutor(settings.parallel_steps, thread_name_prefix="step")
        self._in_flight: dict[int, Future[None]] = {}
        self._tidy_due = 0.0
        self._wake = threading.Event()
        self._stopping = threading.Event()

    def wake(self) -> None:
        """Look again now: something has changed."""
        self._wake.set()

    def run(self) -> None:
        """Turn until stopped. A turn that fails is logged and tried again; the loop itself never ends by an error."""
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                delay = self.turn()
            except Exception:
                log.exception("a turn of the loop failed")
                delay = self._settings.poll_interval_s
            self._wake.wait(delay)

    def stop(self, grace_s: float) -> bool:
        """Begin no more steps and wait for those at work; False if some still are: the next controller adopts what they do."""
        self._stopping.set()
        self._wake.set()
        self._steps.abandon()
        self._pool.shutdown(wait=False, cancel_futures=True)
        end = threading.Event()
        for future in list(self._in_flight.values()):
            future.add_done_callback(lambda _: end.set())
        deadline = self._clock() + grace_s
        while self._busy() and self._clock() < deadline:
            end.wait(0.05)
            end.clear()
        return not self._busy()

    def turn(self) -> float | None:
        """One look at everything unfinished; returns the seconds until the next is due, None: only when woken."""
        now = self._clock()
        jobs = unfinished_jobs()
        workers = living_workers()
        for job in jobs:
            if job.state == JobState.UPLOADING:
                self._apart(job, now, self._steps.receive, job, now)
        for job, worker in _with_worker(jobs, workers):
            if job.state in (JobState.RUNNING, JobState.FINISHING):
                self._apart(job, now, self._steps.observe, job, worker, now)
        self._admit(now)
        self._dispatch(now)
        if now >= self._tidy_due:
            self._tidy_due = now + TIDY_INTERVAL_S
            self._pool.submit(self._steps.tidy, now)
        return self._delay(now)

    def _apart(self, job: Job, now: float, step: Callable[..., None], *arguments: object) -> None:
        """One job's look; its failure keeps no other job from being looked at. A failing database is nobody's in particular."""
        try:
            step(*arguments)
        except PeeweeException:
            raise
        except Exception as problem:  # noqa: BLE001  # the step logs it
            self._steps.look_failed(job, problem, now)
        else:
            self._steps.look_succeeded(job)

    def _admit(self, now: float) -> None:
        """Give waiting jobs a worker row each; a job whose former machine still exists waits for its end.

        One that needs what another is converting is overtaken; whether it does is asked when those before it have begun.
        """
        living = living_workers()
        occupied = {worker.job_id for worker in living}
        waiting = [
            job for job in unfinished_jobs() if job.state == JobState.QUEUED and job.id not in occupied and job.not_before <= now
        ]
        ready = (job for job in waiting if not self._steps.must_wait(job, now))
        for job in admit(ready, sum(worker.weight for worker in living), self._max_weight):
            self._steps.assign(job, now)

    def _dispatch(self, now: float) -> None:
        jobs = {job.id: job for job in unfinished_jobs()}
        for worker in living_workers():
            if worker.id in self._in_flight or worker.not_before > now or self._stopping.is_set():
                continue
            job = jobs.get(worker.job_id or 0)
            if job is None or job.attempt != worker.attempt or job.state == JobState.QUEUED:
                self._submit(worker, self._steps.remove, worker)
            elif job.state in LAUNCHING:
                self._submit(worker, self._steps.launch, job.id, worker)

    def _submit(self, worker: Worker, step: Callable[..., None], *arguments: object) -> None:
        future = self._pool.submit(step, *arguments)
        self._in_flight[worker.id] = future
        future.add_done_callback(lambda done: self._landed(worker, done))

    def _landed(self, worker: Worker, done: "Future[None]") -> None:
        self._in_flight.pop(worker.id, None)
        if not done.cancelled() and (problem := done.exception()):
            log.error("a step failed unexpectedly", worker=worker.name, exc_info=problem)
            Worker.update(failures=Worker.failures + 1, not_before=self._clock() + self._settings.retry_delay_s).where(
                Worker.id == worker.id
            ).execute()
        self.wake()

    def _busy(self) -> bool:
        return any(future.running() for future in self._in_flight.values())

    def _delay(self, now: float) -> float | None:
        """Files are looked at every so often while somebody waits for one; otherwise the next deadline counts."""
        jobs = unfinished_jobs()
        if any(job.state in (JobState.UPLOADING, JobState.RUNNING, JobState.FINISHING) for job in jobs):
            return self._settings.poll_interval_s
        due = [row.not_before for row in (*jobs, *living_workers()) if row.not_before > now]
        return min(due) - now if due else None


def _with_worker(jobs: list[Job], workers: list[Worker]) -> list[tuple[Job, Worker | None]]:
    """Each job with the machine of its present attempt; None where there is no such row any more."""
    current = {(worker.job_id, worker.attempt): worker for worker in workers if worker.state != WorkerState.DELETING}
    return [(job, current.get((job.id, job.attempt))) for job in jobs]
