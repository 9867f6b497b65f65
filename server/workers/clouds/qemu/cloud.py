"""The cloud ``qemu``: virtual machines of this computer, as the controller sees them. Workers are made by Terraform only."""

import sys
from pathlib import Path

from server.catalog.flavors import Flavor
from server.errors import SetupMissing
from server.settings import CloudName, Settings
from server.workers.clouds.base import Cloud, Layout, Resource
from server.workers.clouds.qemu import guest_shell
from server.workers.clouds.qemu.command import HOST_SEEN_BY_GUEST
from server.workers.clouds.qemu.dial import dial_command
from server.workers.clouds.qemu.host import QemuHost
from server.workers.clouds.qemu.images.worker_images import QemuImages
from server.workers.clouds.qemu.inventory import MachineConsole, MachineInventory, MachineMemory
from server.workers.clouds.qemu.machine import Machines
from server.workers.clouds.qemu.prewarming import QemuPrewarmer

WORK_DIR = "/var/lib/cumulus/job"
JOB_DIR = "/srv/job"
WORKER_PROGRAM = "/usr/local/sbin/cumulus-worker"


class QemuCloud(Cloud):
    """One installation's machines on this computer; Terraform's provider waits until one has booted."""

    name = CloudName.QEMU
    images: QemuImages

    def __init__(self, settings: Settings, server_id: str) -> None:
        self.host = QemuHost(settings, server_id)
        self.images = QemuImages(self.host)
        self.prewarming = QemuPrewarmer(self.host, self.images)
        self._inventory = MachineInventory(self.host.home, server_id)
        self.console = MachineConsole(self.host.home)
        self.memory = MachineMemory(self._inventory)

    @property
    def ssh_key(self) -> Path:
        """The private key that logs in on workers."""
        return self.host.home.key

    def problems(self) -> list[str]:
        """What this computer lacks, one line each with its remedy."""
        return self.host.problems()

    def start(self) -> None:
        """Start provider and NFS server, or adopt the NFS server that runs. Raises SetupMissing before it makes anything."""
        if problems := self.problems():
            raise SetupMissing("\n".join(problems))
        self.host.start()

    def stop(self) -> None:
        """End the provider, and the NFS server unless a machine still needs it."""
        self.host.stop()

    def terraform_env(self) -> dict[str, str]:
        """The mirror's configuration and the provider that runs (started here where it does not)."""
        return self.host.terraform_env()

    def plain_terraform_env(self) -> dict[str, str]:
        """The same for a terraform that starts a provider of its own."""
        return self.host.plain_terraform_env()

    def terraform_vars(self, worker: str, flavor: Flavor) -> dict[str, object]:
        """The values of the worker module's variables. Raises TemplateMissing where there is no snapshot.

        The NFS server is started where it does not run: the machine will need it.
        """
        self.host.nfs_port()
        return self.host.variables(worker, flavor, self.images.current())

    def layout(self, worker: str, job_dir: Path) -> Layout:
        """The job's folder is mounted on the worker by its start command."""
        machines, port = Machines(self.host.home), str(self.host.known_nfs_port())
        mounts = ("--nfs", HOST_SEEN_BY_GUEST, "--port", port, "--job", job_dir.name)
        start, stop, status = (WORKER_PROGRAM, "start", *mounts), (WORKER_PROGRAM, "stop"), (WORKER_PROGRAM, "status")
        shell = (sys.executable, "-I", "-m", guest_shell.__name__, str(machines.identity(worker)))
        return Layout("shell", WORK_DIR, JOB_DIR, start, stop, status, shell, dial_command(machines.folder(worker)))

    def admit(self, job_dir: Path) -> None:
        """Let the NFS server's user at the job's folder. Raises OSError, InfrastructureError, NotFound."""
        self.host.admit(job_dir)

    def resources(self, worker: str = "") -> list[Resource]:
        """Machines that run, what dead ones left, and snapshots that were never finished."""
        return self._inventory.listed(worker)

    def alive(self, worker: str) -> bool:
        """Whether the worker's process lives."""
        return self._inventory.alive(worker)

    def delete(self, resource: Resource) -> None:
        """End the machine if it runs, and delete what it owned; or remove the snapshot that was never finished."""
        self._inventory.delete(resource)
