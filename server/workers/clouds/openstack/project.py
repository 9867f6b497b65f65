"""One installation in a project of an OpenStack cloud: what all parts of the driver need to know of it."""

from dataclasses import dataclass
from pathlib import Path

from server.settings import CHECKOUT, CloudName, OpenstackBoot, Settings
from server.workers.clouds.openstack.client.access import Access
from server.workers.clouds.openstack.waiting import Limit, Waiting


@dataclass(frozen=True)
class Project:
    """``access``: the connection to the cloud; ``waiting``: how its slow answers are waited for."""

    settings: Settings
    server_id: str
    access: Access
    waiting: Waiting

    @property
    def has_volumes(self) -> bool:
        """Whether machines boot from a volume, and not from an image."""
        return self.settings.openstack_boot is OpenstackBoot.VOLUME

    @property
    def ssh_key(self) -> Path:
        """The private key that logs in on workers."""
        return self.settings.home / "openstack" / "key"

    def limit(self, name: str) -> Limit:
        """How long something may take, by the settings."""
        return Limit.of(self.settings, name)

    def module_paths(self, name: str) -> tuple[Path, Path]:
        """Where a Terraform module of this cloud lies, and where its states do."""
        module = CHECKOUT / "infra" / "terraform" / CloudName.OPENSTACK / name
        return module, self.settings.home / "terraform" / f"{CloudName.OPENSTACK}-{name}"
