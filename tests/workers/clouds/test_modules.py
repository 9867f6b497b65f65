"""The Terraform modules whose providers are here: well formed, and right by their own tests. No network."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from server.settings import CHECKOUT
from server.workers.clouds.qemu.images.mirror import install_mirror
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.terraform.module import terraform_binary

pytestmark = pytest.mark.system

MODULES = CHECKOUT / "infra" / "terraform"
NAMES = ("qemu/worker", "qemu/template", "local/worker", "local/template")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Terraform that knows the provider from a mirror and nothing from the network."""
    home = tmp_path_factory.mktemp("home")
    install_mirror(QemuHome(home))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    return {**clean, "TF_CLI_CONFIG_FILE": str(home / "terraform" / "terraform.rc"), "HTTPS_PROXY": "http://127.0.0.1:9"}


def terraform(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [terraform_binary(), *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_modules_are_formatted(environment: dict[str, str]) -> None:
    assert terraform(MODULES, environment, "fmt", "-check", "-recursive") == ""


@pytest.mark.parametrize("name", NAMES)
def test_a_module_is_valid_and_does_what_its_tests_say(name: str, environment: dict[str, str], tmp_path: Path) -> None:
    own = {**environment, "TF_DATA_DIR": str(tmp_path / "data")}
    backend = f"-backend-config=path={tmp_path}/state"
    terraform(MODULES / name, own, "init", "-input=false", "-lockfile=readonly", backend)
    terraform(MODULES / name, own, "validate")
    told = terraform(MODULES / name, own, "test", "-no-color")
    assert re.search(r"Success! \d\d passed, 0 failed", told), told
