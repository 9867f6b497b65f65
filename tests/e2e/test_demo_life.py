"""How a demonstration ends before its time, and what the next one does about that. Real processes, on the local cloud."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from scripts.controllers import controller
from scripts.lifetime import Record, one_demo
from server.errors import CumulusError
from server.home.running import running_controller
from server.settings import CHECKOUT, CloudName, Settings
from tests.conftest import eventually
from tests.e2e.test_demo import left_running

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("comet-ms") is None, reason="comet-ms is not installed"),
    pytest.mark.timeout(240),
]
CUMULUS = str(Path(sys.executable).with_name("cumulus"))
DEMO = ["env", "--default-signal", sys.executable, "-m", "scripts.demo"]
AT_WORK = "linked input"  # the job's log once its app is about to start
START, END_LIMIT_S = 60.0, 60.0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def environment(home: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """An installation whose Comet takes a minute; at the end nothing of it may run, whatever the test was about."""
    apps = shutil.copytree(CHECKOUT / "apps", tmp_path / "apps")
    comet = apps / "comet_2019.015.xml"
    slow = comet.read_text().replace("comet-ms -Pcomet.params", "sleep 60; comet-ms -Pcomet.params")
    assert "sleep 60" in slow
    comet.write_text(slow)
    own = {"CUMULUS_HOME": str(home), "CUMULUS_CLOUD": "local", "CUMULUS_APPS": str(apps), "COLUMNS": "200"}
    yield {**os.environ, **own}
    eventually(lambda: left_running(home) == [], 30)


def fast(environment: dict[str, str]) -> dict[str, str]:
    """The same installation with the real Comet."""
    return {name: value for name, value in environment.items() if name != "CUMULUS_APPS"}


def demo(environment: dict[str, str], output: Path) -> "subprocess.Popen[bytes]":
    """A demonstration in the background, in a session of its own; its words in ``output``."""
    with output.open("w") as file:
        return subprocess.Popen(DEMO, cwd=CHECKOUT, env=environment, stdout=file, stderr=file, start_new_session=True)


def until_said(output: Path, words: str, process: "subprocess.Popen[bytes]") -> None:
    eventually(lambda: words in output.read_text() or process.poll() is not None, 90)
    assert words in output.read_text(), output.read_text()


def status(environment: dict[str, str], job_id: int) -> str:
    done = subprocess.run([CUMULUS, "show", str(job_id), "--json"], env=environment, capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)["state"])


def require_of_the_same_cloud(home: Path, pid: int) -> None:
    """A demonstration of another cloud does not use the controller."""
    refused = pytest.raises(CumulusError, match=f"controller of the cloud local .*process {pid}, http.*make demo CLOUD=local")
    with one_demo(home, print) as life, refused, controller(Settings(home=home, cloud=CloudName.QEMU), life, print):
        pass


def test_a_closed_terminal_ends_all(home: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    output = tmp_path / "output"
    process = demo(environment, output)
    until_said(output, AT_WORK, process)
    for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):  # the kernel, the shell, make
        os.killpg(process.pid, number)
        time.sleep(0.1)
    assert process.wait(END_LIMIT_S) == 129, output.read_text()
    assert "the terminal was closed: cancelling the job" in output.read_text()
    assert "nothing is left running" in output.read_text()
    assert left_running(home) == []
    assert not (home / "demo.json").exists()
    assert status(environment, 1) == "cancelled"


def test_a_reader_that_goes_away_ends_all(home: Path, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        DEMO, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert process.stdout is not None
    while "job 1:" not in process.stdout.readline().decode():
        assert process.poll() is None
    process.stdout.close()
    assert process.wait(END_LIMIT_S) == 141
    assert left_running(home) == []
    assert status(environment, 1) == "cancelled"


@pytest.mark.parametrize("delay_s", [0.5, 1.5, 2.5, 4.0])
def test_whenever_the_terminal_is_closed_nothing_is_left(
    home: Path, tmp_path: Path, environment: dict[str, str], delay_s: float
) -> None:
    """Python that still starts is ended by the kernel; there is nothing to clean up then."""
    output = tmp_path / "output"
    process = demo(environment, output)
    time.sleep(delay_s)
    os.killpg(process.pid, signal.SIGHUP)
    assert process.wait(END_LIMIT_S) in (129, -signal.SIGHUP), output.read_text()
    assert "Traceback" not in output.read_text()
    assert not (home / "demo.json").exists()
    eventually(lambda: left_running(home) == [], 1)


def test_the_next_one_ends_what_a_killed_one_left(home: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    output, second = tmp_path / "output", tmp_path / "second"
    process = demo(environment, output)
    until_said(output, AT_WORK, process)
    record = Record.model_validate_json((home / "demo.json").read_bytes())
    assert sorted(record.children) == ["agent", "controller"]
    left = psutil.Process(record.children["controller"].pid)
    left.suspend()  # as where nothing asked it to end
    process.kill()
    process.wait()
    eventually(lambda: not record.children["agent"].alive)
    following = demo(fast(environment), second)
    until_said(second, "ending what it left running", following)
    left.resume()
    assert following.wait(90) == 0, second.read_text()
    text = second.read_text()
    assert f"(process {process.pid}, since " in text
    assert f"controller (process {left.pid})" in text
    assert "job 1 of an earlier demonstration is still at work: cancelling it" in text
    assert "K.HLVDEPQNLIK.Q" in text
    assert status(environment, 1) == "cancelled"


def test_somebodys_controller_is_used_and_left_running(home: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    log = tmp_path / "controller.log"
    with log.open("w") as file:
        served = subprocess.Popen([CUMULUS, "serve", "--port", "0"], env=fast(environment), stdout=file, stderr=file)
    try:
        eventually(lambda: running_controller(home) is not None or served.poll() is not None)
        require_of_the_same_cloud(home, served.pid)
        one, other = tmp_path / "one", tmp_path / "other"
        first = demo(fast(environment), one)
        until_said(one, "using the controller that runs here already", first)
        second = demo(fast(environment), other)
        until_said(other, f"a demonstration runs here already (process {first.pid}, since ", second)
        assert (first.wait(90), second.wait(90)) == (0, 0), one.read_text() + other.read_text()
        assert f"(process {served.pid}, http://127.0.0.1:" in one.read_text()
        assert running_controller(home) is not None
    finally:
        served.terminate()
        assert served.wait(30) == 0
