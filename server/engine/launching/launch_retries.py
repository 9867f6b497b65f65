"""Continuing to make a machine after the cloud failed for a moment, or while it copies the disk for longer than allowed.

The launch is entered again on the same machine, after a pause: what was made stays, and no attempt is used up. Owns for how long:
while the failure is younger than ``cloud_patience_s``, and after that where something was made already; the failure then counts
for the circuit breaker. The attempt itself ends with its deadline. Kept in memory only: a new controller is as patient again.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from server.engine.breaker import CircuitBreaker, read_breaker
from server.errors import CloudError, CumulusError, StillCopying
from server.policy.backoff import backoff_s
from server.reasons import Reason
from server.settings import Settings
from server.workers.fleet import Fleet
from server.workers.transient_errors import is_of_the_cloud

LONGEST_PAUSE_S, COPY_PAUSE_S = 60.0, 15.0
Made = frozenset[tuple[str, bool]]


@dataclass(frozen=True)
class CloudFailure:
    """Of one machine. ``since``: Unix seconds of the first failure after which nothing more was made; ``made``: what was made."""

    since: float
    tries: int
    made: Made
    reason: Reason


class LaunchRetries:
    """The retries of one installation, for jobs' machines and the pool's."""

    def __init__(self, settings: Settings, fleet: Fleet, breaker: CircuitBreaker, clock: Callable[[], float]) -> None:
        self._patience_s = settings.cloud_patience_s
        self._first_pause_s = settings.retry_delay_s
        self._fleet = fleet
        self._breaker = breaker
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[str, CloudFailure] = {}

    def pause_s(self, job_id: int, worker: str, error: CumulusError, reason: Reason | None) -> float | None:
        """Seconds after which the launch continues; None where it does not. ``job_id``: 0 for a machine of the pool."""
        if reason is None or not is_of_the_cloud(error):
            return None
        if reason is Reason.CREATION_TIMEOUT:
            return self._copying(worker, error)
        if not reason.is_transient:
            return None
        now, made = self._clock(), self._fleet.made(worker)
        failure = self._record(worker, made, reason, now)
        pause_s = min(backoff_s(self._first_pause_s, failure.tries), LONGEST_PAUSE_S)
        lasts = now - failure.since >= self._patience_s
        if not made:
            return None if lasts or read_breaker().is_open else pause_s
        if lasts:
            self._breaker.failed(job_id, error.message, reason)
        return pause_s

    def failure(self, worker: str) -> Reason | None:
        """Why the cloud failed at the last try; None where it did not."""
        with self._lock:
            found = self._failures.get(worker)
        return found.reason if found else None

    def clear(self, worker: str) -> None:
        """The machine was made, or is no longer being made."""
        with self._lock:
            self._failures.pop(worker, None)

    def _record(self, worker: str, made: Made, reason: Reason, now: float) -> CloudFailure:
        with self._lock:
            before = self._failures.get(worker)
            since, tries = (before.since, before.tries) if before and before.made == made else (now, 0)
            failure = CloudFailure(since, tries + 1, made, reason)
            self._failures[worker] = failure
        return failure

    def _copying(self, worker: str, error: CumulusError) -> float | None:
        try:
            return COPY_PAUSE_S if isinstance(error, StillCopying) or self._fleet.is_copying(worker) else None
        except CloudError as problem:  # whether it copies is unknown: nothing is thrown away
            return self.pause_s(0, worker, problem, problem.reason) or None
