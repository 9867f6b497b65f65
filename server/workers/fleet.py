"""The workers of this installation: making one with its app started, and removing it. Joins Terraform, Ansible and the cloud.

Knows no rows: what a step means for a job or a worker is decided by its caller.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from server.catalog.flavors import Flavor
from server.errors import InfrastructureError
from server.progress import Advance, unheard
from server.settings import Settings
from server.workers.address import Address
from server.workers.ansible.playbooks import Playbooks
from server.workers.clouds.base import Cloud, Layout
from server.workers.clouds.capabilities import HasPrewarming
from server.workers.machine_inspector import MachineInspector
from server.workers.orphaned_processes import OrphanReaper
from server.workers.own_start import OwnStart
from server.workers.provisioning import Provisioning
from server.workers.terraform.module import TerraformModule
from server.workers.worker_plays import WorkerPlays

log = structlog.get_logger()


class MachineSilent(InfrastructureError):
    """A machine that was made does not answer."""

    code = "machine_silent"


class MachineRemains(InfrastructureError):
    """Terraform says that a machine is gone, the cloud says that it is not."""

    code = "machine_remains"


class Fleet:
    """Makes and removes workers on one cloud; each is a workspace of the cloud's worker module. ``machines``: looks at them."""

    def __init__(
        self,
        cloud: Cloud,
        module: TerraformModule,
        playbooks: Playbooks,
        settings: Settings,
        own_start: OwnStart = OwnStart(),  # noqa: B008  # it holds no state
    ) -> None:
        self._cloud = cloud
        self._own_start = own_start
        self._module = module
        self._settings = settings
        self._plays = WorkerPlays(cloud, playbooks, settings)
        orphans = OrphanReaper(module.data, self._plays.folder)
        self._provisioning = Provisioning(cloud, module, settings, orphans)
        self.machines = MachineInspector(cloud, module, orphans)

    def layout(self, worker: str, job_dir: Path) -> Layout:
        """Where a job's things are on that worker."""
        return self._cloud.layout(worker, job_dir)

    def admit(self, job_dir: Path) -> None:
        """Let workers do their work in a job's folder, whose plan is written. Raises OSError."""
        self._cloud.admit(job_dir)

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
        """Make the machine, have the app started on it; ``on_machine`` gets its address as soon as it exists.

        A machine that knows its job starts it by itself when it has booted, which ``has_started`` tells; only where that does not
        happen the start play gives the order. Elsewhere the play runs from the beginning and waits for the address, so that
        Ansible's own start costs no extra time. May be repeated after a crash. Raises CloudError, TerraformError, PlayFailed.
        """
        variables = {**self._provisioning.variables(worker, flavor), **layout.job_variables}
        if layout.job_variables and self._cloud.images.starts_jobs_at_boot():
            address = self._provisioning.apply(worker, variables, on_machine)
            if not self._own_start.awaited(address.host, address.port, has_started, unwanted, self._settings.create_timeout_s):
                self._plays.start(worker, address, layout, unwanted)
            return
        failed = threading.Event()
        with ThreadPoolExecutor(1, thread_name_prefix="play") as pool:
            directory = self._plays.open(worker, "start")
            play = pool.submit(self._plays.play_start, directory, layout, lambda: failed.is_set() or unwanted())
            try:
                address = self._provisioning.apply(worker, variables, on_machine)
                self._plays.await_boot(worker, address, layout, unwanted)
                self._plays.announce(directory, worker, address, layout)
            except BaseException:
                failed.set()  # or the play would wait for its machine as long as it is wanted
                raise
            play.result()

    def prepare(
        self,
        worker: str,
        flavor: Flavor,
        *,
        persist_s: float,
        on_machine: Callable[[Address], None],
        unwanted: Callable[[], bool],
    ) -> None:
        """Make a machine that waits for a job; returns when it answers, or is ``unwanted``.

        The connection to it is kept for ``persist_s`` seconds: the first login is what costs most. May be repeated. Raises
        CloudError, TerraformError, MachineSilent.
        """
        address = self._provisioning.apply(worker, self._provisioning.variables(worker, flavor), on_machine)
        layout = self._cloud.layout(worker, Path(worker))
        if not self._plays.await_idle(worker, address, layout, persist_s, unwanted) and not unwanted():
            raise MachineSilent(f"{worker} does not say that it is idle after {self._settings.create_timeout_s:.0f} s")

    def start(self, worker: str, layout: Layout, *, on_machine: Callable[[Address], None], unwanted: Callable[[], bool]) -> None:
        """Start the app on a machine that was made before. May be repeated. Raises MachineSilent, PlayFailed."""
        self._provisioning.end_orphans(worker)
        if not self._cloud.alive(worker):
            raise MachineSilent(f"{worker} was ready and is there no longer")
        outputs = self._module.store.outputs(worker)
        if not outputs.get("id"):
            raise MachineSilent(f"{worker} is not in its state any more: nobody knows where it answers")
        address = Address.of(outputs)
        on_machine(address)
        self._plays.start(worker, address, layout, unwanted)

    def remove(self, worker: str, job_dir: Path, *, at_rest: bool = False, without_terraform: bool = False) -> None:
        """Stop what runs on the machine, destroy it, ask the cloud whether it is gone. May be repeated.

        What Terraform does not know of (it was killed before it wrote its state) is removed by its tag. ``at_rest``: nothing
        runs there and nothing is unwritten, so there is nothing to stop. ``without_terraform``: all is removed by its tag, for
        a Terraform that cannot. Raises TerraformError, MachineRemains.
        """
        if at_rest:
            self._provisioning.end_orphans(worker)
        else:
            self.stop_job(worker, job_dir)
        if without_terraform or not self._module.store.can_destroy(worker):
            kept = self._module.set_aside(worker)
            log.warning("a machine is removed by its tag, without terraform", worker=worker, kept=str(kept or ""))
        else:
            self._provisioning.delete_unknown_machine(worker)
            self._module.destroy(worker, self._settings.removal_limit_s)
        if self._provisioning.delete_all(worker) and self._cloud.resources(worker):
            raise MachineRemains(f"the cloud still has something of {worker}")

    def runs(self, worker: str, job_dir: Path) -> bool | None:
        """Whether a job is at work on the machine, as it says itself; None where it does not answer."""
        status = self._plays.status(worker, self._address(worker), self._cloud.layout(worker, job_dir))
        return None if status is None else status.startswith("running")

    def login_command(self, worker: str, job_dir: Path) -> str:
        """What an administrator types to log in on the machine."""
        return self._plays.login_command(worker, self._address(worker), self._cloud.layout(worker, job_dir))

    def stop_job(self, worker: str, job_dir: Path) -> bool:
        """End what runs on the machine; whether it is certain that nothing does."""
        self._provisioning.end_orphans(worker)
        address = self._address(worker)
        if not self._cloud.alive(worker):
            return True
        return bool(address.host) and self._plays.tear_down(worker, address, self._cloud.layout(worker, job_dir))

    def remove_all(self, jobs: Path, advance: Advance = unheard) -> None:
        """Remove every worker of this installation. ``advance``: in workers. Raises as :meth:`remove`."""
        workers = self._module.store.workspaces()
        for number, worker in enumerate(workers):
            advance(number, len(workers))
            self.remove(worker, jobs / worker)

    def forget_old_plays(self, now: float) -> None:
        """Remove the records of plays that are older than the setting."""
        self._plays.prune(now)

    def forget_unused(self, now: float) -> None:
        """Have the cloud remove what it keeps for later machines and no machine needs. Raises CumulusError."""
        if isinstance(self._cloud, HasPrewarming):
            self._cloud.prewarming.prune(now)

    def _address(self, worker: str) -> Address:
        return Address.of(self._module.store.outputs(worker))
