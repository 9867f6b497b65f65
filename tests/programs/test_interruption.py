"""A program ends in order by any signal, once, whatever becomes of its output. Real processes, real terminals."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from programs.interruption import Interrupted
from tests.conftest import eventually

PROGRAM = """\
import sys, threading, time
from programs.interruption import Interrupted, ending_in_order, shielded
log = open(sys.argv[1], "w", buffering=1)
def work():
    with shielded() as shield:
        print("begun", file=log)
        try:
            with shield.lowered():
                while True:
                    print("words"); sys.stdout.flush()
                    time.sleep(0.02)
        finally:
            for _ in range(20):
                print("cleaning"); sys.stdout.flush()
                print("also here", file=sys.stderr)
                time.sleep(0.02)
            print("cleaned", file=log)
with ending_in_order():
    try:
        work()
    except Interrupted as interrupted:
        print(interrupted.why, file=log)
        code = interrupted.exit_code
sys.exit(code)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def start(log: Path, **output: object) -> "subprocess.Popen[bytes]":
    """The program, at work. A SIGHUP that whoever runs the tests has switched off is on for it."""
    command = ["env", "--default-signal", sys.executable, "-c", PROGRAM, str(log)]
    process = subprocess.Popen(command, **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **output})  # type: ignore[call-overload]
    eventually(lambda: log.exists() and "begun" in log.read_text())
    time.sleep(0.1)
    return process


@pytest.mark.parametrize(
    ("number", "code", "why"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "asked to end"),
        (signal.SIGHUP, 129, "the terminal was closed"),
    ],
)
def test_further_signals_do_not_disturb_the_end(log: Path, number: int, code: int, why: str) -> None:
    process = start(log)
    for one in (number, number, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        process.send_signal(one)
        time.sleep(0.05)
    assert process.wait(10) == code
    assert log.read_text().splitlines() == ["begun", "cleaned", why]


def test_a_reader_that_goes_away_ends_it_in_order(log: Path) -> None:
    process = start(log, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(10) == 141
    assert log.read_text().splitlines() == ["begun", "cleaned", "the reader of the output has ended"]


def test_a_terminal_that_is_gone_ends_it_in_order(log: Path) -> None:
    ours, terminal = pty.openpty()
    process = start(log, stdout=terminal, stderr=terminal, start_new_session=True)
    os.close(terminal)
    os.close(ours)  # no SIGHUP: it is not the terminal that controls the process
    assert process.wait(10) == 129
    assert log.read_text().splitlines() == ["begun", "cleaned", "the terminal was closed"]


def test_nohup_is_respected(log: Path) -> None:
    process = subprocess.Popen(["nohup", sys.executable, "-c", PROGRAM, str(log)], stdout=subprocess.DEVNULL)
    eventually(lambda: log.exists() and "begun" in log.read_text())
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert process.poll() is None
    process.terminate()
    assert process.wait(10) == 143


def test_a_signal_behind_the_shield_waits(tmp_path: Path) -> None:
    program = """\
import os, signal
from programs.interruption import Interrupted, ending_in_order, shielded
with ending_in_order():
    try:
        with shielded():
            os.kill(os.getpid(), signal.SIGTERM)
            print("went on")
    except Interrupted as interrupted:
        print(interrupted.why)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["went on", "asked to end"]


SERVER = """\
import sys, time
from programs.border import run
from programs.interruption import until_a_signal
def serve():
    with until_a_signal():
        open(sys.argv[1], "w").write("begun")
        while True:
            print("words", flush=True)
            time.sleep(0.02)
    print("not here", file=sys.stderr)
sys.exit(run("toy", serve))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_server_outlives_its_reader_and_ends_well_by_a_signal(log: Path, number: int) -> None:
    command = ["env", "--default-signal", sys.executable, "-c", SERVER, str(log)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stderr
    eventually(lambda: log.exists() and "begun" in log.read_text())
    process.stdout.close()
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(number)
    assert (process.wait(10), process.stderr.read()) == (0, b"")


def test_it_is_a_ctrl_c_for_whoever_knows_only_that() -> None:
    assert isinstance(Interrupted(signal.SIGHUP), KeyboardInterrupt)
