"""The lease of a worker: a controller that is not heard of any more ends job and machine."""

import itertools
import os
import subprocess
import time
from pathlib import Path

import pytest
from cumulus_runner.lease import Lease

from tests.runner.conftest import FILES, Worker, wait_until


def renew(folder: Path, at: float) -> None:
    path = folder / ".cumulus.lease"
    path.touch()
    os.utime(path, (at, at))


def test_a_lease_ends_unless_it_is_renewed_in_time(tmp_path: Path) -> None:
    now = [1000.0]
    lease = Lease(str(tmp_path), 400, now=lambda: now[0])
    assert not lease.is_over()
    now[0] += 330
    renew(tmp_path, 1.0)
    assert not lease.is_over()
    now[0] += 330
    renew(tmp_path, 2.0)
    assert not lease.is_over()
    now[0] += 330
    assert not lease.is_over()
    now[0] += 20  # a minute before the machine's own end
    assert lease.is_over()


def test_the_machine_s_timer_is_told_until_when(tmp_path: Path) -> None:
    now = [1000.0]
    record = tmp_path / "until"
    lease = Lease(str(tmp_path), 400, str(record), now=lambda: now[0])
    assert record.read_text() == "1400\n"
    now[0] = 1100.0
    renew(tmp_path, 1.0)
    assert not lease.is_over()
    assert record.read_text() == "1500\n"


def test_without_a_length_it_never_ends(tmp_path: Path) -> None:
    now = [0.0]
    record = tmp_path / "until"
    lease = Lease(str(tmp_path), 0, str(record), now=lambda: now[0])
    now[0] = 1e9
    assert not lease.is_over()
    assert not record.exists()


def test_a_job_whose_lease_is_over_ends_and_says_so(worker: Worker) -> None:
    worker.order("echo begun; sleep 61", lease_s=2)
    worker.start()
    wait_until((worker.job / ".cumulus.result").exists, 20)
    assert worker.result["stage"] == "stopped"
    assert "lease is over" in worker.result["message"]


def test_a_job_whose_lease_is_renewed_goes_on(worker: Worker) -> None:
    go = worker.root / "go"
    worker.order(f"echo begun; until [ -e {go} ]; do sleep 0.1; done", lease_s=4)
    worker.start()
    begin = time.monotonic()
    for number in itertools.count():
        renew(worker.job, 1e9 + number)
        assert not (worker.job / ".cumulus.result").exists()
        if time.monotonic() - begin > 5:
            break
        time.sleep(0.2)
    go.touch()
    wait_until((worker.job / ".cumulus.result").exists, 20)
    assert worker.result["stage"] == "done"


@pytest.mark.parametrize(("until", "off"), [("4000000000", False), ("1", True), ("", True)])
def test_the_timer_s_program_switches_off_after_the_lease_only(tmp_path: Path, until: str, off: bool) -> None:
    (tmp_path / "until").write_text(f"{until}\n" if until else "")
    called = tmp_path / "called"
    for name, does in (("systemctl", f'echo "$@" > {called}'), ("timeout", "exit 0")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    text = (FILES / "cumulus-lease").read_text().replace("/run/cumulus-lease", str(tmp_path / "until"))
    script = text.replace("/dev/console", str(tmp_path / "console"))
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", script, "cumulus-lease", "0"], env=environment, check=True, timeout=20)
    assert called.exists() == off
    if off:
        assert called.read_text() == "poweroff --force --force\n"
