"""Monitors started jobs: whether the app has ended, whether its machine is still at work, and what follows if that is unknown.

A late heartbeat alone proves nothing: the storage may be away, or the network. So the job becomes LOST, and the cloud and the
machine itself are asked before another machine is tried.
"""

import threading
from collections.abc import Callable

import structlog

from server.db.models import Change, Job, Worker, transition
from server.engine.completion import Completion
from server.engine.launching.conversion_cache import ConversionCache
from server.engine.monitoring.full_storage import report_full_storage
from server.engine.monitoring.heartbeats import Heartbeats
from server.engine.monitoring.leases import Leases
from server.errors import InfrastructureError
from server.reasons import Reason
from server.settings import Settings
from server.states import JobState
from server.storage.folders import JobFolder, Storage
from server.workers.fleet import Fleet

UNREADABLE_PATIENCE_S = 60.0  # of silence: until then a result may still be written, or NFS show it late
INSPECTIONS = 4  # of a lost job, in the time after which a heartbeat is late
log = structlog.get_logger()


class Monitor:
    """Monitors the jobs of one controller. :meth:`observe` is quick and runs in the loop, :meth:`inspect` blocks."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        fleet: Fleet,
        completion: Completion,
        conversions: ConversionCache,
        clock: Callable[[], float],
        steady: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._fleet = fleet
        self._completion = completion
        self._conversions = conversions
        self._clock = clock
        self._heartbeats = Heartbeats(steady)
        self._leases = Leases(settings.lease_s, steady)
        self._missed: set[int] = set()  # workers that the cloud did not know, or that ran no job, when last asked
        self._lock = threading.Lock()

    def listen_only_to(self, jobs: list[Job]) -> None:
        """Forget the heartbeats and leases of all others."""
        self._heartbeats.keep_only({(job.id, job.attempt) for job in jobs})
        self._leases.keep_only({job.folder for job in jobs})

    def observe(self, job: Job, worker: Worker | None, now: float) -> None:
        """RUNNING, LOST and FINISHING: read in the job's folder whether the app has ended, or its heartbeat is late."""
        folder = self._storage.folder(job.folder)
        folder.require()
        result = folder.result(job.attempt)
        self._conversions.publish(job, folder)
        if result is not None:
            return self._completion.finish(job, result, folder.report(job.attempt), now)
        self._leases.renew(folder)
        report_full_storage(job, folder, now)
        quiet_s = self._quiet_s(job, folder)
        if folder.has_unreadable_result():  # the app has run: this is no lost machine
            if quiet_s > UNREADABLE_PATIENCE_S:
                self._completion.fail(job, Reason.RESULT_UNREADABLE, "", now)
        elif job.state == JobState.RUNNING and (quiet_s > self._settings.heartbeat_late_s or worker is None):
            text = f"no sign of life for {quiet_s:.0f} s" if worker else "no machine of this attempt is known"
            transition(Job, job.id, JobState.RUNNING, JobState.LOST, Change(now, text=text))
        elif job.state == JobState.LOST and worker is None:
            self._completion.retry_or_fail(job, Reason.MACHINE_LOST, "No machine of this attempt is known.", now)
        elif job.state == JobState.LOST and quiet_s < self._settings.heartbeat_late_s and folder.heartbeat() is not None:
            transition(Job, job.id, JobState.LOST, JobState.RUNNING, Change(now, text="a sign of life"))

    def mark_suspect(self, worker: Worker, now: float) -> None:
        """The cloud's list lacks the machine: its job is LOST at once."""
        job = Job.get_or_none(Job.id == worker.job_id)
        if job is not None and job.attempt == worker.attempt:
            transition(Job, job.id, JobState.RUNNING, JobState.LOST, Change(now, text="the cloud does not list its machine"))

    def inspect(self, job_id: int, worker: Worker) -> None:
        """LOST: ask the cloud and the machine itself. What is not certain is asked again until the time limit."""
        job = Job.get_by_id(job_id)
        folder = self._storage.folder(job.folder)
        verdict = self._verdict(worker, folder)
        now = self._clock()
        result = folder.result(job.attempt)  # it may have been the last thing the machine did
        if job.state != JobState.LOST:
            return
        if result is not None:
            self._completion.finish(job, result, folder.report(job.attempt), now)
        elif verdict and not folder.has_unreadable_result():
            self._completion.retry_or_fail(job, Reason.MACHINE_LOST, verdict, now)
        else:
            Worker.update(not_before=now + self._settings.heartbeat_late_s / INSPECTIONS).where(Worker.id == worker.id).execute()

    def _verdict(self, worker: Worker, folder: JobFolder) -> str:
        """Why the attempt is given up, "" while it is not. Evidence must be seen twice: an answer may be old."""
        try:
            exists = self._fleet.alive(worker.name)
            at_work = self._fleet.runs(worker.name, folder.path) if exists else False
        except InfrastructureError as error:
            log.warning("a lost job's machine could not be inspected", worker=worker.name, detail=error.message)
            exists, at_work = True, None
        if at_work is False:
            return self._seen_twice(worker.id, "Nothing runs on it any more." if exists else "The cloud has it no longer.")
        with self._lock:
            self._missed.discard(worker.id)
        return "" if at_work else self._silence(worker, folder)

    def _silence(self, worker: Worker, folder: JobFolder) -> str:
        key = (worker.job_id or 0, worker.attempt)
        quiet_s = self._heartbeats.quiet_s(key, folder.heartbeat())
        return f"It has not answered for {quiet_s:.0f} s." if quiet_s > self._settings.heartbeat_timeout_s else ""

    def _seen_twice(self, worker_id: int, text: str) -> str:
        with self._lock:
            if worker_id in self._missed:
                self._missed.discard(worker_id)
                return text
            self._missed.add(worker_id)
            return ""

    def _quiet_s(self, job: Job, folder: JobFolder) -> float:
        return self._heartbeats.quiet_s((job.id, job.attempt), folder.heartbeat())
