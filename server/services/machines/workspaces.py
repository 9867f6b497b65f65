"""The workspaces of Terraform, with what the rows and the cloud know of them, and what can be done to one."""

import time
from collections.abc import Callable, Iterator, Mapping

from cumulus_client.workspaces import (
    CloudResource,
    Drift,
    Forgotten,
    MachineRemoval,
    Memory,
    StateLock,
    Unlocked,
    Workspace,
    WorkspaceList,
)
from server.db.models import Job, Worker
from server.db.queries import jobs_of, living_workers
from server.db.transitions import Change, record_event
from server.engine.completion import Completion
from server.engine.duties.sweeper import OWN_NAME
from server.engine.records.manifests import Manifests
from server.errors import InvalidInput
from server.home.running import nudge
from server.services.machines.decommission import Removal, Removing, removal_request
from server.services.principal import Principal, Role
from server.services.times import local_time
from server.settings import Settings
from server.states import WorkerState
from server.storage.folders import Storage
from server.workers.clouds.base import Resource
from server.workers.terraform.state_lock import Lock
from server.workers.workspaces import Listed, Workspaces, describe_lock, failures, require_name

# Earlier, the controller would make the machine anew beside the one that is there.
MADE = frozenset({WorkerState.READY, WorkerState.BUSY, WorkerState.HELD, WorkerState.DELETING})


class WorkspaceService:
    """The workspaces of one installation, whose database is open."""

    def __init__(
        self, settings: Settings, workspaces: Workspaces, removing: Removing, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._workspaces = workspaces
        self._removing = removing
        self._clock = clock

    def listed(self, principal: Principal) -> WorkspaceList:
        """Each workspace with what its row, its job and the cloud say. Raises Forbidden."""
        principal.require(Role.ADMINISTRATOR)
        listed, unknown = self._workspaces.listed()
        now, workers = self._clock(), living_workers()
        rows = {worker.name: worker for worker in workers}
        owners = {job.id: job.owner for job in jobs_of(workers)}
        found = [_view(one, rows.get(one.worker), owners, now) for one in listed]
        return WorkspaceList(workspaces=found, remarks=list(_of_rows(workers, {one.worker for one in listed})), unknown=unknown)

    def drift(self, principal: Principal, name: str, limit_s: float) -> Drift:
        """Ask the cloud whether a workspace is as its state says; changes nothing. Raises Forbidden, NotFound."""
        principal.require(Role.ADMINISTRATOR)
        found = self._workspaces.drift(name, limit_s)
        return Drift(found=found.found, text=found.text)

    def lock(self, principal: Principal, name: str) -> StateLock | None:
        """Who has locked the state of a workspace. Raises Forbidden, NotFound."""
        principal.require(Role.ADMINISTRATOR)
        self._workspaces.require(name)
        return _lock_view(self._workspaces.lock(name), self._clock())

    def unlock(self, principal: Principal, name: str, *, force: bool) -> Unlocked:
        """Clear away a lock whose process is gone; ``force``: also another, by ending its process.

        Raises Forbidden, NotFound.
        """
        principal.require(Role.ADMINISTRATOR)
        self._workspaces.require(name)
        lock, now = self._workspaces.unlock(name, force=force), self._clock()
        text = f"{name} is unlocked; it was locked by {describe_lock(lock, now)}" if lock else f"{name} is not locked"
        return Unlocked(was=_lock_view(lock, now), message=text)

    def forget(self, principal: Principal, name: str, *, force: bool) -> Forgotten:
        """Set a state aside, so that Terraform knows the machine no more; the cloud is not touched.

        Raises Forbidden, NotFound, InvalidInput.
        """
        principal.require(Role.ADMINISTRATOR)
        self._workspaces.require(name)
        worker = _living(name)
        if worker is not None:
            _require_forgettable(worker, force=force)
        aside, left = self._workspaces.set_aside(name)
        if worker is not None:
            record_event(Worker, worker.id, Change(self._clock(), who=principal.name, text="its state was set aside"))
        nudge(self._settings.home)
        first = f"the state of {name} lies in {aside} now" if aside else f"{name} had no state"
        return Forgotten(
            aside=str(aside) if aside else None,
            left=None if left is None else [CloudResource(kind=one.kind, identifier=one.identifier) for one in left],
            message="\n".join([first, *_left_in_words(left, worker, self._settings)]),
        )

    def destroy(self, principal: Principal, name: str, *, force: bool) -> MachineRemoval:
        """Begin to remove a machine and all that belongs to it; :meth:`removal` says when it is gone.

        ``force``: also where a job is at work on it. Raises Forbidden, NotFound, InvalidInput, JobAtWork, InfrastructureError.
        """
        principal.require(Role.ADMINISTRATOR)
        require_name(name)
        worker = _living(name)
        if worker is None:
            self._workspaces.require(name)
            _require_own(name, force=force)
            self._removing.begin_unowned(name)
            return self._removal(name, None, is_gone=False)
        storage = Storage(self._settings.storage)
        removal = Removal(storage, Completion(self._settings, Manifests(storage)))
        job = removal.begin(worker, removal_request(principal.name, self._clock()), force=force)
        nudge(self._settings.home)
        return self._removal(name, job.id if job else None, is_gone=False)

    def removal(self, principal: Principal, name: str) -> MachineRemoval:
        """Whether a machine on its way out is gone; where no controller runs, that is seen to here.

        Raises Forbidden, InvalidInput where nobody removes it, InfrastructureError where it cannot be removed.
        """
        principal.require(Role.ADMINISTRATOR)
        require_name(name)
        worker = _living(name)
        if worker is None:
            return self._removal(name, None, is_gone=self._removing.is_unowned_gone(name))
        if worker.state != WorkerState.DELETING:
            raise InvalidInput(f"{name} is {worker.state}: nobody removes it", field="name")
        is_gone = self._removing.is_gone(worker)
        return self._removal(name, None, is_gone=is_gone, message="" if is_gone else Worker.get_by_id(worker.id).message)

    def environment(self, principal: Principal) -> dict[str, str]:
        """What a plain terraform needs to see the same. Raises Forbidden."""
        principal.require(Role.ADMINISTRATOR)
        return self._workspaces.environment()

    def close(self) -> None:
        """End what still asks the cloud for drift: nobody waits for it any more."""
        self._workspaces.interrupt_plans()

    def _removal(self, name: str, job: int | None, *, is_gone: bool, message: str = "") -> MachineRemoval:
        return MachineRemoval(worker=name, job=job, gone=is_gone, message=message, limit_s=self._removing.limit_s)


def _view(one: Listed, row: Worker | None, owners: Mapping[int, str], now: float) -> Workspace:
    job = row.job_id if row else None
    state = row.state if row else ""
    return Workspace(
        worker=one.worker,
        serial=one.serial,
        resources=one.resources,
        tainted=one.tainted,
        readable=one.readable,
        complete=one.complete,
        alive=one.alive,
        memory=Memory(resident=one.memory.resident, proportional=one.memory.proportional) if one.memory else None,
        lock=_lock_view(one.lock, now),
        state=state,
        boot=row.boot if row else "",
        message=row.message if row else "",
        job=job,
        owner=owners.get(job or 0, "") or _former_owner(job),
        troubles=failures(one, state, own=bool(OWN_NAME.fullmatch(one.worker))),
    )


def _lock_view(lock: Lock | None, now: float) -> StateLock | None:
    if lock is None:
        return None
    age_s = round(now - lock.since, 1)
    return StateLock(operation=lock.operation, who=lock.who, since=lock.since, pid=lock.pid, held=lock.is_held, age_s=age_s)


def _former_owner(job_id: int | None) -> str:
    """Whose job it was, where that has ended."""
    job = Job.get_or_none(Job.id == job_id) if job_id else None
    return job.owner if job else ""


def _of_rows(workers: list[Worker], listed: set[str]) -> Iterator[str]:
    """What no workspace tells: which machines are held, and which should be there and are not."""
    for worker in workers:
        if worker.state == WorkerState.HELD:
            yield f"{worker.name} is held {worker.message}"
        elif worker.held_until and worker.state != WorkerState.DELETING:
            yield f"{worker.name} is held until {local_time(worker.held_until)}, should its job fail"
        if worker.state in MADE and worker.name not in listed:
            yield f"{worker.name} is {worker.state} and has no workspace: `cumulus state destroy {worker.name}` ends it at once"


def _living(name: str) -> Worker | None:
    return next((worker for worker in living_workers() if worker.name == name), None)


def _require_own(name: str, *, force: bool) -> None:
    if not OWN_NAME.fullmatch(name) and not force:
        raise InvalidInput(f"{name} was made by another command, such as a snapshot's trial: --force removes it", field="name")


def _require_forgettable(worker: Worker, *, force: bool) -> None:
    if not force:
        text = f"{worker.name} is {worker.state}: `cumulus state destroy` removes it, --force forgets its state all the same"
        raise InvalidInput(text, field="name")
    if worker.state not in MADE:
        raise InvalidInput(f"{worker.name} is being made: wait, or `cumulus state destroy` it", field="name")


def _left_in_words(left: list[Resource] | None, worker: Worker | None, settings: Settings) -> Iterator[str]:
    """What the cloud still has of a machine whose state is forgotten, and what becomes of that."""
    if left == []:
        yield "the cloud has nothing that carries its tag"
        return
    yield from (f"the cloud still has its {one.kind} {one.identifier}" for one in left or ())
    if left is None:
        yield "the cloud cannot be asked what it still has"
    if worker is not None:
        yield "what is left stays as it is, and is removed by its tag at its end"
    else:
        yield (
            "a controller removes what carries this installation's tag and has no job at its second look, one every"
            f" {settings.sweep_interval_s:.0f} s; `cumulus orphans --delete` removes it now"
        )
