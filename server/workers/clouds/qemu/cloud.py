"""The cloud ``qemu``: virtual machines of this computer, its NFS server and its Terraform provider, as the controller sees
them.

Owns their start and stop, and looking for machines. Workers are made by Terraform only.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from server.catalog.flavors import Flavor
from server.errors import CumulusError, NotFound, SetupMissing
from server.home.files import own_folder
from server.settings import CloudName, Settings
from server.workers.clouds.base import Layout, MemoryUse, Quota, Resource, worker_variables
from server.workers.clouds.keys import ensure_key
from server.workers.clouds.machine_locks import is_held
from server.workers.clouds.qemu import guest_shell
from server.workers.clouds.qemu.accelerator import VARIABLE, accel_problems
from server.workers.clouds.qemu.command import HOST_SEEN_BY_GUEST, Shape
from server.workers.clouds.qemu.dial import dial_command
from server.workers.clouds.qemu.host_setup import setup_problems
from server.workers.clouds.qemu.images.build import recipe
from server.workers.clouds.qemu.images.canary import CANARY
from server.workers.clouds.qemu.images.images import Image, read_image
from server.workers.clouds.qemu.images.mirror import install_mirror
from server.workers.clouds.qemu.images.prewarming import SNAPSHOT, Prewarming, missing
from server.workers.clouds.qemu.images.snapshot import half_made, remove_half_made, restore_current
from server.workers.clouds.qemu.images.template import QemuTemplate
from server.workers.clouds.qemu.machine import TEMPLATE, Machines
from server.workers.clouds.qemu.network.nfs import NfsServer, user_problems
from server.workers.clouds.qemu.network.uplink import uplink_problems
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.process import GuestName, find_process, guests_of
from server.workers.clouds.qemu.provider.shared import SharedProvider
from server.workers.clouds.qemu.rights import admit_worker, wants_internet
from server.workers.clouds.smoke_results import TriedApps
from server.workers.terraform.module import TerraformModule

OUTDATED = (
    "the snapshot was made by another version of Cumulus than this one: `cumulus template build --fresh` (what was installed on "
    "the template by hand is lost then), then `make snapshot`"
)
DAY_S = 24 * 3600
WORK_DIR = "/var/lib/cumulus/job"
JOB_DIR = "/srv/job"
WORKER_PROGRAM = "/usr/local/sbin/cumulus-worker"


class QemuCloud:
    """One installation's machines on this computer. Constructing it starts nothing."""

    name = CloudName.QEMU
    boots_after_creation = False  # the provider waits for it

    def __init__(self, settings: Settings, server_id: str) -> None:
        self._settings = settings
        self._server_id = server_id
        self._home = QemuHome(settings.home, settings.accelerator)
        self._machines = Machines(self._home)
        data, jobs = settings.storage / "data", settings.storage / "jobs"
        self._nfs = NfsServer(self._home, server_id, data, jobs, settings.nfs_user, settings.nfs_port)
        self._provider = SharedProvider(settings.home, settings.home / "terraform" / "provider.log", settings.accelerator)

    @property
    def ssh_key(self) -> Path:
        """The private key that logs in on workers."""
        return self._home.key

    def template(self) -> QemuTemplate:
        """What workers are copies of."""
        return QemuTemplate(self._settings, self)

    def check_snapshot(self) -> str:
        """What is worth knowing of the snapshot that workers are made from. Raises TemplateMissing where there is none."""
        return "" if self._promoted().recipe == recipe() else OUTDATED

    def current_snapshot(self) -> str:
        """The promoted one's name. Raises TemplateMissing."""
        return self._promoted().folder.name

    def starts_jobs_at_boot(self) -> bool:
        """A clone goes on where its template was: it is told over its virtio port."""
        return False

    def has_program(self, name: str) -> bool:
        """Whether a machine of the promoted snapshot has it. Raises TemplateMissing."""
        return self._promoted().has_program(name)

    def tried_apps(self, snapshot: str = "") -> TriedApps:
        """What the promoted snapshot remembers of its trial, or another one. Raises TemplateMissing."""
        return (read_image(self._home.snapshots / snapshot) if snapshot else self._promoted()).tried_apps()

    def problems(self) -> list[str]:
        """What this computer lacks, one line each with its remedy."""
        user = user_problems(self._settings.nfs_user, self._settings.storage / "data")
        return [*setup_problems(self._settings.home), *user, *accel_problems(self._settings.accelerator)]

    def site_problems(self) -> list[str]:
        """This computer is the site."""
        return []

    def start(self) -> None:
        """Start provider and NFS server, or adopt the NFS server that runs. Raises SetupMissing before it makes anything."""
        if problems := self.problems():
            raise SetupMissing("\n".join(problems))
        self.prepare()
        self._nfs.start()
        self._provider.reattach()

    def prepare(self) -> None:
        """Write what terraform and ssh need: the mirror and the login key. May be repeated."""
        own_folder(self._home.root)
        self._home.root.chmod(0o700)  # who may open a machine's sockets owns the machine
        install_mirror(self._home)
        ensure_key(self._home.key)

    def stop(self) -> None:
        """End the provider, and the NFS server unless a machine still needs it."""
        self._provider.stop()
        if not guests_of(self._server_id):
            self._nfs.stop()

    def terraform_env(self) -> dict[str, str]:
        """The same for one that the controller starts, with the provider that runs (started here where it does not)."""
        install_mirror(self._home)
        return {**self.plain_terraform_env(), "TF_REATTACH_PROVIDERS": self._provider.reattach()}

    def plain_terraform_env(self) -> dict[str, str]:
        """The mirror's configuration, and what a provider of its own needs."""
        return {"TF_CLI_CONFIG_FILE": str(self._home.terraform_rc), VARIABLE: str(self._settings.accelerator)}

    def said_by_terraform(self, text: str) -> str:
        """It knows the same addresses."""
        return text

    def terraform_vars(self, worker: str, flavor: Flavor) -> dict[str, object]:
        """The values of the worker module's variables. Raises TemplateMissing where there is no snapshot.

        The NFS server is looked at on the way: the machine will need it.
        """
        self._nfs.start()
        return self.variables(worker, flavor, self.current_snapshot())

    def variables(self, worker: str, flavor: Flavor, snapshot: str) -> dict[str, object]:
        """The same for any snapshot, or the template itself."""
        key, disk_gb = ensure_key(self._home.key), self._disk_gb(flavor)
        return worker_variables(self._server_id, worker, flavor, disk_gb=disk_gb, snapshot=snapshot, ssh_public_key=key)

    def quotas(self) -> list[Quota]:
        """No more than what this computer has, and the weights in flavors.tsv."""
        return []

    def require_room(self, flavor: Flavor) -> None:
        """The weights have been looked at."""

    def warm_up(self, flavor: Flavor, unwanted: Callable[[], bool]) -> None:
        """Make the memory image of the promoted snapshot for that flavor's machines, if there is none that fits."""
        self._warming().make(flavor, self._shape(flavor), unwanted)

    def sizes(self) -> None:
        """It makes machines of any."""

    def next_boot(self, flavor: Flavor) -> str:
        """``warm`` where there is a memory image that fits, else ``cold:`` and why."""
        try:
            why = missing(self._home, self._shape(flavor))
        except CumulusError as problem:
            why = problem.message
        return f"cold: {why}" if why else "warm"

    def tidy(self, now: float) -> None:
        """Read the memory images, and remove those that nobody needs."""
        self._warming().tidy(now - self._settings.warm_images_max_age_days * DAY_S)

    def nfs_port(self) -> int:
        """The port of the NFS server, which runs afterwards."""
        return self._nfs.start()

    def nfs_pid(self) -> int | None:
        """The NFS server's process; None where none runs."""
        return self._nfs.pid

    def layout(self, worker: str, job_dir: Path) -> Layout:
        """The job's folder is mounted on the worker by its start command."""
        mounts = ("--nfs", HOST_SEEN_BY_GUEST, "--port", str(self._nfs.port), "--job", job_dir.name)
        start, stop, status = (WORKER_PROGRAM, "start", *mounts), (WORKER_PROGRAM, "stop"), (WORKER_PROGRAM, "status")
        shell = (sys.executable, "-I", "-m", guest_shell.__name__, str(self._machines.identity(worker)))
        return Layout("shell", WORK_DIR, JOB_DIR, start, stop, status, shell, dial_command(self._machines.folder(worker)))

    def admit(self, job_dir: Path) -> None:
        """Let the NFS server's user write to the folder, and read its job's input; and its app to the internet if it says so.

        Raises OSError, InfrastructureError, NotFound where no machine of this computer gets there.
        """
        admit_worker(job_dir, self._settings.storage / "data", self._settings.nfs_user)
        if wants_internet(job_dir):
            if lacking := uplink_problems():
                raise NotFound("; ".join(lacking))
            self._nfs.open_uplink()

    def resources(self, worker: str = "") -> list[Resource]:
        """Machines that run, what dead ones left, and snapshots that were never finished.

        But not the template's machine, nor a canary that is being looked at.
        """
        running = guests_of(self._server_id)
        machines = [Resource("machine", worker, str(pid), True) for worker, pid in running.items()]
        left = [
            Resource("disk", name, str(self._machines.folder(name)), False)
            for name in self._machines.folders()
            if name not in running
        ]
        found = [one for one in machines + left if worker in ("", one.worker) and not self._spared(one.worker)]
        snapshots = [] if worker else half_made(self._home)
        return found + [Resource("snapshot", "", str(folder), False) for folder in snapshots]

    def take_up(self, worker: str, module: TerraformModule) -> None:
        """A machine is made in one step."""

    def is_copying(self, worker: str) -> bool:  # noqa: ARG002
        """It never takes long."""
        return False

    def alive(self, worker: str) -> bool:
        """Whether the worker's process lives."""
        return find_process(GuestName(self._server_id, worker).mark) is not None

    def memory_use(self, worker: str) -> MemoryUse | None:
        """The kernel's own sums over the pages of the machine's process; clones share those that they have not written to."""
        pid = find_process(GuestName(self._server_id, worker).mark)
        try:
            use = psutil.Process(pid).memory_full_info() if pid else None
        except psutil.Error:  # it ended, or is another user's
            return None
        return MemoryUse(use.rss, use.pss) if use else None

    def delete(self, resource: Resource) -> None:
        """End the machine if it runs, and delete what it owned; or remove the snapshot that was never finished."""
        if resource.kind == "snapshot":
            return remove_half_made(self._home, Path(resource.identifier))
        self._machines.remove(GuestName(self._server_id, resource.worker))

    def console_log(self, worker: str) -> str:
        """The last lines of the machine's console."""
        return self._machines.console(worker)

    def fault(self, worker: str) -> str:  # noqa: ARG002
        """Terraform tells all."""
        return ""

    def _warming(self) -> Prewarming:
        return Prewarming(self._home, self.template().canaries())

    def _shape(self, flavor: Flavor) -> Shape:
        return Shape(flavor.cpus, flavor.memory_gb * 1024, self._disk_gb(flavor))

    def _disk_gb(self, flavor: Flavor) -> int:
        return flavor.disk_gb or self._settings.worker_disk_gb

    def _spared(self, worker: str) -> bool:
        if worker.startswith(CANARY):
            return is_held(self._home.snapshot_lock, SNAPSHOT)
        record = self._machines.record(worker)
        if record is None:  # nobody knows any more how it was made
            return worker == TEMPLATE and self.alive(worker)
        return record.spec.persistent

    def _promoted(self) -> Image:
        restore_current(self._home)
        return read_image(self._home.current)
