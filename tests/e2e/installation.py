"""A cloud with a template and a snapshot for tests that make machines by themselves, without a controller."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.catalog.flavors import Flavor
from server.settings import CHECKOUT, Settings
from server.workers.clouds.qemu.cloud import QemuCloud
from server.workers.clouds.qemu.dial import dial_command
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.process import guests_of
from server.workers.clouds.ssh import Login
from server.workers.terraform.module import TerraformModule

WORKER_MODULE = CHECKOUT / "infra" / "terraform" / "qemu" / "worker"
LIMIT_S = 240.0
RECOVERY_LIMIT_S = 30.0


@dataclass(frozen=True)
class Installation:
    """A cloud with a template and a snapshot, and its worker module."""

    settings: Settings
    server_id: str
    cloud: QemuCloud
    module: TerraformModule
    flavor: Flavor

    def apply(self, worker: str) -> dict[str, Any]:
        return self.module.apply(worker, self.cloud.terraform_vars(worker, self.flavor), LIMIT_S)

    def destroy(self, worker: str) -> None:
        self.module.destroy(worker, 60)
        for left in self.cloud.resources():
            if left.worker == worker:
                self.cloud.delete(left)

    def login(self, made: dict[str, Any]) -> Login:
        dial = dial_command(Path(made["console_log"]).parent)
        return Login(made["port"], QemuHome(self.settings.home).key, made["host_key"], proxy=dial)

    def running(self) -> dict[str, int]:
        return guests_of(self.server_id)


def eventually(look: Callable[[], bool], limit_s: float = RECOVERY_LIMIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not look():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)
