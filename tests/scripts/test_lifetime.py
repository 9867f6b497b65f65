"""One demonstration at a time; what a killed one left is ended, and nothing else."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.children import Process, end, start
from scripts.lifetime import OpenJob, Record, one_demo, read_record, wait_for_demo
from server.errors import CumulusError
from tests.conftest import eventually

STUBBORN = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"]


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def known(process: "subprocess.Popen[bytes]") -> Process:
    found = Process.of(process.pid)
    assert found is not None
    return found


def leave(home: Path, record: Record) -> None:
    """What a demonstration that was killed would have left."""
    home.mkdir(exist_ok=True)
    (home / "demo.json").write_text(record.model_dump_json())


def killed(**more: object) -> Record:
    return Record.model_validate({"demo": {"pid": 4_000_000, "ticks": 1, "boot": "x"}, "since": 0.0, **more})


def test_what_a_killed_one_left_is_ended_and_said(tmp_path: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    leave(tmp_path, killed(children={"controller": known(sleeper)}, job=OpenJob(job_id=7, owner="ada")))
    said: list[str] = []
    with one_demo(tmp_path, said.append) as life:
        assert sleeper.wait(5) == -signal.SIGTERM
        assert life.left == OpenJob(job_id=7, owner="ada")
    assert len(said) == 1
    assert f"controller (process {sleeper.pid})" in said[0]
    assert "process 4000000, since" in said[0]


@pytest.mark.parametrize("change", [{"ticks": 1}, {"boot": "another"}])
def test_another_process_with_the_number_of_a_child_is_left_alone(
    tmp_path: Path, sleeper: "subprocess.Popen[bytes]", change: dict[str, object]
) -> None:
    leave(tmp_path, killed(children={"controller": known(sleeper).model_copy(update=change)}))
    said: list[str] = []
    with one_demo(tmp_path, said.append):
        pass
    assert sleeper.poll() is None
    assert said == []


def test_a_job_that_was_not_seen_to_its_end_stays_known_until_it_is(tmp_path: Path) -> None:
    with one_demo(tmp_path, print) as life:
        life.submitted(3, "ada")
    with one_demo(tmp_path, print) as life:
        assert life.left == OpenJob(job_id=3, owner="ada")
    with one_demo(tmp_path, print) as life:
        assert life.left == OpenJob(job_id=3, owner="ada")
        life.job_ended()
    with one_demo(tmp_path, print) as life:
        assert life.left is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"demo": 1}'])
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "demo.json").write_text(text)
    with one_demo(tmp_path, print) as life:
        assert life.left is None
    assert read_record(tmp_path) is None


def test_a_second_one_waits_and_says_for_whom(tmp_path: Path) -> None:
    said: list[str] = []
    came = threading.Event()

    def second() -> None:
        wait_for_demo(tmp_path, said.append)
        came.set()

    with one_demo(tmp_path, print):
        thread = threading.Thread(target=second)
        thread.start()
        eventually(lambda: said != [])
        assert not came.is_set()
    thread.join(10)
    assert came.is_set()
    assert f"(process {os.getpid()}, since " in said[0]


def test_a_child_is_known_while_it_runs(tmp_path: Path) -> None:
    with one_demo(tmp_path, print) as life:
        with life.child("agent", ["sleep", "60"]) as child:
            record = read_record(tmp_path)
            assert record is not None
            assert record.children == {"agent": known(child)}
        assert child.returncode == -signal.SIGTERM
        after = read_record(tmp_path)
        assert after is not None
        assert after.children == {}
    assert read_record(tmp_path) is None


def test_a_child_that_does_not_end_is_killed_and_named() -> None:
    child = subprocess.Popen(STUBBORN, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    with pytest.raises(CumulusError, match=f"the controller \\(process {child.pid}\\) did not end in 0 s and was killed"):
        end(child, "controller", 0.2)
    assert child.returncode == -signal.SIGKILL
    child.stdout.close()


def test_a_child_ends_with_whoever_started_it(tmp_path: Path) -> None:
    program = (
        "import sys, time; from scripts.children import start; print(start(['sleep', '60']).pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    eventually(lambda: b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0])
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: Process.of(pid) is None, 5)


def test_start_gives_a_session_of_its_own() -> None:
    child = start(["sleep", "60"])
    try:
        assert os.getsid(child.pid) == child.pid
    finally:
        child.kill()
        child.wait()
