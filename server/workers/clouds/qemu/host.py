"""What the qemu cloud runs and keeps on this computer: the login key, the NFS server and the Terraform provider.

Owns their start and stop, and what Terraform is given. The machines themselves are in inventory.py.
"""

from pathlib import Path

from server.catalog.flavors import Flavor
from server.errors import NotFound
from server.home.files import own_folder
from server.settings import Settings
from server.workers.clouds.base import worker_variables
from server.workers.clouds.keys import ensure_key
from server.workers.clouds.qemu.accelerator import VARIABLE, accel_problems
from server.workers.clouds.qemu.command import Shape
from server.workers.clouds.qemu.host_setup import setup_problems
from server.workers.clouds.qemu.images.mirror import install_mirror
from server.workers.clouds.qemu.network.nfs import NfsServer, user_problems
from server.workers.clouds.qemu.network.uplink import uplink_problems
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.process import guests_of
from server.workers.clouds.qemu.provider.shared import SharedProvider
from server.workers.clouds.qemu.rights import admit_worker, wants_internet


class QemuHost:
    """The services of one installation's machines."""

    def __init__(self, settings: Settings, server_id: str) -> None:
        self.settings = settings
        self.server_id = server_id
        self.home = QemuHome(settings.home, settings.accelerator)
        data, jobs = settings.storage / "data", settings.storage / "jobs"
        self._nfs = NfsServer(self.home, server_id, data, jobs, settings.nfs_user, settings.nfs_port)
        self._provider = SharedProvider(settings.home, settings.home / "terraform" / "provider.log", settings.accelerator)

    def problems(self) -> list[str]:
        """What this computer lacks, one line each with its remedy."""
        user = user_problems(self.settings.nfs_user, self.settings.storage / "data")
        return [*setup_problems(self.settings.home), *user, *accel_problems(self.settings.accelerator)]

    def prepare(self) -> None:
        """Write what terraform and ssh need: the mirror and the login key. May be repeated."""
        own_folder(self.home.root)
        self.home.root.chmod(0o700)  # who may open a machine's sockets owns the machine
        install_mirror(self.home)
        ensure_key(self.home.key)

    def start(self) -> None:
        """Start provider and NFS server, or adopt the NFS server that runs."""
        self.prepare()
        self._nfs.start()
        self._provider.reattach()

    def stop(self) -> None:
        """End the provider, and the NFS server unless a machine still needs it."""
        self._provider.stop()
        if not guests_of(self.server_id):
            self._nfs.stop()

    def terraform_env(self) -> dict[str, str]:
        """For a terraform that the controller starts, with the provider that runs (started here where it does not)."""
        install_mirror(self.home)
        return {**self.plain_terraform_env(), "TF_REATTACH_PROVIDERS": self._provider.reattach()}

    def plain_terraform_env(self) -> dict[str, str]:
        """The mirror's configuration, and what a provider of its own needs."""
        return {"TF_CLI_CONFIG_FILE": str(self.home.terraform_rc), VARIABLE: str(self.settings.accelerator)}

    def variables(self, worker: str, flavor: Flavor, snapshot: str) -> dict[str, object]:
        """The values of a module's variables, for a worker of that snapshot or for the template itself."""
        key, disk_gb = ensure_key(self.home.key), self._disk_gb(flavor)
        return worker_variables(self.server_id, worker, flavor, disk_gb=disk_gb, snapshot=snapshot, ssh_public_key=key)

    def shape(self, flavor: Flavor) -> Shape:
        """The size of a machine of that flavor."""
        return Shape(flavor.cpus, flavor.memory_gb * 1024, self._disk_gb(flavor))

    def nfs_port(self) -> int:
        """The port of the NFS server, which runs afterwards."""
        return self._nfs.start()

    def known_nfs_port(self) -> int:
        """The port that the NFS server has or had, 0 before its first start; nothing is started."""
        return self._nfs.port

    def nfs_pid(self) -> int | None:
        """The NFS server's process; None where none runs."""
        return self._nfs.pid

    def admit(self, job_dir: Path) -> None:
        """Let the NFS server's user write to the folder, and read its job's input; and its app to the internet if it says so.

        Raises OSError, InfrastructureError, NotFound where no machine of this computer gets there.
        """
        admit_worker(job_dir, self.settings.storage / "data", self.settings.nfs_user)
        if wants_internet(job_dir):
            if lacking := uplink_problems():
                raise NotFound("; ".join(lacking))
            self._nfs.open_uplink()

    def _disk_gb(self, flavor: Flavor) -> int:
        return flavor.disk_gb or self.settings.worker_disk_gb
