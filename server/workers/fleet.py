"""The machines of this installation: making one with its app started, and removing it. Joins Terraform, Ansible and the cloud.

Knows no rows: what a step means for a job or a worker is decided by its caller.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from server.catalog.flavors import Flavor
from server.errors import CloudError, InfrastructureError, TemplateMissing
from server.home.files import clear, own_folder
from server.progress import Advance, unheard
from server.settings import Settings
from server.workers.ansible.connection import Host
from server.workers.ansible.playbooks import Playbooks, PlayOutcome
from server.workers.clouds.base import Cloud, Layout
from server.workers.clouds.capabilities import HasConsole, HasPrewarming, HasQuota, HasResumption
from server.workers.orphaned_processes import OrphanReaper
from server.workers.own_start import OwnStart
from server.workers.terraform.module import TerraformModule

STATUS_LIMIT_S = 15.0
BOOT_LOOK_S = 1.0
log = structlog.get_logger()


class PlayFailed(InfrastructureError):
    """An Ansible play failed; ``output`` is all that it printed."""

    code = "play_failed"

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


class MachineSilent(InfrastructureError):
    """A machine that was made does not answer."""

    code = "machine_silent"


class MachineRemains(InfrastructureError):
    """Terraform says that a machine is gone, the cloud says that it is not."""

    code = "machine_remains"


@dataclass(frozen=True)
class Address:
    """Where a machine answers."""

    host: str
    port: int
    user: str = ""
    host_key: str = ""
    boot: str = ""

    @classmethod
    def of(cls, outputs: dict[str, Any]) -> "Address":
        """From the outputs of the worker module; empty where there are none."""
        values = (outputs.get("address"), outputs.get("port"), outputs.get("user"), outputs.get("host_key"), outputs.get("boot"))
        host, port, user, key, boot = values
        return cls(str(host or ""), int(port or 0), str(user or ""), str(key or ""), str(boot or ""))


class Fleet:
    """Makes and removes workers on one cloud; each is a workspace of the cloud's worker module."""

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
        self._playbooks = playbooks
        self._settings = settings
        self._former = OrphanReaper(module.data, self._plays)

    def layout(self, worker: str, job_dir: Path) -> Layout:
        """Where a job's things are on that worker."""
        return self._cloud.layout(worker, job_dir)

    def admit(self, job_dir: Path) -> None:
        """Let workers do their work in a job's folder, whose orders are written. Raises OSError."""
        self._cloud.admit(job_dir)

    def exists(self, worker: str) -> bool:
        """Whether the cloud lists the machine itself, and not only what a dead one has left."""
        return any(resource.kind == "machine" for resource in self._cloud.resources(worker))

    def alive(self, worker: str) -> bool:
        """Whether the machine exists and runs, by the cloud's word."""
        return self._cloud.alive(worker)

    def made(self, worker: str) -> frozenset[tuple[str, bool]]:
        """What Terraform knows to be made of the machine: addresses, and whether only by half."""
        return frozenset((address, tainted) for address, (_, tainted) in self._module.store.made(worker).items())

    def is_copying(self, worker: str) -> bool:
        """Whether the cloud still copies the machine's disk. Raises CloudError."""
        return isinstance(self._cloud, HasResumption) and self._cloud.resumption.is_copying(worker)

    def console_log(self, worker: str) -> str:
        """The last lines of the machine's console."""
        return self._cloud.console.log(worker) if isinstance(self._cloud, HasConsole) else ""

    def fault(self, worker: str) -> str:
        """Why the machine failed, in the cloud's own words; "" where it did not."""
        return self._cloud.console.fault(worker) if isinstance(self._cloud, HasConsole) else ""

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
        """Make the machine, have the app started on it; ``on_machine`` hears where it is as soon as it exists.

        A machine that knows its job starts it by itself when it has booted, which ``has_started`` tells; only where that does not
        happen the start play gives the order. Elsewhere the play runs from the beginning and waits for the address, so that
        Ansible's own start costs no extra time. May be repeated after a crash. Raises CloudError, TerraformError, PlayFailed.
        """
        variables = {**self._variables(worker, flavor), **layout.orders}
        if layout.orders and self._cloud.images.starts_jobs_at_boot():
            address = self._made(worker, variables, on_machine)
            if not self._own_start.awaited(address.host, address.port, has_started, unwanted, self._settings.create_timeout_s):
                self._order(worker, address, layout, unwanted)
            return
        failed = threading.Event()
        with ThreadPoolExecutor(1, thread_name_prefix="play") as pool:
            directory = self._directory(worker, "start")
            play = pool.submit(self._play, "start", directory, layout, lambda: failed.is_set() or unwanted())
            try:
                address = self._made(worker, variables, on_machine)
                self._await_boot(worker, address, layout, unwanted)
                self._playbooks.announce(directory, self._host(worker, address, layout))
            except BaseException:
                failed.set()  # or the play would wait for its machine as long as it is wanted
                raise
            _require_success(play.result())

    def _made(self, worker: str, variables: dict[str, object], on_machine: Callable[[Address], None]) -> Address:
        address = Address.of(self._module.apply(worker, variables, self._settings.making_limit_s))
        on_machine(address)
        return address

    def _order(self, worker: str, address: Address, layout: Layout, unwanted: Callable[[], bool]) -> None:
        directory = self._directory(worker, "start")
        self._playbooks.announce(directory, self._host(worker, address, layout))
        _require_success(self._play("start", directory, layout, unwanted))

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
        address = self._made(worker, self._variables(worker, flavor), on_machine)
        layout = self._cloud.layout(worker, Path(worker))
        directory = self._directory(worker, "ready")
        self._playbooks.announce(directory, self._host(worker, address, layout), persist_s)
        limit_s = self._settings.create_timeout_s
        if not self._playbooks.await_answer(directory, layout.status_command, "idle", limit_s, unwanted) and not unwanted():
            raise MachineSilent(f"{worker} does not say that it is idle after {limit_s:.0f} s")

    def start(self, worker: str, layout: Layout, *, on_machine: Callable[[Address], None], unwanted: Callable[[], bool]) -> None:
        """Start the app on a machine that was made before. May be repeated. Raises MachineSilent, PlayFailed."""
        self._former.settle(worker, self._settings.making_limit_s)
        if not self._cloud.alive(worker):
            raise MachineSilent(f"{worker} was ready and is there no longer")
        outputs = self._module.store.outputs(worker)
        if not outputs.get("id"):
            raise MachineSilent(f"{worker} is not in its state any more: nobody knows where it answers")
        address = Address.of(outputs)
        on_machine(address)
        self._order(worker, address, layout, unwanted)

    def is_of_current_snapshot(self, worker: str) -> bool:
        """Whether a machine made now would be made of the same snapshot, or none could be made now."""
        try:
            current = self._cloud.images.current()
        except (TemplateMissing, CloudError):
            return True
        return bool(self._module.store.variables(worker).get("snapshot") == current)

    def snapshot_of(self, worker: str) -> str:
        """The snapshot that the machine was made of; "" where nobody knows, or it was not made yet."""
        return str(self._module.store.variables(worker).get("snapshot") or "")

    def remove(self, worker: str, job_dir: Path, *, at_rest: bool = False, without_terraform: bool = False) -> None:
        """Stop what runs on the machine, destroy it, ask the cloud whether it is gone. May be repeated.

        What Terraform does not know of (it was killed before it wrote its state) is removed by its tag. ``at_rest``: nothing
        runs there and nothing is unwritten, so there is nothing to stop. ``without_terraform``: all is removed by its tag, for
        a Terraform that cannot. Raises TerraformError, MachineRemains.
        """
        if at_rest:
            self._former.settle(worker, self._settings.making_limit_s)
        else:
            self.stop_job(worker, job_dir)
        if without_terraform or not self._module.store.can_destroy(worker):
            kept = self._module.set_aside(worker)
            log.warning("a machine is removed by its tag, without terraform", worker=worker, kept=str(kept or ""))
        else:
            self._delete_unknown_machine(worker)
            self._module.destroy(worker, self._settings.removal_limit_s)
        if self._delete_all(worker) and self._cloud.resources(worker):
            raise MachineRemains(f"the cloud still has something of {worker}")

    def runs(self, worker: str, job_dir: Path) -> bool | None:
        """Whether a job is at work on the machine, by its own word; None where it does not answer."""
        layout = self._cloud.layout(worker, job_dir)
        host = self._host(worker, Address.of(self._module.store.outputs(worker)), layout)
        directory = self._directory(worker, "status")
        self._playbooks.announce(directory, host)
        said = self._playbooks.ask(directory, layout.status_command, STATUS_LIMIT_S)
        return None if said is None else said.startswith("running")

    def login_command(self, worker: str, job_dir: Path) -> str:
        """What an administrator types to log in on the machine."""
        layout = self._cloud.layout(worker, job_dir)
        host = self._host(worker, Address.of(self._module.store.outputs(worker)), layout)
        return self._playbooks.login_command(self._directory(worker, "login"), host)

    def stop_job(self, worker: str, job_dir: Path) -> bool:
        """End what runs on the machine; whether it is certain that nothing does."""
        self._former.settle(worker, self._settings.making_limit_s)
        outputs = self._module.store.outputs(worker)
        if not self._cloud.alive(worker):
            return True
        return bool(outputs.get("address")) and self._tear_down(worker, Address.of(outputs), self._cloud.layout(worker, job_dir))

    def remove_all(self, jobs: Path, advance: Advance = unheard) -> None:
        """Remove every worker of this installation. ``advance``: in workers. Raises as :meth:`remove`."""
        workers = self._module.store.workspaces()
        for number, worker in enumerate(workers):
            advance(number, len(workers))
            self.remove(worker, jobs / worker)

    def workspaces(self) -> list[str]:
        """Names of all workspaces, without a look into them, and of those that have left a trace."""
        return self._module.store.names()

    def former_workers(self) -> list[str]:
        """Names of the workers that an earlier controller's terraform or ansible was found at work for, and not settled since."""
        return self._former.workers()

    def forget_old_plays(self, now: float) -> None:
        """Remove the records of plays that are older than the setting."""
        for entry in self._plays.iterdir() if self._plays.is_dir() else ():
            with suppress(FileNotFoundError):  # the connection of a play has ended meanwhile
                if now - entry.lstat().st_mtime > self._settings.play_retention_s:
                    clear(entry)

    def forget_unused(self, now: float) -> None:
        """Have the cloud remove what it keeps for later machines and no machine needs. Raises CumulusError."""
        if isinstance(self._cloud, HasPrewarming):
            self._cloud.prewarming.prune(now)

    def _variables(self, worker: str, flavor: Flavor) -> dict[str, object]:
        """What the machine is to be made with, once nothing stands in its way.

        A terraform that was killed or refused has not written down all that the cloud has made for it: that is gone on with, or
        removed where the cloud cannot. Raises CloudError, TerraformError, TemplateMissing.
        """
        self._former.settle(worker, self._settings.making_limit_s)
        before = self._module.store.variables(worker)
        if before and isinstance(self._cloud, HasResumption):
            self._cloud.resumption.take_up(worker, self._module)
        if not self._module.store.state(worker).get("resources"):
            if worker in self._module.store.names():
                self._delete_all(worker)
            if isinstance(self._cloud, HasQuota):
                self._cloud.quota.require_room(flavor)
        variables = self._cloud.terraform_vars(worker, flavor)
        # What was begun stays what it is, whatever was promoted meanwhile: the job's record names its snapshot.
        return {**variables, "snapshot": before["snapshot"]} if before.get("snapshot") and self.made(worker) else variables

    def _await_boot(self, worker: str, address: Address, layout: Layout, unwanted: Callable[[], bool]) -> None:
        """Where the cloud knows no more than that the machine was switched on: until it answers, within the time for creation.

        One that never does is left to the play, which says why.
        """
        if self._cloud.boots_after_creation:
            directory, limit_s = self._directory(worker, "boot"), self._settings.create_timeout_s
            self._playbooks.announce(directory, self._host(worker, address, layout))
            self._playbooks.await_answer(directory, layout.status_command, None, limit_s, unwanted, BOOT_LOOK_S)

    def _delete_unknown_machine(self, worker: str) -> None:
        """Where an apply never came to its end, the machine may be there and not in the state, and hold on to what is.

        A boot volume cannot be taken from its server, so that no destroy would ever succeed.
        """
        if not self._module.store.outputs(worker).get("id"):
            for resource in self._cloud.resources(worker):
                if resource.kind == "machine":
                    self._cloud.delete(resource)

    def _delete_all(self, worker: str) -> bool:
        """Whether there was anything."""
        found = self._cloud.resources(worker)
        for resource in found:
            self._cloud.delete(resource)
        return bool(found)

    @property
    def _plays(self) -> Path:
        return self._settings.home / "plays"

    def _directory(self, worker: str, phase: str) -> Path:
        """One private folder for each worker and phase; an earlier try's is replaced."""
        directory = self._plays / f"{worker}.{phase}"
        own_folder(self._plays)
        clear(directory)
        return directory

    def _play(self, phase: str, directory: Path, layout: Layout, cancelled: Callable[[], bool]) -> PlayOutcome:
        command = layout.start_command if phase == "start" else layout.stop_command
        variables = {f"cumulus_{'start' if phase == 'start' else 'stop'}_command": list(command)}
        return self._playbooks.run(
            f"{phase}.yml", directory, variables, self._settings.play_timeout_s, cancelled, layout.connection
        )

    def _tear_down(self, worker: str, address: Address, layout: Layout) -> bool:
        """Whether the job's end was confirmed. A machine that does not answer is destroyed all the same."""
        directory = self._directory(worker, "teardown")
        self._playbooks.announce(directory, self._host(worker, address, layout))
        return self._play("teardown", directory, layout, lambda: False).ok

    def _host(self, worker: str, address: Address, layout: Layout) -> Host:
        key = self._cloud.ssh_key
        where = (address.host, address.port, address.user, address.host_key)
        return Host(worker, layout.connection, *where, key, layout.shell, layout.proxy)


def _require_success(outcome: PlayOutcome) -> None:
    if not outcome.ok:
        raise PlayFailed(outcome.message, outcome.output)
