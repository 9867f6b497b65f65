"""Machines that wait ready for a job (`min_ready`), so that it starts without waiting for one.

Owns which of them are made, taken and removed. A machine that waits has a worker row without a job; it is given to one job, and
goes with that job's end like any other: no machine serves two jobs.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

import structlog

from server.catalog.flavors import Flavor, Flavors
from server.db.models import Change, Queued, Worker, create, living_workers, record_event, transition
from server.engine.breaker import Circuit
from server.engine.completion import backoff_s
from server.engine.launch_retries import LaunchRetries
from server.errors import CumulusError, InvalidInput
from server.policy.error_classification import cause
from server.reasons import Reason
from server.settings import Settings
from server.states import WorkerState
from server.workers.address import Address
from server.workers.fleet import Fleet
from server.workers.transient_errors import passing

MADE_AT_ONCE = 2  # the machines that jobs wait for go first
COMING = frozenset({WorkerState.REQUESTED, WorkerState.CREATING, WorkerState.BOOTING})
log = structlog.get_logger()


@dataclass
class Failures:
    """How often in a row a machine of a flavor could not be made for the pool, and when it is tried again (Unix seconds)."""

    number: int = 0
    try_at: float = 0.0


class ReadyPool:
    """The waiting machines of one installation. :meth:`make` blocks, all else is quick and runs in the loop."""

    def __init__(self, settings: Settings, flavors: Flavors, fleet: Fleet, circuit: Circuit, clock: Callable[[], float]) -> None:
        """Raises InvalidInput where the setting cannot be fulfilled."""
        self._wanted = _checked(settings.min_ready, flavors)
        self._max_age_s = settings.ready_max_age_s
        self._retry_delay_s = settings.retry_delay_s
        self._limit = flavors.max_weight
        self._flavors = flavors
        self._fleet = fleet
        self._circuit = circuit
        self._clock = clock
        self.persistence = LaunchRetries(settings, fleet, circuit, clock)
        self._failures: dict[str, Failures] = {}
        self._lock = threading.Lock()

    def ready(self, workers: Sequence[Worker]) -> Mapping[str, int]:
        """The number of machines of each flavor that a job may take now."""
        return Counter(worker.flavor for worker in workers if is_waiting(worker) and self._is_current(worker))

    def take(self, job: Queued, attempt: int, now: float) -> bool:
        """Give a waiting machine of the job's flavor to it, within the transaction of who asks; False if there is none."""
        for worker in living_workers():
            if is_waiting(worker) and worker.flavor == job.flavor and self._is_current(worker):
                unchanged = (Worker.id == worker.id) & (Worker.state == WorkerState.READY) & Worker.job_id.is_null()
                if Worker.update(job_id=job.id, attempt=attempt).where(unchanged).execute():
                    record_event(Worker, worker.id, Change(now, text=f"taken by job {job.id}"))
                    return True
        return False

    def give_up_old(self, workers: Sequence[Worker], now: float) -> None:
        """Remove waiting machines that are too old, or not what would be made today, or more than wanted."""
        kept: Counter[str] = Counter()
        for worker in filter(is_waiting, workers):
            kept[worker.flavor] += 1
            if kept[worker.flavor] > self._wanted.get(worker.flavor, 0):
                self._give_up(worker, "no longer wanted", now)
            elif now - worker.state_since > self._max_age_s:
                self._give_up(worker, "it has waited for too long", now)
            elif not self._is_current(worker):
                self._give_up(worker, "the snapshot has changed", now)

    def give_up_all(self, workers: Sequence[Worker], why: str, now: float) -> None:
        """Remove all machines that wait."""
        for worker in filter(is_waiting, workers):
            self._give_up(worker, why, now)

    def vanished(self, worker: Worker, now: float) -> None:
        """The cloud's list lacks a machine that waits."""
        if is_waiting(worker):
            self._give_up(worker, "the cloud does not list it", now)

    def clock_moved(self, seconds: float) -> None:
        """The computer's clock was set by so much: what failed is tried again after the same time."""
        with self._lock:
            for failures in self._failures.values():
                failures.try_at += seconds

    def make_room(self, weight: int, used: int, workers: Sequence[Worker], now: float) -> None:
        """Remove as many waiting machines as a job of that weight needs to fit, if that helps it."""
        waiting = list(filter(is_waiting, workers))
        missing = used + weight - self._limit
        if missing > sum(worker.weight for worker in waiting):
            return
        for worker in waiting:
            if missing > 0:
                missing -= worker.weight
                self._give_up(worker, "a job of another size needs its room", now)

    def refill(self, workers: Sequence[Worker], now: float) -> None:
        """Ask for machines that are wanted and fit; at most a few at once."""
        used = sum(worker.weight for worker in workers)
        there = Counter(worker.flavor for worker in workers if worker.job_id is None and worker.state != WorkerState.DELETING)
        at_once = MADE_AT_ONCE - sum(map(is_being_made, workers))
        for flavor in self._missing(there, now):
            if at_once > 0 and used + flavor.weight <= self._limit:
                self._request(flavor, now)
                used, at_once = used + flavor.weight, at_once - 1

    def make(self, worker: Worker) -> None:
        """Make the machine and see that it answers. May be entered again; what fails is removed, and tried again later."""
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
            self.persistence.over(worker.name)
            self._circuit.succeeded()

    def try_at(self) -> list[float]:
        """When something is to be done for the pool that nothing else tells of (Unix seconds)."""
        return [failures.try_at for failures in list(self._failures.values())]

    def _missing(self, there: Mapping[str, int], now: float) -> Iterator[Flavor]:
        for name, number in self._wanted.items():
            flavor = self._flavors.get(name)
            failures = self._failures.get(name, Failures())
            if flavor is not None and now >= failures.try_at:
                yield from [flavor] * (number - there.get(name, 0))

    def _request(self, flavor: Flavor, now: float) -> None:
        with Worker._meta.database.atomic("IMMEDIATE"):
            if sum(worker.weight for worker in living_workers()) + flavor.weight > self._limit:
                return
            fields = {"flavor": flavor.name, "weight": flavor.weight, "state": WorkerState.REQUESTED, "attempt": 0}
            worker = create(Worker, Change(now, text="for the pool"), name=f"new-{uuid4().hex}", **fields)
            Worker.update(name=_free_name(worker.id)).where(Worker.id == worker.id).execute()

    def _has_machine(self, worker: Worker, address: Address) -> None:
        fields = {"address": address.host, "port": address.port, "boot": address.boot}
        change = Change(self._clock(), text=address.boot)
        transition(Worker, worker.id, WorkerState.CREATING, WorkerState.BOOTING, change, fields)

    def _failed(self, worker: Worker, error: CumulusError) -> None:
        state, now = WorkerState(Worker.get_by_id(worker.id).state), self._clock()
        if state not in COMING:  # somebody has given it up meanwhile
            return
        pause_s = self.persistence.pause_s(0, worker.name, error, cause(error) or passing(error))
        if pause_s is not None:
            Worker.update(not_before=now + pause_s, message=error.message).where(Worker.id == worker.id).execute()
            log.warning("a machine is gone on with later", worker=worker.name, pause_s=round(pause_s, 1), detail=error.message)
            return
        self.persistence.over(worker.name)
        with self._lock:  # several are made at once
            failures = self._failures.setdefault(worker.flavor, Failures())
            failures.number += 1
            failures.try_at = now + backoff_s(self._retry_delay_s, failures.number)
        reason = cause(error, self._fleet.machines.fault(worker.name)) or passing(error) or Reason.MACHINE_NOT_CREATED
        self._circuit.failed(0, error.message, reason)
        log.warning("no machine could be made for the pool", worker=worker.name, flavor=worker.flavor, detail=error.message)
        change = Change(now, reason=error.code, text=error.message)
        transition(Worker, worker.id, state, WorkerState.DELETING, change, {"message": error.message})

    def _give_up(self, worker: Worker, why: str, now: float) -> None:
        if transition(Worker, worker.id, WorkerState.READY, WorkerState.DELETING, Change(now, text=why)):
            worker.state = WorkerState.DELETING
            log.info("a waiting machine is removed", worker=worker.name, why=why)

    def _is_current(self, worker: Worker) -> bool:
        return self._fleet.machines.is_of_current_snapshot(worker.name)


def is_waiting(worker: Worker) -> bool:
    """Whether the machine is ready and nobody's."""
    return worker.job_id is None and worker.state == WorkerState.READY


def is_being_made(worker: Worker) -> bool:
    """Whether the machine is on its way to be one that waits."""
    return worker.job_id is None and worker.state in COMING


def _is_coming(worker_id: int) -> bool:
    return Worker.get_by_id(worker_id).state in COMING


def _free_name(number: int) -> str:
    """A name that no worker has or had; after a database was made again, numbers begin anew and old names may still be there."""
    while Worker.select().where(Worker.name == f"pool-{number}").exists():
        number += 1
    return f"pool-{number}"


def _checked(wanted: Mapping[str, int], flavors: Flavors) -> dict[str, int]:
    for name in wanted:
        if flavors.get(name) is None:
            raise InvalidInput(f"min_ready: there is no machine size {name[:80]!r} in flavors.tsv", field="setting min_ready")
    weight = sum(number * found.weight for name, number in wanted.items() if (found := flavors.get(name)))
    if weight > flavors.max_weight:
        text = f"min_ready: the machines that are to wait weigh {weight}, more than the {flavors.max_weight} allowed in all"
        raise InvalidInput(text, field="setting min_ready")
    return {name: number for name, number in wanted.items() if number}
