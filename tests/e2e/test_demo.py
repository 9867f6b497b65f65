"""The demonstration as a new user runs it: a real search in a real virtual machine, nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from scripts.psms import best_by_score, parse_psms
from server.home.installation import installation_id
from server.settings import CHECKOUT
from tests.conftest import eventually

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]
DEMO = [sys.executable, "-m", "scripts.demo"]


def left_running(home: Path) -> list[str]:
    """Processes that belong to this installation: they name its folder or its id."""
    marks = (str(home), installation_id(home))
    found = []
    for process in psutil.process_iter(["cmdline", "pid"]):
        line = " ".join(process.info["cmdline"] or [])
        if process.pid != os.getpid() and any(mark in line for mark in marks):
            found.append(line)
    return found


def newest_output(home: Path) -> Path:
    folder = max((home / "storage" / "jobs").glob("Job_*_comet_*"), key=lambda path: int(path.name.split("_")[1]))
    return next(path for path in (folder / "output").glob("*.txt") if "decoy" not in path.name)


def test_the_demo_finds_albumin_and_leaves_nothing_running(vm_home: Path, vm_environment: dict[str, str]) -> None:
    done = subprocess.run(DEMO, cwd=CHECKOUT, env=vm_environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in a virtual machine" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert "Search your own file" in done.stdout
    assert "K.HLVDEPQNLIK.Q" in done.stdout
    best = best_by_score(parse_psms(newest_output(vm_home).read_text()))
    assert len(best) == 8
    assert (best[0].peptide, best[0].scan, round(best[0].xcorr, 2)) == ("K.HLVDEPQNLIK.Q", 1665, 2.59)
    assert "sp|P02769|ALBU_BOVIN" in best[0].protein
    assert left_running(vm_home) == []


def test_a_second_demo_reuses_the_template_and_ctrl_c_leaves_nothing(vm_home: Path, vm_environment: dict[str, str]) -> None:
    output = vm_home / "log" / "interrupted.txt"
    begin = time.monotonic()
    with output.open("w") as file:
        demo = subprocess.Popen(DEMO, cwd=CHECKOUT, env=vm_environment, stdout=file, stderr=file, start_new_session=True)
    eventually(lambda: "linked input" in output.read_text() or demo.poll() is not None, 120)
    assert time.monotonic() - begin < 60, "the template was built again"
    assert demo.poll() is None, output.read_text()
    os.killpg(demo.pid, signal.SIGINT)
    assert demo.wait(90) == 130, output.read_text()
    assert "nothing is left running" in output.read_text()
    eventually(lambda: left_running(vm_home) == [], 5)
