"""Canaries: workers of a new snapshot that run no job, but every app's version command, with the storage mounted.

Owns such a machine from its making to its end. Only who holds the lock of the snapshots makes one.
"""

from collections.abc import Callable
from dataclasses import dataclass

from server.catalog.flavors import Flavor
from server.errors import CumulusError, InfrastructureError
from server.progress import Progress
from server.workers.clouds.images import SmokeTest
from server.workers.clouds.openstack.console import Console
from server.workers.clouds.openstack.resources import Resources
from server.workers.clouds.openstack.resuming import Resumption
from server.workers.clouds.openstack.template.guest import CHECK_LIMIT_S, UNMOUNT, Guests
from server.workers.clouds.openstack.template.kept import Kept, number_in
from server.workers.clouds.smoke_test import Found, run_smoke_test
from server.workers.clouds.ssh import CommandFailed, Login
from server.workers.terraform.module import TerraformError, TerraformModule

CANARY = "canary-"


@dataclass(frozen=True)
class Canaries:
    """Makes them like any worker, through Terraform. ``create_limit_s``, ``delete_limit_s``: seconds for apply, destroy."""

    module: TerraformModule
    variables: Callable[[str, Flavor, Kept], dict[str, object]]
    resources: Resources
    guests: Guests
    resumption: Resumption
    create_limit_s: float
    delete_limit_s: float

    def try_snapshot(self, one: Kept, flavor: Flavor, test: SmokeTest, progress: Progress) -> Found:
        """What a machine of the snapshot has. Nothing of it is left, whatever happens.

        Raises CumulusError where it cannot be made, or an app does not run there.
        """
        worker, console = f"{CANARY}{number_in(one.name)}", Console(self.resources)
        try:
            with progress.step(f"Starting a machine of snapshot {one.name} as {flavor.name}") as step:
                login = self._made(worker, self.variables(worker, flavor, one))
                step.note("made; waiting until it lets us in")
                self.guests.await_answer(login, lambda: self._lost(worker), lambda _: step.note(console.log(worker)))
            return self._run_test(login, test, progress)
        finally:
            self._remove(worker, progress)

    def clear(self, progress: Progress) -> None:
        """Remove the machines of attempts that were killed."""
        left = {*self.module.store.names(), *(one.worker for one in self.resources.listed())}
        for worker in sorted(name for name in left if name.startswith(CANARY)):
            progress.say(f"{worker} is there from an earlier attempt")
            self._remove(worker, progress)

    def _made(self, worker: str, variables: dict[str, object]) -> Login:
        try:
            return self.guests.login(self.resumption.make(self.module, worker, variables, self.create_limit_s))
        except TerraformError as problem:
            # Cinder's quota, or no host that would take it: only Nova says so.
            fault = Console(self.resources).fault(worker)
            raise InfrastructureError(f"{problem.message}{f' ({fault})' if fault else ''}") from problem

    def _run_test(self, login: Login, test: SmokeTest, progress: Progress) -> Found:
        try:
            with progress.step("Mounting the storage there"):
                self.guests.mount(login)
        except CommandFailed as problem:
            raise InfrastructureError(f"a machine of the new snapshot is no worker: {_last(problem)}") from None
        found = run_smoke_test(lambda script: self.guests.run(login, script, CHECK_LIMIT_S), test, progress)
        self.guests.run(login, UNMOUNT, CHECK_LIMIT_S)
        return found

    def _lost(self, worker: str) -> str:
        return "" if any(machine.alive for machine in self.resources.machines(worker)) else "is not running any more"

    def _remove(self, worker: str, progress: Progress) -> None:
        """As the sweeper would: what Terraform does not know is found by its metadata."""
        try:
            with progress.step(f"Removing the machine {worker}") as step:
                self._destroy(worker, progress)
                for resource in self.resources.listed(worker):
                    step.note(f"{resource.kind} {resource.identifier}")
                    self.resources.delete(resource)
        except CumulusError as problem:
            progress.say(f"{worker} could not be removed, the next attempt or the sweeper will do it: {problem.message}")

    def _destroy(self, worker: str, progress: Progress) -> None:
        try:
            self.module.destroy(worker, self.delete_limit_s)
        except TerraformError as problem:
            progress.say(f"Terraform could not remove {worker}: {problem.message}")
            self.module.set_aside(worker)


def _last(problem: CommandFailed) -> str:
    lines = problem.output.strip().splitlines()
    return lines[-1] if lines else problem.message
