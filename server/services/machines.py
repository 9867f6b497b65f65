"""Machines, for who looks after an installation: the cloud's limits, what nobody owns, what is held, the end of all."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from server.db.models import Change, Worker, living_workers, record_event
from server.db.opening import require_installation
from server.engine.duties.sweeper import Orphan, Sweeper
from server.errors import InvalidInput
from server.home.installation import end_controller, nudge, only_controller, running_controller
from server.progress import Progress
from server.services.jobs.lookup import find_job
from server.services.principal import Principal, Role
from server.services.times import local_time
from server.settings import Settings
from server.states import JobState, WorkerState
from server.storage.folders import Storage
from server.workers.clouds import registry
from server.workers.clouds.base import Cloud
from server.workers.clouds.capabilities import HasQuota, Quota
from server.workers.fleet import Fleet

STOP_LIMIT_S = 30.0
APART_S = 3.0  # between the two looks at which something must be an orphan
HOUR_S = 3600.0
MakeFleet = Callable[[Settings, Cloud], Fleet]


@dataclass(frozen=True)
class OrphanView:
    """Something of this installation that no job accounts for."""

    kind: str
    worker: str
    identifier: str
    removed: bool


@dataclass(frozen=True)
class HeldView:
    """A machine that is held, or no longer. ``text``: what it is; ``login``: how to look at it, "" where it is not held."""

    worker: str
    text: str
    login: str


class MachineService:
    """The machines of one installation. ``make_fleet``: joins what makes and removes them."""

    def __init__(self, settings: Settings, make_fleet: MakeFleet, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._make_fleet = make_fleet
        self._clock = clock

    def quotas(self, principal: Principal, cloud: Cloud) -> list[Quota]:
        """What the cloud lets the project have; nothing where there is no such limit. Raises Forbidden, CloudError."""
        principal.require(Role.ADMINISTRATOR)
        return cloud.quota.listed() if isinstance(cloud, HasQuota) else []

    def stop(self, principal: Principal, progress: Progress, *, machines: bool) -> None:
        """End the controller in order; with ``machines`` remove all of them, too, whose jobs are tried again at the next start.

        Raises Forbidden, NoInstallation, InfrastructureError.
        """
        principal.require(Role.ADMINISTRATOR)
        if running_controller(self._settings.home) is None:
            require_installation(self._settings)
        with progress.step("Ending the controller"):
            end_controller(self._settings.home, STOP_LIMIT_S)
        if machines:
            removing = progress.step("Removing the machines", "machines")
            with only_controller(self._settings.home), removing as step, self._fleet(starting=True) as (_, fleet):
                fleet.remove_all(self._settings.storage / "jobs", step.advance)

    def orphans(self, principal: Principal) -> list[OrphanView]:
        """What the cloud and Terraform have that no job accounts for. Raises Forbidden, CloudError."""
        principal.require(Role.ADMINISTRATOR)
        with self._sweeper(starting=False) as sweeper:
            return [_orphan(one, removed=False) for one in sweeper.inspect().orphans]

    def remove_orphans(self, principal: Principal, note: Callable[[str], None]) -> list[OrphanView]:
        """Remove what is an orphan at two looks, a few seconds apart; some may be left. Raises Forbidden, CloudError."""
        principal.require(Role.ADMINISTRATOR)
        with self._sweeper(starting=True) as sweeper:
            found = sweeper.sweep().orphans
            if found:
                note(f"{len(found)} found; looking once more")
                time.sleep(APART_S)
                sweeper.sweep()
            left = set(sweeper.inspect().orphans)
        return [_orphan(one, removed=one not in left) for one in found]

    def hold(self, principal: Principal, job_id: int, hours: float) -> HeldView:
        """Keep the machine of a job, should it fail, for so long. Raises Forbidden, NotFound, InvalidInput."""
        principal.require(Role.ADMINISTRATOR)
        worker = _machine_of(job_id)
        until = self._clock() + hours * HOUR_S
        text = f"held until {local_time(until)}, should its job fail"
        self._hold(principal, worker, until, text)
        fleet = self._make_fleet(self._settings, registry.known_cloud(self._settings))
        folder = Storage(self._settings.storage).folder(find_job(job_id).folder)
        return HeldView(worker.name, text, fleet.login_command(worker.name, folder.path))

    def release(self, principal: Principal, job_id: int) -> HeldView:
        """Hold the machine of a job no longer. Raises Forbidden, NotFound, InvalidInput."""
        principal.require(Role.ADMINISTRATOR)
        worker, text = _machine_of(job_id), "no longer held"
        self._hold(principal, worker, 0.0, text)
        return HeldView(worker.name, text, "")

    def _hold(self, principal: Principal, worker: Worker, until: float, text: str) -> None:
        Worker.update(held_until=until, not_before=0.0).where(Worker.id == worker.id).execute()
        record_event(Worker, worker.id, Change(self._clock(), who=principal.name, text=text))
        nudge(self._settings.home)

    @contextmanager
    def _sweeper(self, *, starting: bool) -> Iterator[Sweeper]:
        with self._fleet(starting=starting) as (cloud, fleet):
            yield Sweeper(cloud, fleet, self._settings.storage / "jobs")

    @contextmanager
    def _fleet(self, *, starting: bool) -> Iterator[tuple[Cloud, Fleet]]:
        """``starting``: the cloud is made ready for removals, too."""
        cloud = registry.known_cloud(self._settings)
        if starting:
            cloud.start()
        try:
            yield cloud, self._make_fleet(self._settings, cloud)
        finally:
            if starting:
                cloud.stop()


def orphan_json(view: OrphanView) -> dict[str, Any]:
    """An orphan for programs."""
    return asdict(view)


def quota_json(quota: Quota) -> dict[str, Any]:
    """A limit for programs."""
    return asdict(quota)


def _orphan(one: Orphan, *, removed: bool) -> OrphanView:
    return OrphanView(one.kind, one.worker, one.identifier, removed)


def _machine_of(job_id: int) -> Worker:
    """The newest machine of a job. Raises NotFound where there is no job, InvalidInput where it has none for long."""
    job = find_job(job_id)
    workers = [worker for worker in living_workers() if worker.job_id == job_id and worker.state != WorkerState.DELETING]
    if not workers or (job.state in (JobState.DONE, JobState.CANCELLED) and workers[-1].state != WorkerState.HELD):
        raise InvalidInput(f"job {job_id} has no machine that could be held", field="job")
    return workers[-1]
