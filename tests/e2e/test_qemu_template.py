"""The template of the qemu cloud: booted, copied, and what an interruption or a broken app leaves behind (nothing)."""

import os
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.errors import InfrastructureError
from server.home.installation import installation_id
from server.progress import Lines
from server.settings import Settings
from server.workers.clouds.images import SmokeTest
from server.workers.clouds.qemu.cloud import QemuCloud
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.process import guests_of

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]
# A shell that runs things in the background has them ignore Ctrl-C, and their children, too.
BUILD = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from server.progress import Lines
from server.settings import Settings
from server.workers.clouds.qemu.cloud import QemuCloud
QemuCloud(Settings(home=Path(sys.argv[1])), "ctest0build").template().build(Lines(lambda text: print(text, flush=True)))
"""


@pytest.fixture(scope="module")
def cloud(vm_home: Path) -> Iterator[QemuCloud]:
    """The cloud of the real-VM tests, with a template and a snapshot."""
    made = QemuCloud(Settings(home=vm_home), installation_id(vm_home))
    yield made
    assert guests_of(installation_id(vm_home)) == {}


def mentions(word: str) -> list[str]:
    """Mounts and processes of this computer that name the word; not the test's own."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if word in line]
    processes = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in line and entry.parent.name != str(os.getpid()):
            processes.append(line)
    return mounts + processes


def test_an_app_that_does_not_run_leaves_the_promoted_snapshot_alone(cloud: QemuCloud) -> None:
    before = cloud.images.template().snapshots()
    with pytest.raises(InfrastructureError, match=r"the app broken_1\.0 does not run in the new snapshot: .*exit code 3"):
        cloud.images.template().take_snapshot(
            SmokeTest((("fine_1.0", "true"), ("broken_1.0", "echo no such library >&2; exit 3"))), Lines(print)
        )
    assert cloud.images.template().snapshots() == before
    assert cloud.resources() == []


def read_from_disk(disk: Path, name: str, place: Path) -> str:
    """A file of a machine that does not run, as a copy of its disk would have it."""
    raw = place / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
    return subprocess.run(["debugfs", "-R", f"cat {name}", raw], check=True, capture_output=True, text=True).stdout


def test_what_is_installed_on_the_booted_template_stays(cloud: QemuCloud, vm_home: Path, tmp_path: Path) -> None:
    login = shlex.split(cloud.images.template().boot(Lines(print)))
    word = uuid.uuid4().hex
    subprocess.run([*login, f"echo {word} > /root/kept-by-a-test"], check=True, timeout=120)
    cloud.images.template().stop(Lines(print))
    assert cloud.resources() == []
    assert read_from_disk(QemuHome(vm_home).template / "disk.qcow2", "/root/kept-by-a-test", tmp_path) == f"{word}\n"


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build_leaves_nothing_mounted_and_nothing_running(end: signal.Signals, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with subprocess.Popen([sys.executable, "-c", BUILD, str(home)], stdout=subprocess.PIPE, start_new_session=True) as build:
        assert build.stdout is not None
        assert b"Installing Debian" in build.stdout.readline()
        deadline = time.monotonic() + 60
        while not (home / "qemu" / "build" / "root" / "usr" / "bin" / "dpkg").is_file():
            assert build.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        build.send_signal(end)
        build.wait(30)
    deadline = time.monotonic() + 10
    while mentions(str(home)):
        assert time.monotonic() < deadline, mentions(str(home))
        time.sleep(0.1)
    assert not (home / "qemu" / "template").exists()
