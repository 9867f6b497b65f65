"""A fleet of pretended machines in memory, for tests that live through thousands of moments without a process.

Only what Terraform, Ansible and the runner would do is pretended; rows, folders, loop and rules are the real ones. What a machine
does it does when it is told to, and a controller may crash within any call.
"""

import json
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server.catalog.flavors import Flavor
from server.errors import InfrastructureError
from server.workers.address import Address
from server.workers.clouds.base import Layout, Resource
from server.workers.clouds.local import LocalCloud


class Crash(BaseException):
    """The controller is gone at this moment."""


@dataclass
class Machine:
    """One machine; ``attempt`` is the one that its runner has taken up, 0: none."""

    name: str
    folder: Path | None = None
    attempt: int = 0
    running: bool = False
    reachable: bool = True
    snapshot: int = 0


@dataclass
class World:
    """What exists outside the controller, what has happened there, and which promises were ``broken``."""

    machines: dict[str, Machine] = field(default_factory=dict)
    workspaces: set[str] = field(default_factory=set)
    begun: list[tuple[str, int]] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    snapshot: int = 0

    def trouble(self, *kinds: str) -> str:
        """The next trouble, if it is of one of these kinds."""
        return self.troubles.pop(0) if self.troubles and self.troubles[0] in kinds else ""

    def start_app(self, machine: Machine, folder: Path) -> None:
        """What the runner does when it is told to start."""
        attempt = int(json.loads((folder / ".cumulus.plan").read_text())["attempt"])
        marker = folder / f".cumulus.attempt.{attempt}"
        if marker.exists():
            return
        marker.write_text(f"{machine.name}\n")
        if machine.folder not in (None, folder):
            self.broken.append(f"{machine.name} serves {folder.name} after {machine.folder}")
        if any(one.running and one.folder == folder for one in self.machines.values()):
            self.broken.append(f"{folder.name} runs twice at once")  # raised here it would be taken for a failed launch
        machine.folder, machine.attempt, machine.running = folder, attempt, True
        self.begun.append((folder.name, attempt))

    def finish(self, machine: Machine, *, well: bool) -> None:
        """The app ends."""
        assert machine.folder is not None
        result = {"attempt": machine.attempt, "exit_code": 0 if well else 3, "stage": "done" if well else "app"}
        (machine.folder / ".cumulus.result").write_text(json.dumps(result))
        machine.running = False


class ToyFleet:
    """Stands for :class:`server.workers.fleet.Fleet`."""

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def machines(self) -> "ToyFleet":
        """It looks at them, too."""
        return self

    def layout(self, worker: str, job_dir: Path) -> Layout:
        """The job's folder is the layout's only truth."""
        return Layout("local", "/work", str(job_dir), (), (), ())

    def admit(self, job_dir: Path) -> None:
        """Machines write where they like."""

    def launch(
        self,
        worker: str,
        flavor: Flavor,
        layout: Layout,
        *,
        on_machine: Callable[[Address], None],
        unwanted: Callable[[], bool],
        has_started: Callable[[], bool],
    ) -> None:
        """Make the machine, start the app, with all that can go wrong between."""
        self._make(worker, on_machine)
        self._begin(self.world.machines[worker], layout, unwanted)

    def prepare(
        self,
        worker: str,
        flavor: Flavor,
        *,
        persist_s: float,
        on_machine: Callable[[Address], None],
        unwanted: Callable[[], bool],
    ) -> None:
        """Make a machine that waits."""
        self._make(worker, on_machine)

    def start(self, worker: str, layout: Layout, *, on_machine: Callable[[Address], None], unwanted: Callable[[], bool]) -> None:
        """Start the app on a machine that has waited, if it is still there."""
        machine = self.world.machines.get(worker)
        if machine is None:
            raise InfrastructureError("gone")
        on_machine(Address("localhost", 1))
        self._begin(machine, layout, unwanted)

    def is_of_current_snapshot(self, worker: str) -> bool:
        """Whether nothing has changed since it was made."""
        machine = self.world.machines.get(worker)
        return machine is None or machine.snapshot == self.world.snapshot

    def snapshot_of(self, worker: str) -> str:
        """The only one."""
        return "local"

    def _make(self, worker: str, on_machine: Callable[[Address], None]) -> None:
        self._fail("no machine")
        self.world.workspaces.add(worker)
        self._crash("crash in terraform")
        self.world.machines.setdefault(worker, Machine(worker, snapshot=self.world.snapshot))
        self._crash("crash with a machine")
        self._fail("error after machine")
        on_machine(Address("localhost", 1))

    def _begin(self, machine: Machine, layout: Layout, unwanted: Callable[[], bool]) -> None:
        self._crash("crash before the app")
        self._fail("no app")
        if unwanted():
            raise InfrastructureError("the play was cancelled")
        self.world.start_app(machine, Path(layout.job_dir))
        self._crash("crash with the app")
        self._fail("error after app")

    def remove(self, worker: str, job_dir: Path, *, at_rest: bool = False, without_terraform: bool = False) -> None:
        """Remove the machine and its workspace."""
        machine = self.world.machines.get(worker)
        if at_rest and machine is not None and machine.running:
            self.world.broken.append(f"{worker} is not at rest")
        self._fail("no removal")
        self.world.machines.pop(worker, None)
        self._crash("crash in removal")
        self.world.workspaces.discard(worker)
        self._fail("error after removal")

    def stop_job(self, worker: str, job_dir: Path) -> None:
        """End the app."""
        if machine := self.world.machines.get(worker):
            machine.running = False

    def runs(self, worker: str, job_dir: Path) -> bool | None:
        """What the machine says."""
        machine = self.world.machines.get(worker)
        return machine.running if machine is not None and machine.reachable else None

    def alive(self, worker: str) -> bool:
        """Whether there is such a machine."""
        return worker in self.world.machines

    exists = alive

    def workspaces(self) -> list[str]:
        """Terraform's."""
        return sorted(self.world.workspaces)

    def with_orphaned_processes(self) -> list[str]:
        """No processes here."""
        return []

    def console_log(self, worker: str) -> str:
        """Nothing."""
        return ""

    def login_command(self, worker: str, job_dir: Path) -> str:
        """Nothing to log in on."""
        return "true"

    def forget_old_plays(self, now: float) -> None:
        """No plays."""

    def forget_unused(self, now: float) -> None:
        """Nothing is kept."""

    def _fail(self, kind: str) -> None:
        if self.world.trouble(kind):
            raise InfrastructureError(kind)

    def _crash(self, kind: str) -> None:
        if self.world.trouble(kind):
            raise Crash(kind)


class ToyCloud(LocalCloud):
    """Lists the pretended machines."""

    world: World

    def resources(self, worker: str = "") -> list[Resource]:
        """One for each machine."""
        names = sorted(name for name in self.world.machines if worker in ("", name))
        return [Resource("machine", name, name, alive=True) for name in names]


class Inline(Executor):
    """Runs at once what it is given, so that a test knows when it was; a crash goes through to whoever turned the loop."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """The finished future."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as problem:
            future.set_exception(problem)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing is at work."""


TROUBLES = (
    "no machine",
    "error after machine",
    "no app",
    "error after app",
    "no removal",
    "error after removal",
    "crash in terraform",
    "crash with a machine",
    "crash before the app",
    "crash with the app",
    "crash in removal",
)
