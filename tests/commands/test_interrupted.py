"""A command that makes something for minutes ends in order, by any signal, also while it waits for another one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from server.workers.clouds.qemu.places import QemuHome
from server.workers.clouds.qemu.warming import NEXT
from server.workers.clouds.turns import turn

CUMULUS = str(Path(sys.executable).with_name("cumulus"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_snapshot_that_waits_says_for_whom_and_can_be_ended(tmp_path: Path, number: int, code: int) -> None:
    environment = {**os.environ, "CUMULUS_HOME": str(tmp_path), "CUMULUS_CLOUD": "qemu"}
    lock = QemuHome(tmp_path).snapshot_lock
    lock.parent.mkdir()
    with turn(lock, NEXT, print):
        command = ["env", "--default-signal", CUMULUS, "snapshot", "create"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert f"another command (process {os.getpid()}, since " in process.stderr.readline()
        process.send_signal(number)
        words = process.communicate(timeout=30)[1]
    assert process.returncode == code
    assert words.strip().endswith("what was being made is given up, the next time begins it anew")
