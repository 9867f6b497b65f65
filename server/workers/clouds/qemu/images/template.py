"""The template on the qemu cloud: built, booted, and copied into snapshots. Owns the order of things and the lock, not the
steps.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from server.catalog.flavors import Flavor, read_default
from server.errors import SetupMissing
from server.progress import Progress
from server.settings import CHECKOUT, CloudName, Settings
from server.workers.clouds.images import SmokeTest, Snapshot
from server.workers.clouds.machine_locks import exclusive
from server.workers.clouds.qemu.host_setup import build_problems
from server.workers.clouds.qemu.images.build import Builder
from server.workers.clouds.qemu.images.canary import Canaries
from server.workers.clouds.qemu.images.images import is_image, read_image
from server.workers.clouds.qemu.images.prewarming import NEXT, SNAPSHOT
from server.workers.clouds.qemu.images.snapshot import Snapshots
from server.workers.clouds.qemu.machine import TEMPLATE, Machines
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.ssh import Login, run_over_ssh, ssh_command
from server.workers.clouds.template_turns import Say, turn
from server.workers.terraform.module import TerraformModule, terraform_binary

INFRA = CHECKOUT / "infra"
BOOT_LIMIT_S = 300.0
STOP_LIMIT_S = 180.0
GIVE_WAY_LIMIT_S = 30.0
LEASE_LIMIT_S = 60.0
UNTIL_STOPPED = "echo 4000000000 > /run/cumulus-lease"  # no lease ends before the administrator is done


class Surroundings(Protocol):
    """What the template needs of its cloud."""

    def problems(self) -> list[str]:
        """What this computer lacks."""

    def prepare(self) -> None:
        """Write what terraform and ssh need."""

    def terraform_env(self) -> dict[str, str]:
        """Variables for terraform."""

    def variables(self, worker: str, flavor: Flavor, snapshot: str) -> dict[str, object]:
        """Values of a module's variables."""

    def nfs_port(self) -> int:
        """The port of the NFS server, which runs afterwards."""

    def stop(self) -> None:
        """End what was started for this."""


class QemuTemplate:
    """The template of one installation."""

    def __init__(self, settings: Settings, cloud: Surroundings) -> None:
        self._settings = settings
        self._cloud = cloud
        self._home = QemuHome(settings.home, settings.accelerator)

    def build(self, progress: Progress, *, fresh: bool = False) -> None:
        """Make the template's disk with the apps on it; does nothing where there is one, unless ``fresh``."""
        with self._alone(progress.say):
            if not fresh and self.exists():
                progress.say("There is a template already")
                return
            self._require([*self._cloud.problems(), *build_problems(self._settings.home)])
            self._cloud.prepare()
            self._shut_down(progress)
            settings = self._settings
            own = (settings.converters, settings.template_variables)
            Builder(self._home, settings.debian_suite, settings.debian_mirror, *own).build(progress)

    def exists(self) -> bool:
        """Whether there is a template's disk."""
        return is_image(self._home.template)

    def boot(self, progress: Progress) -> str:
        """Start the template's machine; returns the command that logs in on it."""
        with self._alone(progress.say), self._started():
            read_image(self._home.template)
            with progress.step("Booting the template's machine") as step, Machines(self._home).followed(TEMPLATE, step):
                variables = self._cloud.variables(TEMPLATE, self._flavor(), TEMPLATE)
                made = self._module("template").apply(TEMPLATE, variables, BOOT_LIMIT_S)
                login = Login(int(made["port"]), self._home.key, str(made["host_key"]))
                run_over_ssh(login, UNTIL_STOPPED, LEASE_LIMIT_S)
        known = self._home.key.with_name("template.known_hosts")
        known.write_text(f"machine {login.host_key}\n")
        return " ".join(ssh_command(login, known))

    def stop(self, progress: Progress) -> None:
        """Shut the template's machine down; its disk stays."""
        with self._alone(progress.say):
            if not self._shut_down(progress):
                progress.say("The template's machine does not run")

    def take_snapshot(self, trial: SmokeTest, progress: Progress) -> Snapshot:
        """Copy the template, try a machine of the copy, promote it if all is well."""
        with self._alone(progress.say), self._started():
            self._shut_down(progress)
            return self._snapshots().take(self._flavor(), trial, progress)

    def snapshots(self) -> list[Snapshot]:
        """All that can be promoted, oldest first."""
        return self._snapshots().listed()

    def roll_back(self) -> str:
        """Promote the one before the promoted one; returns a sentence."""
        with self._alone():
            return f"Snapshot {self._snapshots().roll_back()} is promoted again"

    def prune(self, keep: int, progress: Progress) -> list[str]:
        """Remove all but the newest ``keep``; returns the names of those that are gone."""
        with self._alone(progress.say):
            before = self._snapshots().listed()
            with progress.step("Removing snapshots that nobody needs"):
                self._snapshots().prune(keep)
            left = {one.name for one in self._snapshots().listed()}
            return [one.name for one in before if one.name not in left]

    def _shut_down(self, progress: Progress) -> bool:
        """A disk that a machine writes to cannot be copied. False where none runs."""
        machines = Machines(self._home)
        if not machines.find(TEMPLATE):
            return False
        text = "Shutting the template's machine down"
        with self._started(), progress.step(text) as step, machines.followed(TEMPLATE, step):
            self._module("template").destroy(TEMPLATE, STOP_LIMIT_S)
        return True

    def _flavor(self) -> Flavor:
        return read_default(self._settings.flavors, self._settings.default_flavor)

    def canaries(self) -> Canaries:
        """The machines that try a snapshot and give it their memory. Raises SetupMissing where there is no terraform."""
        return Canaries(self._home, self._module("worker"), self._cloud.variables, self._cloud.nfs_port)

    def _snapshots(self) -> Snapshots:
        return Snapshots(self._home, self.canaries())

    def _module(self, name: str) -> TerraformModule:
        folder = f"{CloudName.QEMU}-{name}"
        path, home = INFRA / "terraform" / CloudName.QEMU / name, self._settings.home / "terraform" / folder
        return TerraformModule(path, home, terraform_binary(), self._cloud.terraform_env)

    def _require(self, problems: list[str]) -> None:
        if problems:
            raise SetupMissing("\n".join(dict.fromkeys(problems)))

    @contextmanager
    def _started(self) -> Iterator[None]:
        """The provider is started by the first terraform; whatever was started ends again, unless a machine needs it."""
        self._require(self._cloud.problems())
        self._cloud.prepare()
        try:
            yield
        finally:
            self._cloud.stop()

    @contextmanager
    def _alone(self, say: Say | None = None) -> Iterator[None]:
        """After other people's commands; what a controller makes on demand beside its jobs gives way within seconds."""
        lock = self._home.snapshot_lock
        with turn(lock, NEXT, say), exclusive(lock, SNAPSHOT, GIVE_WAY_LIMIT_S):
            yield
