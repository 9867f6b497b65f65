"""The lock on a state: who holds it by the kernel's word, what a dead process leaves, and how a holder is ended."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.workers.terraform.module import terraform_binary
from server.workers.terraform.state_lock import StillLocked, clear, end_holder, read_lock
from tests.conftest import eventually
from tests.workers.test_terraform import hold

STUBBORN = """
import fcntl, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
with open(sys.argv[1], "r+") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(600)
"""
SLOW = """
terraform {
  backend "local" {}
}
resource "terraform_data" "quick" {}
resource "terraform_data" "slow" {
  depends_on = [terraform_data.quick]
  provisioner "local-exec" {
    command = "touch begun; exec sleep 600"
  }
}
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "terraform.tfstate"
    path.write_text("{}")
    return path


@pytest.fixture
def holder(state: Path) -> Iterator["subprocess.Popen[str]"]:
    with hold(state, 600) as process:
        yield process
        process.kill()


def note_of(state: Path) -> Path:
    return state.with_name(".terraform.tfstate.lock.info")


def test_a_free_state_has_no_lock(state: Path) -> None:
    assert read_lock(state) is None
    assert read_lock(state.with_name("none")) is None


def test_a_held_lock_names_its_process_and_what_it_is_held_for(state: Path, holder: "subprocess.Popen[str]") -> None:
    lock = read_lock(state)
    assert lock is not None
    assert (lock.operation, lock.who, lock.pid) == ("apply", "an earlier one", holder.pid)
    assert lock.is_held
    assert abs(lock.since - time.time()) < 60


def test_asking_who_holds_a_lock_keeps_nobody_from_it(state: Path, holder: "subprocess.Popen[str]") -> None:
    holder.kill()
    holder.wait()
    for _ in range(3):
        lock = read_lock(state)
    assert lock is not None
    assert not lock.is_held
    with hold(state, 600) as next_one:
        assert (read_lock(state) or lock).pid == next_one.pid
        next_one.kill()


def test_what_a_dead_process_left_is_cleared_away(state: Path, holder: "subprocess.Popen[str]") -> None:
    with pytest.raises(StillLocked):
        clear(state)
    assert note_of(state).exists()
    holder.kill()
    holder.wait()
    clear(state)
    clear(state)
    assert read_lock(state) is None


def test_a_holder_is_interrupted_and_only_killed_if_it_does_not_go(state: Path, holder: "subprocess.Popen[str]") -> None:
    end_holder(state)
    assert holder.wait(5) == -signal.SIGINT
    with subprocess.Popen([sys.executable, "-c", STUBBORN, str(state)], stdout=subprocess.PIPE, text=True) as stubborn:
        assert stubborn.stdout is not None
        assert stubborn.stdout.readline() == "held\n"
        end_holder(state, interrupt_grace_s=0.5)
        assert stubborn.wait(5) == -signal.SIGKILL


def test_a_real_terraform_that_is_ended_so_has_written_down_what_it_made(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(SLOW)
    environment = {**os.environ, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
    where = {"cwd": tmp_path, "env": environment, "stdout": subprocess.DEVNULL}
    subprocess.run([terraform_binary(), "init"], check=True, **where)
    state = tmp_path / "terraform.tfstate"
    with subprocess.Popen([terraform_binary(), "apply", "-auto-approve"], stdin=subprocess.DEVNULL, **where) as terraform:
        eventually((tmp_path / "begun").exists)
        lock = read_lock(state)
        assert lock is not None
        assert (lock.operation, lock.pid) == ("apply", terraform.pid)
        assert "@" in lock.who
        end_holder(state)
        terraform.wait(20)
    assert read_lock(state) is None
    assert {one["name"] for one in json.loads(state.read_text())["resources"]} == {"quick", "slow"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"Who": 7, "Operation": ["x"]}', "[" * 100_000, '{"Who": "\\ud800"}', "\x00" * 100]
)
def test_a_note_that_is_garbage_is_a_lock_without_words(state: Path, text: str) -> None:
    note_of(state).write_text(text)
    lock = read_lock(state)
    assert lock is not None
    assert (lock.operation, lock.who.strip("?"), lock.pid) == ("", "", None)


def test_a_note_s_words_cannot_move_the_cursor_nor_fill_the_screen(state: Path) -> None:
    note_of(state).write_text(json.dumps({"Who": "\x1b[2Jroot\r\n\u202e@" + "x" * 9999, "Operation": "OperationTypeApply\x07"}))
    lock = read_lock(state)
    assert lock is not None
    assert lock.who.isprintable()
    assert lock.who.startswith("?[2Jroot")
    assert len(lock.who) == 100
    assert lock.operation == "apply?"


def test_a_note_that_is_a_link_or_a_pipe_is_not_followed_and_not_waited_for(state: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"Who": "secret"}')
    note_of(state).symlink_to(secret)
    assert read_lock(state) is None
    note_of(state).unlink()
    os.mkfifo(note_of(state))
    assert read_lock(state) is None
