"""The process that plays for Ansible, as it is: what it costs nothing to lose, and what must not outlive whom."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from server.process_priority import TOOL
from server.settings import CHECKOUT
from server.workers.ansible.connection import Host
from server.workers.ansible.fork_server import CLIENT, AnsibleForkServer
from server.workers.ansible.playbooks import Playbooks, PlayOutcome
from tests.processes import command_of, descriptors, is_alive
from tests.workers.test_playbooks import at_work_in, start

pytestmark = pytest.mark.system
HERE = Host("job-7", "shell")
# A controller of its own that plays for ever, so that it can be killed.
CONTROLLER = """
import sys
from pathlib import Path
from server.workers.ansible.playbooks import Playbooks
from server.workers.ansible.connection import Host
from server.workers.ansible.fork_server import AnsibleForkServer
playbooks, directory = Playbooks(Path(sys.argv[1]), fork_server=AnsibleForkServer()), Path(sys.argv[2])
playbooks.announce(directory, Host("job-7", "shell"))
playbooks.run("start.yml", directory, {"cumulus_start_command": ["sh", "-c", sys.argv[3]]}, 60, lambda: False, "shell")
"""


@pytest.fixture
def fork_server() -> Iterator[AnsibleForkServer]:
    found = AnsibleForkServer()
    yield found
    found.stop()


@pytest.fixture
def playbooks(fork_server: AnsibleForkServer) -> Playbooks:
    return Playbooks(CHECKOUT / "infra" / "ansible", fork_server=fork_server)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "plays" / "job-7.start"


def eventually(look: Callable[[], bool], limit_s: float = 15) -> None:
    end = time.monotonic() + limit_s
    while not look():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def process_of(fork_server: AnsibleForkServer) -> psutil.Process:
    assert fork_server._process is not None
    return psutil.Process(fork_server._process.pid)


def test_a_play_is_forked_and_nothing_is_imported_again(
    playbooks: Playbooks, fork_server: AnsibleForkServer, directory: Path
) -> None:
    playbooks.announce(directory, HERE)
    assert start(playbooks, directory, "true").ok
    before = process_of(fork_server).cpu_times().children_user
    assert start(playbooks, directory, "true").ok
    forked = process_of(fork_server).cpu_times().children_user - before
    alone = subprocess.run(
        [sys.executable, "-c", "import ansible.cli.playbook, time; print(time.process_time())"],
        stdout=subprocess.PIPE,
        check=True,
    )
    assert 0 < forked < 1.6 * float(alone.stdout), "a play computes about as long as the imports alone, and not both"


def test_a_play_goes_after_the_controller(playbooks: Playbooks, directory: Path, tmp_path: Path) -> None:
    playbooks.announce(directory, HERE)
    assert start(playbooks, directory, "sh", "-c", f"nice > {tmp_path}/nice").ok
    assert int((tmp_path / "nice").read_text()) == psutil.Process().nice() + TOOL


def test_it_is_started_again_after_its_end(playbooks: Playbooks, fork_server: AnsibleForkServer, directory: Path) -> None:
    playbooks.announce(directory, HERE)
    assert start(playbooks, directory, "true").ok
    former = process_of(fork_server)
    former.kill()
    former.wait(10)
    assert start(playbooks, directory, "true").ok
    assert process_of(fork_server).pid != former.pid


def test_where_it_has_gone_the_client_becomes_the_command(tmp_path: Path) -> None:
    said = tmp_path / "said"
    command = ["sh", "-c", f"echo $0 $1 > {said}; exit 3", "a", "b"]
    command = [sys.executable, "-I", "-S", str(CLIENT), "cumulus-plays-of-nobody", *command]
    assert subprocess.run(command, check=False).returncode == 3
    assert said.read_text() == "a b\n"


def test_a_play_that_it_takes_with_it_has_failed(
    playbooks: Playbooks, fork_server: AnsibleForkServer, directory: Path, tmp_path: Path
) -> None:
    playbooks.announce(directory, HERE)
    outcomes: list[PlayOutcome] = []
    command = ("sh", "-c", f"touch {tmp_path}/ran; exec sleep 61")
    play = threading.Thread(target=lambda: outcomes.append(start(playbooks, directory, *command)))
    play.start()
    eventually((tmp_path / "ran").exists)
    process_of(fork_server).kill()
    play.join(20)
    assert not outcomes[0].ok
    assert outcomes[0].message.endswith("the process that plays for Ansible has ended")
    assert at_work_in(directory) == []


def test_a_play_ends_with_its_client(
    fork_server: AnsibleForkServer, playbooks: Playbooks, directory: Path, tmp_path: Path
) -> None:
    playbooks.announce(directory, HERE)
    play = threading.Thread(target=start, args=(playbooks, directory, "sh", "-c", f"touch {tmp_path}/ran; exec sleep 61"))
    play.start()
    eventually((tmp_path / "ran").exists)
    client = next(one for one in psutil.Process().children() if str(CLIENT) in command_of(one))
    client.kill()
    play.join(20)
    eventually(lambda: at_work_in(directory) == [])
    assert start(playbooks, directory, "true").ok, "the others' process goes on"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_of_it_outlives_the_controller(directory: Path, tmp_path: Path, number: signal.Signals) -> None:
    arguments = (str(CHECKOUT / "infra" / "ansible"), str(directory), f"touch {tmp_path}/ran; exec sleep 61")
    controller = subprocess.Popen([sys.executable, "-c", CONTROLLER, *arguments], stderr=subprocess.DEVNULL)
    eventually((tmp_path / "ran").exists)
    family = psutil.Process(controller.pid).children(recursive=True)
    assert any("server.workers.ansible.fork_server" in command_of(one) for one in family)
    controller.send_signal(number)
    controller.wait(10)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert [one for one in alive if is_alive(one)] == []
    assert at_work_in(directory) == []


def test_who_sends_rubbish_hears_nothing_and_disturbs_nobody(
    playbooks: Playbooks, fork_server: AnsibleForkServer, directory: Path
) -> None:
    playbooks.announce(directory, HERE)
    assert start(playbooks, directory, "true").ok
    for rubbish in (b"\n", b"{}\n", b'{"argv": [], "cwd": "/", "env": {}}\n'):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"\0{fork_server._name}")
            connection.sendall(rubbish)
            connection.settimeout(10)
            assert connection.recv(16) == b""
    before = descriptors(process_of(fork_server).pid)
    assert start(playbooks, directory, "true").ok
    assert descriptors(process_of(fork_server).pid) - before == set()


def test_another_ansible_on_the_path_is_somebodys_wish(
    playbooks: Playbooks, fork_server: AnsibleForkServer, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "bin" / "ansible-playbook"
    other.parent.mkdir()
    other.write_text(f"#!/bin/sh\ntouch {tmp_path}/other\n")
    other.chmod(0o700)
    environment = {"PATH": f"{other.parent}{os.pathsep}{os.environ['PATH']}"}
    monkeypatch.setattr("server.workers.ansible.playbooks._environment", lambda *_: environment)
    playbooks.announce(directory, HERE)
    start(playbooks, directory, "true")
    assert (tmp_path / "other").exists()
    assert fork_server._process is None
