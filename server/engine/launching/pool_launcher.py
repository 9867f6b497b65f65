"""Makes the machines of the pool, and remembers for which flavors that failed.

What failed is removed and tried again later; a failure of the cloud that may pass is retried on the same machine.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from server.catalog.flavors import Flavors
from server.db.models import Change, Worker, transition
from server.engine.breaker import CircuitBreaker
from server.engine.launching.launch_retries import LaunchRetries
from server.errors import CumulusError, InvalidInput
from server.policy.backoff import backoff_s
from server.policy.error_classification import cause
from server.reasons import Reason
from server.settings import Settings
from server.states import WorkerState
from server.workers.fleet import Address, Fleet
from server.workers.transient_errors import passing

COMING = frozenset({WorkerState.REQUESTED, WorkerState.CREATING, WorkerState.BOOTING})
log = structlog.get_logger()


@dataclass
class FlavorFailures:
    """How often in a row a machine of a flavor could not be made for the pool, and when it is tried again (Unix seconds)."""

    number: int = 0
    try_at: float = 0.0


class PoolLauncher:
    """Makes the pool's machines of one installation. :meth:`make` blocks; all else is quick."""

    def __init__(
        self,
        settings: Settings,
        flavors: Flavors,
        fleet: Fleet,
        retries: LaunchRetries,
        breaker: CircuitBreaker,
        clock: Callable[[], float],
    ) -> None:
        self._max_age_s = settings.ready_max_age_s
        self._retry_delay_s = settings.retry_delay_s
        self._flavors = flavors
        self._fleet = fleet
        self._retries = retries
        self._breaker = breaker
        self._clock = clock
        self._failures: dict[str, FlavorFailures] = {}
        self._lock = threading.Lock()

    def make(self, worker: Worker) -> None:
        """Make the machine and check that it answers. May be entered again."""
        flavor = self._flavors.get(worker.flavor)
        try:
            if flavor is None:
                raise InvalidInput(f"there is no machine size {worker.flavor} any more", field="min_ready")
            transition(Worker, worker.id, WorkerState.REQUESTED, WorkerState.CREATING, Change(self._clock()))
            self._fleet.prepare(
                worker.name,
                flavor,
                persist_s=self._max_age_s,
                on_machine=lambda address: self._has_machine(worker, address),
                unwanted=lambda: not _is_coming(worker.id),
            )
        except CumulusError as error:
            return self._failed(worker, error)
        if transition(Worker, worker.id, WorkerState.BOOTING, WorkerState.READY, Change(self._clock())):
            self._failures.pop(worker.flavor, None)
            self._retries.clear(worker.name)
            self._breaker.succeeded()

    def may_try(self, flavor: str, now: float) -> bool:
        """Whether a machine of the flavor may be requested now (Unix seconds)."""
        failures = self._failures.get(flavor)
        return failures is None or now >= failures.try_at

    def try_at(self) -> list[float]:
        """When flavors that failed may be tried again (Unix seconds)."""
        return [failures.try_at for failures in list(self._failures.values())]

    def clock_moved(self, seconds: float) -> None:
        """The computer's clock was set by that much: what failed is tried again after the same time."""
        with self._lock:
            for failures in self._failures.values():
                failures.try_at += seconds

    def _has_machine(self, worker: Worker, address: Address) -> None:
        fields = {"address": address.host, "port": address.port, "boot": address.boot}
        change = Change(self._clock(), text=address.boot)
        transition(Worker, worker.id, WorkerState.CREATING, WorkerState.BOOTING, change, fields)

    def _failed(self, worker: Worker, error: CumulusError) -> None:
        state, now = WorkerState(Worker.get_by_id(worker.id).state), self._clock()
        if state not in COMING:  # it was given up meanwhile
            return
        pause_s = self._retries.pause_s(0, worker.name, error, cause(error) or passing(error))
        if pause_s is not None:
            Worker.update(not_before=now + pause_s, message=error.message).where(Worker.id == worker.id).execute()
            log.warning("a machine is continued later", worker=worker.name, pause_s=round(pause_s, 1), detail=error.message)
            return
        self._retries.clear(worker.name)
        with self._lock:  # several are made at once
            failures = self._failures.setdefault(worker.flavor, FlavorFailures())
            failures.number += 1
            failures.try_at = now + backoff_s(self._retry_delay_s, failures.number)
        reason = cause(error, self._fleet.fault(worker.name)) or passing(error) or Reason.MACHINE_NOT_CREATED
        self._breaker.failed(0, error.message, reason)
        log.warning("no machine could be made for the pool", worker=worker.name, flavor=worker.flavor, detail=error.message)
        change = Change(now, reason=error.code, text=error.message)
        transition(Worker, worker.id, state, WorkerState.DELETING, change, {"message": error.message})


def _is_coming(worker_id: int) -> bool:
    return Worker.get_by_id(worker_id).state in COMING
