"""Children go after the API and the loop."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from server.process_priority import TOOL, step_back

AUTOGROUP = Path("/proc/self/autogroup")
ENDED = 4_194_304 + 1  # beyond any process number of Linux


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    """With a child of its own, in a session of their own."""
    with subprocess.Popen(["sh", "-c", "sleep 60; true"], start_new_session=True) as process:
        while not psutil.Process(process.pid).children():
            time.sleep(0.01)
        yield process
        for one in (*psutil.Process(process.pid).children(), psutil.Process(process.pid)):
            one.kill()


def test_a_child_steps_back_with_what_it_started(child: "subprocess.Popen[bytes]") -> None:
    own = psutil.Process().nice()
    step_back(child.pid, TOOL)
    family = [psutil.Process(child.pid), *psutil.Process(child.pid).children()]
    assert [one.nice() for one in family] == [min(own + TOOL, 19)] * 2
    assert psutil.Process().nice() == own


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this kernel does not share processors out by session")
def test_its_session_steps_back_too(child: "subprocess.Popen[bytes]") -> None:
    before = AUTOGROUP.read_text()
    step_back(child.pid, TOOL)
    assert Path(f"/proc/{child.pid}/autogroup").read_text().split()[-1] == str(TOOL)
    assert AUTOGROUP.read_text() == before


def test_one_that_has_ended_already_is_nobody() -> None:
    step_back(ENDED, TOOL)
