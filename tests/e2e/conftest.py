"""An installation with a real template, kept between runs because its build takes minutes; waiting for a job over REST."""

import os
import shutil
import time
from pathlib import Path

import pytest

from server.client import Client
from server.settings import CHECKOUT
from server.workers.clouds.qemu.build import recipe
from server.workers.clouds.qemu.images import is_image, read_image
from server.workers.clouds.qemu.places import QemuHome

FINAL = ("DONE", "FAILED", "CANCELLED")
LIMIT_S = 400.0


@pytest.fixture(scope="session")
def vm_home() -> Path:
    """Home folder of the real-VM tests. A template of an older recipe would test what is no longer in the checkout."""
    folder = CHECKOUT / "var" / "e2e"
    home = QemuHome(folder)
    if not (is_image(home.template) and read_image(home.template).recipe == recipe()):
        shutil.rmtree(home.template, ignore_errors=True)
        shutil.rmtree(home.snapshots, ignore_errors=True)
    return folder


@pytest.fixture
def vm_environment(vm_home: Path) -> dict[str, str]:
    """Environment for commands on that installation."""
    return {**os.environ, "CUMULUS_HOME": str(vm_home), "CUMULUS_CLOUD": "qemu", "COLUMNS": "160"}


def wait_for(client: Client, job_id: int) -> dict[str, object]:
    """The job's row once it has ended; fail the test if it does not end."""
    deadline = time.monotonic() + LIMIT_S
    while (row := client.job(job_id))["status"] not in FINAL:
        assert time.monotonic() < deadline, row["log"]
        time.sleep(0.3)
    return row
