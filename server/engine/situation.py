"""What decides which waiting jobs begin, read from the rows in one place: for admission, and for whatever explains the queue."""

import threading
import time
from collections.abc import Callable, Sequence

from server.db.models import Job, Worker
from server.db.queries import Queued, jobs_of, living_workers, queued_jobs
from server.db.settings_store import why_drained
from server.engine.breaker import known_breaker
from server.engine.launching.conversion_cache import ConversionCache
from server.engine.ready_pool import is_waiting
from server.policy.scheduling import Rules
from server.policy.why_waiting import Explanation, Machine, Situation, Wait
from server.settings import Settings
from server.states import WorkerState
from server.storage.folders import Storage


class Situations:
    """Reads the situation of one installation. ``max_weight``: of all machines together."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        max_weight: int,
        clock: Callable[[], float] = time.time,
        version: Callable[[], object] = object,
    ) -> None:
        """``version``: another one after each change of a row; by default after each call."""
        self._rules = Rules(max_weight, settings.priority_ageing_s, settings.backfill_limit_s)
        self._conversions = ConversionCache(storage, settings.conversion_wait_s)
        self._clock = clock
        self._version = version
        self._lock = threading.Lock()
        self._explained: tuple[object, Explanation] | None = None

    @property
    def limit(self) -> int:
        """The weight that all machines may have together."""
        return self._rules.limit

    def read(self) -> Situation:
        """The situation now."""
        return self.beside(living_workers(), self._clock())

    def beside(self, workers: Sequence[Worker], now: float) -> Situation:
        """The situation beside those workers, all that are not gone, at that time (Unix seconds)."""
        return Situation(
            read_queue=queued_jobs,
            machines=[_machine(worker) for worker in workers],
            weights=lambda: weights_of(workers),
            rules=self._rules,
            drained=why_drained(),
            breaker=known_breaker(),
            now=now,
            makers=lambda job_id, begun: self._conversions.makers(job_id, now, begun),
        )

    def why(self, job: Job) -> Wait | None:
        """Why that job waits; None where it no longer does. Whoever asks while no row changes shares what was read."""
        with self._lock:
            version = self._version()
            if self._explained is None or self._explained[0] != version:
                self._explained = version, Explanation(self.read())
            return self._explained[1].why(Queued(*(getattr(job, name) for name in Queued._fields)))


def _machine(worker: Worker) -> Machine:
    is_held = worker.state == WorkerState.HELD
    return Machine(worker.job_id, worker.flavor, worker.weight, is_held=is_held, is_ready=is_waiting(worker))


def weights_of(workers: Sequence[Worker]) -> dict[str, int]:
    """The weight of each owner's machines."""
    owners, weights = {job.id: job.owner for job in jobs_of(workers)}, dict[str, int]()
    for worker in workers:
        owner = owners.get(worker.job_id or 0, "")
        weights[owner] = weights.get(owner, 0) + worker.weight
    return weights
