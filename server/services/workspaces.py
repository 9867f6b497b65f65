"""The workspaces of Terraform, with what the rows and the cloud know of them, and what can be done to one."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from server.db.models import Change, Job, Worker, jobs_of, living_workers, record_event
from server.engine.completion import Completion
from server.engine.duties.sweeper import OWN_NAME
from server.engine.records.manifests import Manifests
from server.errors import InvalidInput
from server.home.installation import nudge
from server.services.decommission import Removal, Removing, removal_wish
from server.services.principal import Principal, Role
from server.services.times import local_time
from server.settings import Settings
from server.states import WorkerState
from server.storage.folders import Storage
from server.workers.clouds.base import Resource
from server.workers.terraform.state_lock import Lock
from server.workers.workspaces import Drift, Listed, Workspaces, require_name, told, troubles

# Earlier, the controller would make the machine anew beside the one that is there.
MADE = frozenset({WorkerState.READY, WorkerState.BUSY, WorkerState.HELD, WorkerState.DELETING})
Heard = Callable[[str, Drift], None]


@dataclass(frozen=True)
class WorkspaceView:
    """A workspace with what its row, its job and the look for drift say. ``lock_age_s``: for how long it is locked."""

    workspace: Listed
    state: str
    boot: str
    message: str
    job: int | None
    owner: str
    drift: Drift | None
    troubles: tuple[str, ...]
    lock_age_s: float


@dataclass(frozen=True)
class WorkspacesView:
    """All workspaces; ``remarks``: what no workspace tells."""

    workspaces: tuple[WorkspaceView, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Unlocked:
    """``was``: the lock that is gone, None where there was none; ``text``: what has become of it."""

    was: Lock | None
    text: str


@dataclass(frozen=True)
class Destroyed:
    """``job``: the one that is tried again on another machine, None where none was at work."""

    worker: str
    job: int | None


@dataclass(frozen=True)
class Forgotten:
    """``aside``: where the state lies now; ``left``: what the cloud still has, None where it cannot be asked."""

    aside: Path | None
    left: list[Resource] | None
    text: str


class WorkspaceService:
    """The workspaces of one installation, whose database is open."""

    def __init__(
        self, settings: Settings, workspaces: Workspaces, removing: Removing, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._workspaces = workspaces
        self._removing = removing
        self._clock = clock

    def listed(self, principal: Principal) -> tuple[list[Listed], str]:
        """The workspaces, and why the cloud cannot be asked, "" where it can. Raises Forbidden."""
        principal.require(Role.ADMINISTRATOR)
        return self._workspaces.listed()

    def drifts(self, principal: Principal, listed: Sequence[Listed], limit_s: float, heard: Heard) -> dict[str, Drift]:
        """Ask the cloud whether each is as its state says; changes nothing. Raises Forbidden."""
        principal.require(Role.ADMINISTRATOR)
        return self._workspaces.drifts([one.worker for one in listed], limit_s, heard)

    def described(self, principal: Principal, listed: Sequence[Listed], drifts: Mapping[str, Drift]) -> WorkspacesView:
        """Each workspace with what its row, its job and the look for drift say. Raises Forbidden."""
        principal.require(Role.ADMINISTRATOR)
        now, workers = self._clock(), living_workers()
        rows = {worker.name: worker for worker in workers}
        owners = {job.id: job.owner for job in jobs_of(workers)}
        found = tuple(_view(one, rows.get(one.worker), owners, drifts.get(one.worker), now) for one in listed)
        return WorkspacesView(found, tuple(_of_rows(workers, {one.worker for one in listed})))

    def lock(self, principal: Principal, name: str) -> Lock | None:
        """Who has locked the state of a workspace. Raises Forbidden, NotFound."""
        principal.require(Role.ADMINISTRATOR)
        self._workspaces.require(name)
        return self._workspaces.lock(name)

    def unlock(self, principal: Principal, name: str, *, force: bool) -> Unlocked:
        """Clear away a lock whose process is gone; ``force``: also another, by ending its process.

        Raises Forbidden, NotFound.
        """
        principal.require(Role.ADMINISTRATOR)
        self._workspaces.require(name)
        lock = self._workspaces.unlock(name, force=force)
        text = f"{name} is unlocked; it was locked by {told(lock, self._clock())}" if lock else f"{name} is not locked"
        return Unlocked(lock, text)

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
        return Forgotten(aside, left, "\n".join([first, *_left_told(left, worker, self._settings)]))

    def destroy(self, principal: Principal, name: str, *, force: bool) -> Destroyed:
        """Remove a machine and all that belongs to it; returns when the cloud confirms that it is gone.

        ``force``: also where a job is at work on it. Raises Forbidden, NotFound, InvalidInput, JobAtWork, InfrastructureError.
        """
        principal.require(Role.ADMINISTRATOR)
        require_name(name)
        worker = _living(name)
        if worker is None:
            self._workspaces.require(name)
            _require_own(name, force=force)
            self._removing.unowned(name)
            return Destroyed(name, None)
        storage = Storage(self._settings.storage)
        removal = Removal(storage, Completion(self._settings, Manifests(storage)))
        job = removal.begin(worker, removal_wish(principal.name, self._clock()), force=force)
        self._removing.finish(worker)
        return Destroyed(name, job.id if job else None)

    def environment(self, principal: Principal) -> dict[str, str]:
        """What a plain terraform needs to see the same. Raises Forbidden."""
        principal.require(Role.ADMINISTRATOR)
        return self._workspaces.environment()


def workspace_json(view: WorkspaceView) -> dict[str, Any]:
    """A workspace for programs."""
    lock = view.workspace.lock
    return {
        **asdict(view.workspace),
        "lock": {**asdict(lock), "held": lock.is_held, "age_s": view.lock_age_s} if lock else None,
        "state": view.state,
        "boot": view.boot,
        "message": view.message,
        "job": view.job,
        "owner": view.owner,
        "drift": asdict(view.drift) if view.drift else None,
        "troubles": list(view.troubles),
    }


def _view(one: Listed, row: Worker | None, owners: Mapping[int, str], drift: Drift | None, now: float) -> WorkspaceView:
    job = row.job_id if row else None
    return WorkspaceView(
        workspace=one,
        state=row.state if row else "",
        boot=row.boot if row else "",
        message=row.message if row else "",
        job=job,
        owner=owners.get(job or 0, "") or _former_owner(job),
        drift=drift,
        troubles=tuple(troubles(one, row.state if row else "", own=bool(OWN_NAME.fullmatch(one.worker)))),
        lock_age_s=round(now - one.lock.since, 1) if one.lock else 0.0,
    )


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
        raise InvalidInput(f"{name} was made by another command, such as a snapshot's trial: --force removes it", field="NAME")


def _require_forgettable(worker: Worker, *, force: bool) -> None:
    if not force:
        text = f"{worker.name} is {worker.state}: `cumulus state destroy` removes it, --force forgets its state all the same"
        raise InvalidInput(text, field="NAME")
    if worker.state not in MADE:
        raise InvalidInput(f"{worker.name} is being made: wait, or `cumulus state destroy` it", field="NAME")


def _left_told(left: list[Resource] | None, worker: Worker | None, settings: Settings) -> Iterator[str]:
    """What the cloud still has of a machine whose state is forgotten, and what becomes of that."""
    if left == []:
        yield "the cloud has nothing that carries its tag"
        return
    yield from (f"the cloud still has its {one.kind} {one.identifier}" for one in left or ())
    if left is None:
        yield "the cloud cannot be asked what it still has"
    if worker is not None:
        yield "what is left goes on as it is, and is removed by its tag at its end"
    else:
        yield (
            "a controller removes what carries this installation's tag and is nobody's at its second look, one every"
            f" {settings.sweep_interval_s:.0f} s; `cumulus orphans --delete` removes it now"
        )
