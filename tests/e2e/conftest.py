"""An installation with a real template, kept between runs because its build takes minutes; waiting for a job over REST."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.catalog.flavors import read_flavors
from server.client import Client
from server.home.installation import installation_id, running_controller
from server.settings import CHECKOUT, CloudName, Settings
from server.workers.clouds.qemu.cloud import QemuCloud
from server.workers.clouds.qemu.process import guests_of
from server.workers.terraform.module import TerraformModule, terraform_binary
from tests.e2e.homes import FIRST, home_of
from tests.e2e.installation import WORKER_MODULE, Installation
from tests.order import group_of

FINAL = ("DONE", "FAILED", "CANCELLED")
START_LIMIT_S, LIMIT_S = 60.0, 400.0


@pytest.fixture(scope="module")
def vm_home(request: pytest.FixtureRequest) -> Path:
    """Home folder of the module's group of tests, with a template and a snapshot."""
    if problems := QemuCloud(Settings(home=FIRST), installation_id(FIRST)).problems():
        pytest.skip("; ".join(problems))
    return home_of(group_of(request.node.nodeid))


@pytest.fixture
def vm_environment(vm_home: Path) -> dict[str, str]:
    """Environment for commands on that installation."""
    return {**os.environ, "CUMULUS_HOME": str(vm_home), "CUMULUS_CLOUD": "qemu", "COLUMNS": "160"}


@pytest.fixture(scope="module")
def installation(vm_home: Path) -> Iterator[Installation]:
    """The installation of the real-VM tests that make machines by themselves."""
    settings = Settings(home=vm_home)
    server_id = installation_id(vm_home)
    cloud = QemuCloud(settings, server_id)
    module = TerraformModule(WORKER_MODULE, vm_home / "terraform" / "qemu-worker", terraform_binary(), cloud.terraform_env)
    flavor = read_flavors(settings.flavors)[settings.default_flavor]
    cloud.start()
    cloud.prewarming.warm_up(flavor, lambda: False)  # where an older version made the memory image
    yield Installation(settings, server_id, cloud, module, flavor)
    cloud.stop()


@pytest.fixture
def nothing_remains(installation: Installation) -> Iterator[None]:
    """The test begins and ends without a machine."""
    assert installation.cloud.resources() == []
    yield
    try:
        assert installation.cloud.resources() == []
    finally:
        for worker in {found.worker for found in installation.cloud.resources()}:
            installation.destroy(worker)


def wait_for(client: Client, job_id: int) -> dict[str, object]:
    """The job's row once it has ended; fail the test if it does not end."""
    deadline = time.monotonic() + LIMIT_S
    while (row := client.job(job_id))["status"] not in FINAL:
        assert time.monotonic() < deadline, row["log"]
        time.sleep(0.3)
    return row


@pytest.fixture
def own_settings(vm_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The machines' home with a storage and a database of this test alone."""
    given = {
        "home": vm_home,
        "storage": tmp_path / "storage",
        "database": tmp_path / "cumulus.sqlite",
        "apps": CHECKOUT / "tests" / "apps",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"CUMULUS_{name.upper()}", str(value))
    monkeypatch.setenv("CUMULUS_CLOUD", CloudName.QEMU)
    return Settings(port=0)


@contextmanager
def served(settings: Settings, log: Path) -> Iterator["tuple[Client, subprocess.Popen[bytes]]"]:
    """A controller of its own process, its words in ``log``; ended in order."""
    command = [str(Path(sys.executable).with_name("cumulus")), "serve", "--port", "0"]
    with log.open("ab") as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        running = None
        deadline = time.monotonic() + START_LIMIT_S
        while running is None or running.pid != child.pid or not Client(running.url).healthy():
            assert time.monotonic() < deadline, log.read_text()
            running = running_controller(settings.home)
            time.sleep(0.05)
        yield Client(running.url), child
    finally:
        if child.poll() is None:
            child.terminate()
        child.wait(60)


def is_clear(settings: Settings) -> bool:
    """Whether the installation has no machine, nothing of one, and no workspace; the home is that of other tests, too."""
    folders = (settings.home / "qemu" / "machines", settings.home / "terraform" / "qemu-worker" / "state" / "workspaces")
    left = [entry for folder in folders if folder.is_dir() for entry in folder.iterdir()]
    return not left and guests_of(installation_id(settings.home)) == {}


def until(true: Callable[[], bool], log: Path, limit_s: float = LIMIT_S) -> None:
    """Return when the condition holds; fail with the controller's words after the limit."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)
