"""Machines, for who looks after an installation: which there are, the cloud's limits, orphans, what is held, the end of all."""

import time
from collections.abc import Callable

from cumulus_client.workers import Held, QuotaList
from cumulus_client.workers import Orphan as OrphanView
from cumulus_client.workers import Worker as WorkerView
from server.db.models import Worker
from server.db.opening import require_installation
from server.db.queries import jobs_of, living_workers
from server.db.transitions import Change, record_event
from server.engine.duties.sweeper import Orphan, Sweeper
from server.errors import InvalidInput
from server.home.controller_lock import only_controller
from server.home.running import end_controller, nudge, running_controller
from server.progress import Progress
from server.services.jobs.lookup import find_job
from server.services.machines.cloud_access import CloudAccess, quotas_of
from server.services.principal import Principal, Role
from server.services.times import local_time
from server.settings import Settings
from server.states import JobState, WorkerState
from server.storage.folders import Storage

STOP_LIMIT_S = 30.0
APART_S = 3.0  # between the two inspections at which something must be an orphan
HOUR_S = 3600.0


class MachineService:
    """The machines of one installation."""

    def __init__(self, settings: Settings, access: CloudAccess, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._access = access
        self._clock = clock

    def listed(self, principal: Principal) -> list[WorkerView]:
        """The machines that there are, oldest first; only those of jobs that the principal may use. Raises Forbidden."""
        principal.require(Role.USER)
        workers = living_workers()
        owners = {job.id: job.owner for job in jobs_of(workers)}
        named = [(worker, owners.get(worker.job_id or 0, "")) for worker in workers]
        return [_worker(worker, owner) for worker, owner in named if principal.may_use(owner)]

    def quotas(self, principal: Principal) -> QuotaList:
        """What the cloud lets the project have; nothing where there is no such limit. Raises Forbidden, CloudError."""
        principal.require(Role.ADMINISTRATOR)
        return QuotaList(cloud=str(self._settings.cloud), quotas=quotas_of(self._access.to_inspect()))

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
            with only_controller(self._settings.home), removing as step, self._access.ready(self._settings) as (_, fleet):
                fleet.remove_all(self._settings.storage / "jobs", step.advance)

    def orphans(self, principal: Principal) -> list[OrphanView]:
        """What the cloud and Terraform have that no job accounts for. Raises Forbidden, CloudError."""
        principal.require(Role.ADMINISTRATOR)
        with self._access.ready(self._settings, to_change=False) as (cloud, fleet):
            found = Sweeper(cloud, fleet, self._settings.storage / "jobs").inspect().orphans
        return [_orphan(one, removed=False) for one in found]

    def remove_orphans(self, principal: Principal) -> list[OrphanView]:
        """Remove what is an orphan at two inspections, a few seconds apart; some may be left. Raises Forbidden, CloudError."""
        principal.require(Role.ADMINISTRATOR)
        with self._access.ready(self._settings) as (cloud, fleet):
            sweeper = Sweeper(cloud, fleet, self._settings.storage / "jobs")
            found = sweeper.sweep().orphans
            if found:
                time.sleep(APART_S)
                sweeper.sweep()
            left = set(sweeper.inspect().orphans)
        return [_orphan(one, removed=one not in left) for one in found]

    def hold(self, principal: Principal, job_id: int, hours: float) -> Held:
        """Keep the machine of a job, should it fail, for so long. Raises Forbidden, NotFound, InvalidInput."""
        principal.require(Role.ADMINISTRATOR)
        worker = _machine_of(job_id)
        until = self._clock() + hours * HOUR_S
        text = f"held until {local_time(until)}, should its job fail"
        self._hold(principal, worker, until, text)
        folder = Storage(self._settings.storage).folder(find_job(job_id).folder)
        with self._access.ready(self._settings, to_change=False) as (_, fleet):
            return Held(worker=worker.name, message=text, login=fleet.login_command(worker.name, folder.path))

    def release(self, principal: Principal, job_id: int) -> Held:
        """Hold the machine of a job no longer. Raises Forbidden, NotFound, InvalidInput."""
        principal.require(Role.ADMINISTRATOR)
        worker, text = _machine_of(job_id), "no longer held"
        self._hold(principal, worker, 0.0, text)
        return Held(worker=worker.name, message=text, login="")

    def _hold(self, principal: Principal, worker: Worker, until: float, text: str) -> None:
        Worker.update(held_until=until, not_before=0.0).where(Worker.id == worker.id).execute()
        record_event(Worker, worker.id, Change(self._clock(), who=principal.name, text=text))
        nudge(self._settings.home)


def _worker(worker: Worker, owner: str) -> WorkerView:
    return WorkerView(
        name=worker.name,
        job=worker.job_id,
        owner=owner,
        flavor=worker.flavor,
        weight=worker.weight,
        state=worker.state,
        state_since=worker.state_since,
        attempt=worker.attempt,
        boot=worker.boot,
        held_until=worker.held_until,
        message=worker.message,
    )


def _orphan(one: Orphan, *, removed: bool) -> OrphanView:
    return OrphanView(kind=one.kind, worker=one.worker, identifier=one.identifier, removed=removed)


def _machine_of(job_id: int) -> Worker:
    """The newest machine of a job. Raises NotFound where there is no job, InvalidInput where it has none for long."""
    job = find_job(job_id)
    workers = [worker for worker in living_workers() if worker.job_id == job_id and worker.state != WorkerState.DELETING]
    if not workers or (job.state in (JobState.DONE, JobState.CANCELLED) and workers[-1].state != WorkerState.HELD):
        raise InvalidInput(f"job {job_id} has no machine that could be held", field="job")
    return workers[-1]
