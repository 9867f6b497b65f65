"""A computer on which KVM passes its test and brings no machine up, played by a program in QEMU's place; machines are real."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from server.workers.clouds.qemu.accelerator import QEMU, described
from server.workers.clouds.qemu.cloud import QemuCloud
from server.workers.clouds.qemu.host.probe import device_problem
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.ssh import run_over_ssh
from server.workers.terraform.module import TerraformModule, terraform_binary
from tests.e2e.installation import WORKER_MODULE, Installation

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(device_problem() != "", reason="there is no /dev/kvm to be disappointed by"),
]
WRAPPER = """\
#!/bin/sh
case "$*" in
  *isa-debug-exit*) exit 33;;
  *"-accel kvm"*) echo "KVM internal error. Suberror: 1" >&2; kill -ABRT $$;;
esac
exec {qemu} "$@"
"""


@pytest.fixture
def nested(installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """The installation on such a computer, with a provider of its own."""
    program = tmp_path / "bin" / QEMU
    program.parent.mkdir()
    program.write_text(WRAPPER.format(qemu=shutil.which(QEMU)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    cloud = QemuCloud(installation.settings, installation.server_id)
    home = installation.settings.home / "terraform" / "qemu-worker"
    cloud.start()
    yield replace(installation, cloud=cloud, module=TerraformModule(WORKER_MODULE, home, terraform_binary(), cloud.terraform_env))
    cloud.stop()


@pytest.mark.usefixtures("nothing_remains")
def test_the_machine_at_hand_is_emulated_and_the_next_one_at_once(nested: Installation) -> None:
    home = QemuHome(nested.settings.home)
    try:
        made = nested.apply("job-1")
        assert made["boot"].startswith("warm; KVM passed its test, but brought no machine up (QEMU "), made["boot"]
        assert "KVM internal error" in made["boot"]
        assert run_over_ssh(nested.login(made), "hostname", 30).strip() == "job-1"
        assert nested.apply("job-2")["boot"] == "warm"
        assert "brought no machine up" in described(home)
    finally:
        for worker in ("job-1", "job-2"):
            nested.destroy(worker)
