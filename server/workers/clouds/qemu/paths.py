"""Where the qemu cloud keeps what, below ``$CUMULUS_HOME``. Owns the names only; creates nothing."""

from dataclasses import dataclass
from pathlib import Path

from server.cloud_settings.qemu import Accelerator

PROVIDER_ADDRESS = "cumulus.local/cumulus/qemu"
PROVIDER_VERSION = "0.1.0"


@dataclass(frozen=True)
class QemuHome:
    """The folders and files of one installation; ``home`` is ``$CUMULUS_HOME``. ``accelerator``: how its machines are to run."""

    home: Path
    accelerator: Accelerator = Accelerator.AUTO

    @property
    def root(self) -> Path:
        """All that belongs to the qemu cloud alone."""
        return self.home / "qemu"

    @property
    def machines(self) -> Path:
        """One folder per machine."""
        return self.root / "machines"

    @property
    def snapshots(self) -> Path:
        """One folder per snapshot, named by its number, and ``current``, a link to the promoted one."""
        return self.root / "snapshots"

    @property
    def current(self) -> Path:
        """The promoted snapshot."""
        return self.snapshots / "current"

    @property
    def snapshot_lock(self) -> Path:
        """Held by who takes a snapshot or builds the template."""
        return self.root / "snapshot.lock"

    @property
    def template(self) -> Path:
        """The template's disk, kernel and initial RAM disk."""
        return self.root / "template"

    @property
    def nfs(self) -> Path:
        """Configuration, port and log of the NFS server."""
        return self.root / "nfs"

    @property
    def nfs_config(self) -> Path:
        """The NFS server's configuration, by whose path its process is known."""
        return self.nfs / "ganesha.conf"

    @property
    def key(self) -> Path:
        """The private key that the controller logs in with; the public one lies beside it with ``.pub``."""
        return self.root / "ssh" / "id_ed25519"

    @property
    def accel(self) -> Path:
        """What is known of the accelerators."""
        return self.root / "accel.json"

    @property
    def mirror(self) -> Path:
        """The filesystem mirror that plain terraform takes the provider from."""
        return self.home / "terraform" / "mirror"

    @property
    def terraform_rc(self) -> Path:
        """The CLI configuration that points terraform to the mirror."""
        return self.home / "terraform" / "terraform.rc"
