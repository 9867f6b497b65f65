"""Plays, with Ansible as it is, on this computer."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from server.settings import CHECKOUT
from server.workers.ansible.connection import Host, MachineConnection
from server.workers.ansible.fork_server import AnsibleForkServer
from server.workers.ansible.playbooks import Playbooks, PlayOutcome, _works_in
from tests.conftest import eventually
from tests.processes import descriptors, has_ended, is_alive

pytestmark = pytest.mark.system

HERE = Host("job-7", "shell")
START = "cumulus_start_command"


@pytest.fixture(params=["alone", "fork_server"])
def playbooks(request: pytest.FixtureRequest) -> Iterator[Playbooks]:
    """As a command line plays, and as a controller does."""
    fork_server = AnsibleForkServer() if request.param == "fork_server" else None
    yield Playbooks(CHECKOUT / "infra" / "ansible", fork_server=fork_server)
    if fork_server:
        fork_server.stop()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "plays" / "job-7.start"


def start(
    playbooks: Playbooks, directory: Path, *command: str, timeout_s: float = 30, cancelled: Callable[[], bool] = lambda: False
) -> PlayOutcome:
    return playbooks.run("start.yml", directory, {START: list(command)}, timeout_s, cancelled, "shell")


def test_a_command_reaches_the_machine_word_for_word(playbooks: Playbooks, directory: Path, tmp_path: Path) -> None:
    playbooks.announce(directory, HERE)
    words = ["a b", "$HOME", "it's", "{{ 7 * 7 }}", ";true", '"']
    outcome = start(playbooks, directory, "sh", "-c", f'printf "%s\\n" "$@" > {tmp_path}/said', "sh", *words)
    assert (outcome.ok, outcome.message) == (True, "")
    assert (tmp_path / "said").read_text().splitlines() == words


def test_a_machine_s_own_shell_gets_each_command_whole(playbooks: Playbooks, directory: Path, tmp_path: Path) -> None:
    shell = tmp_path / "a shell"
    shell.write_text(f'#!/bin/sh\nprintf "%s\\n" "$#" "$@" > {tmp_path}/asked\necho "from the machine" >&2\nexit 3\n')
    shell.chmod(0o700)
    playbooks.announce(directory, Host("job-7", "shell", shell=(str(shell), "line")))
    outcome = start(playbooks, directory, "cumulus-worker", "start", "a b")
    assert (tmp_path / "asked").read_text().splitlines() == ["3", "line", "-c", "cumulus-worker start 'a b'"]
    assert (outcome.ok, outcome.message) == (False, "from the machine")
    assert playbooks.ask(directory, ["true"], 5) is None


def test_a_checkout_may_lie_in_a_folder_with_blanks_in_its_name(
    playbooks: Playbooks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ansible cuts the path of a shell at blanks."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    directory = tmp_path / "Ada's own  ü" / "plays" / "job-7.start"
    playbooks.announce(directory, HERE)
    outcome = start(playbooks, directory, "touch", f"{tmp_path}/ran")
    assert (outcome.ok, outcome.message) == (True, "")
    assert (tmp_path / "ran").exists()


def test_a_play_that_is_launched_early_waits_for_its_machine(playbooks: Playbooks, directory: Path, tmp_path: Path) -> None:
    outcomes: list[PlayOutcome] = []
    play = threading.Thread(target=lambda: outcomes.append(start(playbooks, directory, "touch", f"{tmp_path}/ran")))
    play.start()
    time.sleep(2)
    assert not (tmp_path / "ran").exists()
    playbooks.announce(directory, HERE)
    announced = time.monotonic()
    play.join(20)
    assert time.monotonic() - announced < 3
    assert outcomes[0].ok
    assert (tmp_path / "ran").exists()


def test_without_a_connection_it_asks_the_announcement(playbooks: Playbooks, directory: Path) -> None:
    playbooks.announce(directory, HERE)
    assert playbooks.run("start.yml", directory, {START: ["true"]}, 30, lambda: False).ok
    assert playbooks.run("start.yml", directory.with_name("never"), {START: ["true"]}, 30, lambda: True).ok is False


def test_a_failed_command_is_told_in_its_own_words(playbooks: Playbooks, directory: Path) -> None:
    playbooks.announce(directory, HERE)
    outcome = start(playbooks, directory, "sh", "-c", "echo the storage cannot be mounted >&2; exit 1")
    assert (outcome.ok, outcome.message) == (False, "the storage cannot be mounted")
    assert "the storage cannot be mounted" in outcome.output


def test_a_machine_that_does_not_answer_is_unreachable(playbooks: Playbooks, directory: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        playbooks.announce(
            directory, Host("job-7", "ssh", "127.0.0.1", taken.getsockname()[1], "root", "ssh-ed25519 AAAA", tmp_path)
        )
        outcome = playbooks.run("start.yml", directory, {START: ["true"]}, 30, lambda: False, "ssh")
    assert not outcome.ok
    assert outcome.message.startswith("the machine does not answer")
    assert "refused" in outcome.message


def test_a_teardown_succeeds_whatever_it_finds(playbooks: Playbooks, directory: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        gone = Host("job-7", "ssh", "127.0.0.1", taken.getsockname()[1], "root", "ssh-ed25519 AAAA", tmp_path)
        playbooks.announce(directory, gone)
        assert playbooks.run("teardown.yml", directory, {"cumulus_stop_command": ["true"]}, 30, lambda: False).ok
    playbooks.announce(directory, HERE)
    assert playbooks.run("teardown.yml", directory, {"cumulus_stop_command": ["false"]}, 30, lambda: False).ok


def test_a_play_out_of_time_is_ended_with_all_its_processes(playbooks: Playbooks, directory: Path, tmp_path: Path) -> None:
    playbooks.announce(directory, HERE)
    outcome = start(playbooks, directory, "sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 61", timeout_s=2.5)
    assert (outcome.ok, outcome.message) == (False, "the machine did not finish the play within 2 s")
    assert has_ended(int((tmp_path / "pid").read_text()))
    assert at_work_in(directory) == []


def test_the_time_counts_from_the_announcement(playbooks: Playbooks, directory: Path) -> None:
    outcomes: list[PlayOutcome] = []
    play = threading.Thread(target=lambda: outcomes.append(start(playbooks, directory, "true", timeout_s=1.5)))
    play.start()
    time.sleep(2.5)
    playbooks.announce(directory, HERE)
    play.join(20)
    assert outcomes[0].ok


def test_what_waits_for_the_machine_is_known_in_a_folder_with_blanks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes by another path there."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    reach = MachineConnection(tmp_path / "two words" / "job-7.start")
    reach.directory.mkdir(parents=True)
    reach.write_wait()
    with subprocess.Popen([reach.shell, "-c", "true"]) as waiting:
        try:  # its command line is empty for a moment
            eventually(lambda: [process.pid for process in at_work_in(reach.directory)] == [waiting.pid])
        finally:
            waiting.kill()


def test_a_play_that_nobody_wants_any_more_ends_soon(playbooks: Playbooks, directory: Path) -> None:
    unwanted = threading.Event()
    threading.Timer(1.5, unwanted.set).start()
    begin = time.monotonic()
    outcome = start(playbooks, directory, "true", cancelled=unwanted.is_set)
    assert (outcome.ok, outcome.message) == (False, "the play was cancelled")
    assert time.monotonic() - begin < 4
    assert at_work_in(directory) == []


def test_a_play_leaves_the_caller_as_it_was(playbooks: Playbooks, directory: Path) -> None:
    playbooks.announce(directory, HERE)
    start(playbooks, directory, "true")  # what is imported at first use stays
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    threads, opened = set(threading.enumerate()), descriptors()
    start(playbooks, directory, "true")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    assert set(threading.enumerate()) - threads == set()
    assert descriptors() - opened == set()


def test_the_record_of_a_play_is_private_and_stays(playbooks: Playbooks, directory: Path) -> None:
    playbooks.announce(directory, HERE)
    start(playbooks, directory, "true")
    assert directory.stat().st_mode & 0o077 == 0
    assert "Give the worker its job" in (directory / "artifacts" / "play" / "stdout").read_text()


def test_a_machines_key_is_pinned_and_its_control_socket_has_a_short_name(playbooks: Playbooks, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    for directory in (tmp_path / "x.start", deep / "x.start"):
        playbooks.announce(directory, Host("job-7", "ssh", "10.1.2.3", 22, "root", "ssh-ed25519 AAAA", tmp_path / "a key"))
        text = (directory / "reach").read_text()
        path = text.split("ControlPath=")[1].split()[0].strip("'")
        assert len(os.fsencode(path)) < 91
        assert {"StrictHostKeyChecking=yes", "HostKeyAlias=job-7", "HostName=10.1.2.3"} <= set(text.split())
        assert (directory / "known_hosts").read_text() == "job-7 ssh-ed25519 AAAA\n"


def test_a_second_run_in_one_place_takes_its_own_variables(playbooks: Playbooks, directory: Path, tmp_path: Path) -> None:
    playbooks.announce(directory, HERE)
    start(playbooks, directory, "touch", f"{tmp_path}/one")
    start(playbooks, directory, "touch", f"{tmp_path}/two")
    assert (tmp_path / "two").exists()
    assert "/one" not in (directory / "env" / "extravars").read_text()


def at_work_in(directory: Path) -> list[psutil.Process]:
    """Processes that are of the play in that folder, whoever started them."""
    return [one for one in psutil.process_iter() if _works_in(one, directory) and is_alive(one)]
