"""Going on with the making of a machine where the cloud had a bad moment, or copies its disk for longer than was allowed.

The launch is entered again on the same machine, after a pause: what was made stays, and no attempt is used up. Owns for how long:
while the trouble is younger than ``cloud_patience_s``, and after that where something was made already; the circuit breaker hears
of it then. The attempt's own end is its deadline's. Kept in memory only: a new controller is as patient again.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from server.engine.breaker import Circuit, read_breaker
from server.engine.completion import backoff_s
from server.errors import CloudError, CumulusError, StillCopying
from server.reasons import Reason
from server.settings import Settings
from server.workers.fleet import Fleet
from server.workers.transient_errors import is_of_the_cloud

LONGEST_PAUSE_S, COPY_PAUSE_S = 60.0, 15.0
Made = frozenset[tuple[str, bool]]


@dataclass(frozen=True)
class Trouble:
    """One machine's. ``since``: Unix seconds of the first failure after which nothing more was made; ``made``: what was then."""

    since: float
    tries: int
    made: Made
    reason: Reason


class LaunchRetries:
    """That of one installation, for jobs' machines and the pool's."""

    def __init__(self, settings: Settings, fleet: Fleet, circuit: Circuit, clock: Callable[[], float]) -> None:
        self._patience_s = settings.cloud_patience_s
        self._first_pause_s = settings.retry_delay_s
        self._fleet = fleet
        self._circuit = circuit
        self._clock = clock
        self._lock = threading.Lock()
        self._troubles: dict[str, Trouble] = {}

    def pause_s(self, job_id: int, worker: str, error: CumulusError, reason: Reason | None) -> float | None:
        """Seconds after which the machine is gone on with; None where it is not. ``job_id``: 0 for the pool's."""
        if reason is None or not is_of_the_cloud(error):
            return None
        if reason is Reason.CREATION_TIMEOUT:
            return self._copying(worker, error)
        if not reason.is_transient:
            return None
        now, made = self._clock(), self._fleet.machines.made(worker)
        trouble = self._met(worker, made, reason, now)
        pause_s = min(backoff_s(self._first_pause_s, trouble.tries), LONGEST_PAUSE_S)
        lasts = now - trouble.since >= self._patience_s
        if not made:
            return None if lasts or read_breaker().is_open else pause_s
        if lasts:
            self._circuit.failed(job_id, error.message, reason)
        return pause_s

    def trouble(self, worker: str) -> Reason | None:
        """What the cloud's trouble with the machine was at the last try; None where there was none."""
        with self._lock:
            found = self._troubles.get(worker)
        return found.reason if found else None

    def over(self, worker: str) -> None:
        """The machine was made, or is made no longer."""
        with self._lock:
            self._troubles.pop(worker, None)

    def _met(self, worker: str, made: Made, reason: Reason, now: float) -> Trouble:
        with self._lock:
            before = self._troubles.get(worker)
            goes_on = before is not None and before.made == made
            met = Trouble(before.since, before.tries + 1, made, reason) if before and goes_on else Trouble(now, 1, made, reason)
            self._troubles[worker] = met
        return met

    def _copying(self, worker: str, error: CumulusError) -> float | None:
        try:
            return COPY_PAUSE_S if isinstance(error, StillCopying) or self._fleet.machines.is_copying(worker) else None
        except CloudError as problem:  # whether it is copying is not known: nothing is thrown away for that
            return self.pause_s(0, worker, problem, problem.reason) or None
