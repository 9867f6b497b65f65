"""The cloud as the controller sees it, as far as it goes without a machine."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from server.catalog.flavors import Flavor
from server.errors import TemplateMissing
from server.settings import Settings
from server.workers.clouds.base import Resource
from server.workers.clouds.qemu.cloud import QemuCloud
from server.workers.clouds.qemu.images.build import template_hash
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.process import GuestName
from tests.conftest import eventually
from tests.workers.clouds.qemu.building import make_image, unique_server

SERVER = unique_server()
FLAVOR = Flavor("m1.small", 1, 1, 1, disk_gb=7)


@pytest.fixture
def cloud(tmp_path: Path) -> QemuCloud:
    return QemuCloud(Settings(home=tmp_path), SERVER)


def promote(folder: Path, home: Path, made_from: str) -> None:
    image = make_image(folder, build_hash=made_from)
    current = QemuHome(home).current
    current.parent.mkdir(parents=True, exist_ok=True)
    current.symlink_to(image.folder)


def test_a_missing_snapshot_says_how_to_get_one(cloud: QemuCloud) -> None:
    with pytest.raises(TemplateMissing, match="make template"):
        cloud.images.check()


def test_a_snapshot_of_this_version_needs_no_word(cloud: QemuCloud, tmp_path: Path) -> None:
    promote(tmp_path / "image", tmp_path, template_hash())
    assert cloud.images.check() == ""


def test_a_snapshot_of_another_version_is_told(cloud: QemuCloud, tmp_path: Path) -> None:
    promote(tmp_path / "image", tmp_path, "another")
    assert "make snapshot" in cloud.images.check()


def test_nothing_runs_before_it_is_started(cloud: QemuCloud) -> None:
    assert cloud.resources() == []
    assert cloud.host.nfs_pid() is None
    assert not cloud.alive("job-1")
    assert cloud.console.log("job-1") == ""


def test_a_snapshot_that_was_never_finished_is_listed_and_can_be_removed(cloud: QemuCloud, tmp_path: Path) -> None:
    half = QemuHome(tmp_path).snapshots / "1"
    half.mkdir(parents=True)
    (found,) = cloud.resources()
    assert found == Resource("snapshot", "", str(half), alive=False)
    cloud.delete(found)
    assert cloud.resources() == []


def test_the_memory_of_a_machine_is_that_of_its_process(cloud: QemuCloud) -> None:
    assert cloud.memory.use("job-1") is None
    mark = GuestName(SERVER, "job-1").mark
    machine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "-name", mark])
    try:
        eventually(lambda: (use := cloud.memory.use("job-1")) is not None and 1 << 20 < use.proportional < use.resident)
    finally:
        machine.kill()
        machine.wait()
    assert cloud.memory.use("job-1") is None


def test_how_a_machine_would_start_is_told_with_the_reason(cloud: QemuCloud, tmp_path: Path) -> None:
    assert cloud.prewarming.next_boot(FLAVOR).startswith("cold: there is no machine image")
    promote(tmp_path / "image", tmp_path, template_hash())
    assert cloud.prewarming.next_boot(FLAVOR) == "cold: no memory image for 1c-1024m-7g"


def test_the_machine_of_another_installation_is_not_listed_and_cannot_be_ended(cloud: QemuCloud, tmp_path: Path) -> None:
    """A process with the words of a machine that another installation on this computer has, with the name of one of ours."""
    mark = GuestName(unique_server(), "job-1").mark
    foreign = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "-name", mark])
    try:
        assert cloud.resources() == []
        assert not cloud.alive("job-1")
        cloud.delete(Resource("machine", "job-1", str(foreign.pid), alive=True))
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()


def test_a_machine_s_shell_is_at_the_other_end_of_its_own_line(cloud: QemuCloud, tmp_path: Path) -> None:
    layout = cloud.layout("job-7", tmp_path / "Job_7")
    folder = QemuHome(tmp_path).machines / "job-7"
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(str(folder / "identity"))
        line.listen()
        with subprocess.Popen([*layout.shell, "-c", "true"], stdout=subprocess.PIPE) as shell:
            connection, _ = line.accept()
            with connection:
                order = json.loads(connection.makefile("r").readline())
                connection.sendall(json.dumps({"id": order["id"], "rc": 0, "out": "done\n", "time": 0}).encode() + b"\n")
            assert shell.communicate(timeout=20)[0] == b"done\n"
    assert (layout.connection, order["run"]) == ("shell", "true")
