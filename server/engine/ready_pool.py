"""Machines that stand ready for a job (`min_ready`), so that it starts without waiting for one.

Owns which of them are made, taken and removed; :mod:`server.engine.launching.pool_launcher` makes them. A machine that waits has
a worker row without a job. It is given to one job and is removed with that job's end like any other: no machine serves two jobs.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from uuid import uuid4

import structlog

from server.catalog.flavors import Flavor, Flavors
from server.db.models import Job, Worker
from server.db.queries import living_workers
from server.db.transactions import exclusive
from server.db.transitions import Change, create, record_event, transition
from server.engine.launching.pool_launcher import COMING, PoolLauncher
from server.errors import InvalidInput
from server.settings import Settings
from server.states import WorkerState
from server.workers.fleet import Fleet

MADE_AT_ONCE = 2  # the machines that jobs wait for come first
log = structlog.get_logger()


class ReadyPool:
    """The waiting machines of one installation. All is quick and runs in the loop."""

    def __init__(self, settings: Settings, flavors: Flavors, fleet: Fleet, launcher: PoolLauncher) -> None:
        """Raises InvalidInput where the setting cannot be met."""
        self._wanted = _checked(settings.min_ready, flavors)
        self._max_age_s = settings.ready_max_age_s
        self._limit = flavors.max_weight
        self._flavors = flavors
        self._fleet = fleet
        self._launcher = launcher

    def take(self, job: Job, attempt: int, now: float) -> bool:
        """Give the job a waiting machine of its flavor, within the caller's transaction; False if there is none."""
        for worker in living_workers():
            if is_waiting(worker) and worker.flavor == job.flavor and self._is_current(worker):
                unchanged = (Worker.id == worker.id) & (Worker.state == WorkerState.READY) & Worker.job_id.is_null()
                if Worker.update(job_id=job.id, attempt=attempt).where(unchanged).execute():
                    record_event(Worker, worker.id, Change(now, text=f"taken by job {job.id}"))
                    return True
        return False

    def give_up_old(self, workers: Sequence[Worker], now: float) -> None:
        """Remove waiting machines that are too old, of an old snapshot, or more than wanted."""
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
        """Remove all waiting machines."""
        for worker in filter(is_waiting, workers):
            self._give_up(worker, why, now)

    def vanished(self, worker: Worker, now: float) -> None:
        """The cloud's list lacks a machine that waits."""
        if is_waiting(worker):
            self._give_up(worker, "the cloud does not list it", now)

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
        """Request machines that are wanted and fit; at most a few at once."""
        used = sum(worker.weight for worker in workers)
        there = Counter(worker.flavor for worker in workers if worker.job_id is None and worker.state != WorkerState.DELETING)
        at_once = MADE_AT_ONCE - sum(map(is_being_made, workers))
        for flavor in self._missing(there, now):
            if at_once > 0 and used + flavor.weight <= self._limit:
                self._request(flavor, now)
                used, at_once = used + flavor.weight, at_once - 1

    def _missing(self, there: Mapping[str, int], now: float) -> Iterator[Flavor]:
        for name, number in self._wanted.items():
            flavor = self._flavors.get(name)
            if flavor is not None and self._launcher.may_try(name, now):
                yield from [flavor] * (number - there.get(name, 0))

    def _request(self, flavor: Flavor, now: float) -> None:
        with exclusive():
            if sum(worker.weight for worker in living_workers()) + flavor.weight > self._limit:
                return
            fields = {"flavor": flavor.name, "weight": flavor.weight, "state": WorkerState.REQUESTED, "attempt": 0}
            worker = create(Worker, Change(now, text="for the pool"), name=f"new-{uuid4().hex}", **fields)
            Worker.update(name=_free_name(worker.id)).where(Worker.id == worker.id).execute()

    def _give_up(self, worker: Worker, why: str, now: float) -> None:
        if transition(Worker, worker.id, WorkerState.READY, WorkerState.DELETING, Change(now, text=why)):
            worker.state = WorkerState.DELETING
            log.info("a waiting machine is removed", worker=worker.name, why=why)

    def _is_current(self, worker: Worker) -> bool:
        return self._fleet.machines.is_of_current_snapshot(worker.name)


def is_waiting(worker: Worker) -> bool:
    """Whether the machine is ready and no job has it."""
    return worker.job_id is None and worker.state == WorkerState.READY


def is_being_made(worker: Worker) -> bool:
    """Whether the machine is being made for the pool."""
    return worker.job_id is None and worker.state in COMING


def _free_name(number: int) -> str:
    """A name that no worker has or had: in a rebuilt database numbers start again, and old names may still exist."""
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
