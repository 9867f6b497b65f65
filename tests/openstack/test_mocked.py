"""The modules for OpenStack by their own tests, with a mock of the official provider: needs the provider, and no cloud."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from server.settings import CHECKOUT
from server.workers.terraform.module import terraform_binary

pytestmark = pytest.mark.openstack
MODULES = CHECKOUT / "infra" / "terraform" / "openstack"


def terraform(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """One terraform in a copy of the module; its provider comes from where this computer gets one."""
    own = {**os.environ, "TF_DATA_DIR": str(folder / ".data"), "TF_IN_AUTOMATION": "1"}
    command = [terraform_binary(), *arguments]
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=False, timeout=200)


@pytest.mark.parametrize("name", sorted(path.parent.name for path in MODULES.glob("*/main.tf")))
def test_a_module_is_valid_and_does_what_its_tests_say(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    shutil.copytree(MODULES / name, folder)
    started = terraform(folder, "init", "-input=false", "-backend=false", "-no-color")
    if started.returncode:
        pytest.skip(f"terraform has no provider for OpenStack: {started.stderr[-300:]}")
    valid = terraform(folder, "validate", "-no-color")
    assert valid.returncode == 0, valid.stdout + valid.stderr
    told = terraform(folder, "test", "-no-color")
    assert re.search(r"Success! \d+ passed, 0 failed", told.stdout), told.stdout + told.stderr
