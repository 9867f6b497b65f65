"""A machine's process is found by its name, and never taken for another's."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from server.workers.clouds.qemu.process import GuestName, carries, end_process, find_process, guests_of
from tests.workers.clouds.qemu.building import unique_server

SERVER = unique_server()


def sleeper(name: GuestName, stubborn: bool = False) -> "subprocess.Popen[bytes]":
    """A process that carries the name as QEMU does; a stubborn one does not end when asked to."""
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" if stubborn else ""
    script = f"{ignore}print(flush=True); import time; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", script, "-name", name.argument], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.fixture
def process() -> Iterator["subprocess.Popen[bytes]"]:
    running = sleeper(GuestName(SERVER, "job-1"))
    yield running
    running.kill()
    running.wait()
    assert running.stdout is not None
    running.stdout.close()


def test_a_machine_is_found_by_its_name(process: "subprocess.Popen[bytes]") -> None:
    assert find_process(GuestName(SERVER, "job-1").mark) == process.pid
    assert guests_of(SERVER) == {"job-1": process.pid}


@pytest.mark.parametrize("name", [GuestName(SERVER, "job-11"), GuestName(SERVER, "job"), GuestName(f"{SERVER}2", "job-1")])
def test_a_name_that_only_resembles_is_another_machine(process: "subprocess.Popen[bytes]", name: GuestName) -> None:
    assert not carries(process.pid, name.mark)
    end_process(process.pid, name.mark)
    assert process.poll() is None


def test_a_process_that_ended_but_was_not_waited_for_is_not_alive(process: "subprocess.Popen[bytes]") -> None:
    name = GuestName(SERVER, "job-1")
    end_process(process.pid, name.mark)
    assert not carries(process.pid, name.mark)
    assert find_process(name.mark) is None


def test_ending_what_is_gone_is_no_error(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    end_process(process.pid, GuestName(SERVER, "job-1").mark)


def test_a_process_that_will_not_end_is_killed() -> None:
    name = GuestName(SERVER, "job-2")
    process = sleeper(name, stubborn=True)
    end_process(process.pid, name.mark, grace_s=0.2)
    assert process.wait(5) == -9
    assert process.stdout is not None
    process.stdout.close()
