"""The workspaces as an administrator sees them: what each holds, who has locked it, what is the matter with it, how it drifts.

Owns the look, and what is done to a state without the cloud: ending a lock, setting the state aside. Machines are made and
removed by the fleet; what a machine is to a job is its caller's to know.
"""

import re
import signal
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from server.errors import CumulusError, InfrastructureError, InvalidInput, NotFound
from server.states import WorkerState
from server.workers.clouds.base import Cloud, Resource
from server.workers.clouds.capabilities import HasMemoryUse, MemoryUse
from server.workers.terraform import state_lock
from server.workers.terraform.drift import differences
from server.workers.terraform.module import TerraformModule
from server.workers.terraform.state_lock import Lock, StillLocked
from server.workers.terraform.state_store import WORKSPACE

CHANGING = frozenset({WorkerState.REQUESTED, WorkerState.CREATING, WorkerState.DELETING})
# A provider that the controller keeps running is not for others, and who may use a cloud has credentials.
SHOWN_VARIABLES = re.compile(r"CUMULUS_LOCAL_(MACHINES|STOP)|TF_CLI_CONFIG_FILE|OS_CLOUD|OS_CLIENT_CONFIG_FILE")


@dataclass(frozen=True)
class Listed:
    """One workspace: the version of its state, what is in it, and what the cloud says of its machine.

    ``tainted``: those of its resources that Terraform would make anew; ``complete``: whether an apply ever came to its end;
    ``alive``: None where the cloud could not be asked; ``memory``: what the machine takes of this computer, None where it does
    not run here.
    """

    worker: str
    serial: int
    resources: list[str]
    tainted: list[str]
    readable: bool
    complete: bool
    alive: bool | None
    memory: MemoryUse | None
    lock: Lock | None


@dataclass(frozen=True)
class Drift:
    """How a state compares with the cloud; ``text``: what differs, or why that is not known, on one line."""

    found: Literal["none", "drift", "unknown"]
    text: str = ""


class Workspaces:
    """The workspaces of one cloud's worker module."""

    def __init__(self, cloud: Cloud, module: TerraformModule) -> None:
        self._cloud = cloud
        self._module = module

    def listed(self) -> tuple[list[Listed], str]:
        """Every workspace; and why the cloud could not be asked, "" where it could."""
        alive, why = self._alive()
        return [self._listed(name, alive) for name in self._module.store.workspaces()], why

    def require(self, name: str) -> None:
        """Raises NotFound where nothing of that name is known here or to the cloud, InvalidInput for what can be no name."""
        require_name(name)
        if name not in self._module.store.names() and not self._cloud.resources(name):
            raise _no_workspace(name)

    def drift(self, name: str, limit_s: float) -> Drift:
        """Plan what a refresh would change in a workspace, within ``limit_s`` seconds; no state is changed, and none is locked.

        Raises NotFound, InvalidInput.
        """
        require_name(name)
        if name not in self._module.store.names():
            raise _no_workspace(name)
        before = self._module.store.state(name)
        if self._module.locks.is_at_work(name):
            return Drift("unknown", "a terraform is at work on it")
        if not before.get("resources"):
            return Drift("unknown", "there is nothing in its state")
        try:
            with tempfile.TemporaryDirectory(prefix="cumulus-drift-") as scratch:
                plan = self._module.drift(name, limit_s, Path(scratch))
        except CumulusError as error:
            return Drift("unknown", error.message)
        except OSError as problem:
            return Drift("unknown", f"no plan can be written: {problem.strerror}")
        if self._module.store.state(name) != before:
            return Drift("unknown", "its state changed meanwhile")
        text = differences(plan)
        return Drift("drift", text) if text else Drift("none")

    def interrupt_plans(self) -> None:
        """End the plans of this process, which are in sessions of their own: Ctrl-C does not reach them."""
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if child.environ().get("TF_DATA_DIR") == str(self._module.data):
                    child.send_signal(signal.SIGINT)

    def lock(self, name: str) -> Lock | None:
        """Who holds the lock on the state, or has left one; None where it is free."""
        return self._module.locks.state_lock(name)

    def unlock(self, name: str, *, force: bool) -> Lock | None:
        """Clear away the lock on the state; returns what it was. Raises StillLocked where somebody holds it.

        ``force``: that process is ended in order first.
        """
        lock, state = self._module.locks.state_lock(name), self._module.store.state_file(name)
        if lock is not None and lock.is_held:
            if not force:
                raise StillLocked(f"{name} is locked by {describe_lock(lock, time.time())}: wait for its end, or --force ends it")
            state_lock.end_holder(state)
        state_lock.clear(state)
        return lock

    def set_aside(self, name: str) -> tuple[Path | None, list[Resource] | None]:
        """Move the state out of Terraform's sight; returns where it is now, and what the cloud still has of the machine.

        The latter is None where the cloud does not tell: it may be away just when a state must be forgotten. Raises StillLocked
        while a terraform is at it.
        """
        if self._module.locks.is_at_work(name):
            raise StillLocked(f"a terraform is at work on {name}: see `cumulus state unlock {name}`")
        try:
            left = self._cloud.resources(name)
        except InfrastructureError:
            left = None
        return self._module.set_aside(name), left

    def environment(self) -> dict[str, str]:
        """What an administrator's own terraform needs to see what the controller's sees; nothing that is secret.

        ``MODULE``, ``STATES`` and ``VARS`` are folders, for who types commands.
        """
        shown = {
            name: value
            for name, value in self._cloud.plain_terraform_env().items()
            if SHOWN_VARIABLES.fullmatch(name) or not value
        }
        store = self._module.store
        folders = {"MODULE": self._module.path, "STATES": store.states, "VARS": store.variable_files.folder}
        return {"TF_DATA_DIR": str(self._module.data), **shown, **{name: str(path) for name, path in folders.items()}}

    def _alive(self) -> tuple[set[str] | None, str]:
        try:
            return {one.worker for one in self._cloud.resources() if one.kind == "machine" and one.alive}, ""
        except InfrastructureError as error:
            return None, error.message

    def _listed(self, name: str, alive: set[str] | None) -> Listed:
        state = self._module.store.state(name)
        resources = list(_resources(state))
        return Listed(
            worker=name,
            serial=serial(state),
            resources=[address for address, _ in resources],
            tainted=[address for address, tainted in resources if tainted],
            readable=self._module.store.is_readable(name),
            complete=bool(self._module.store.outputs(name).get("id")),
            alive=None if alive is None else name in alive,
            memory=self._cloud.memory.use(name) if isinstance(self._cloud, HasMemoryUse) else None,
            lock=self._module.locks.state_lock(name),
        )


def _no_workspace(name: str) -> NotFound:
    return NotFound(f"there is no workspace {name}: `cumulus state` lists them", field="name")


def require_name(name: str) -> None:
    """Raises InvalidInput for what can be no workspace's name: no path, no option, nothing that a terminal takes for more."""
    if not WORKSPACE.fullmatch(name):
        raise InvalidInput(f"{name[:80]!r} cannot be a workspace's name", field="name")


def failures(one: Listed, state: str, *, own: bool) -> list[str]:
    """What is wrong with a workspace and how to fix it, a line each. ``state``: of the worker's row, "" where there is none.

    ``own``: whether jobs and the pool have such names.
    """
    found = []
    changing = state in CHANGING or (one.lock is not None and one.lock.is_held)
    if not one.readable:
        found.append(f"its state cannot be read: `cumulus state destroy {one.worker}` removes what carries its tag")
    elif not one.complete and one.alive and not changing:
        what = "lacks it" if one.resources else "is empty"
        found.append(f"its machine runs and its state {what}: `cumulus state destroy {one.worker}` removes it by its tag")
    if not state and own:
        found.append(f"no row knows it: a controller removes it; at once: `cumulus state destroy {one.worker}`")
    if one.lock is not None and not one.lock.is_held:
        found.append(f"a lock is left over and blocks nothing: `cumulus state unlock {one.worker}` clears it away")
    if one.tainted and not changing:
        found.append(
            f"tainted: {' '.join(one.tainted)}: `cumulus state destroy {one.worker}`, another machine is made for its job"
        )
    return found


def describe_lock(lock: Lock, now: float) -> str:
    """A lock in words, such as ``apply by root@host, process 4711, for 12 s``."""
    by = " by ".join(word for word in (lock.operation, lock.who) if word) or "somebody"
    process = f"process {lock.pid}" if lock.pid else "another computer's process" if lock.is_held else "its process is gone"
    return f"{by}, {process}, for {max(0.0, now - lock.since):.0f} s"


def serial(state: Mapping[str, Any]) -> int:
    """The version of a state; 0 where it has none."""
    found = state.get("serial", 0)
    return found if isinstance(found, int) else 0


def _resources(state: Mapping[str, Any]) -> Iterable[tuple[str, bool]]:
    """Address, and whether it is tainted, of each resource in a state."""
    found = state.get("resources")
    for resource in found if isinstance(found, list) else ():
        if isinstance(resource, dict):
            instances = resource.get("instances")
            tainted = any(isinstance(one, dict) and one.get("status") == "tainted" for one in instances or ())
            mode = "data." if resource.get("mode") == "data" else ""
            yield f"{mode}{resource.get('type')}.{resource.get('name')}", tainted
