"""The private network: found by who is in it, made where nobody is, gone with the last one."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.errors import InfrastructureError
from server.workers.clouds.qemu.dial import dial_command
from server.workers.clouds.qemu.machine import Machine, Machines, MachineSpec
from server.workers.clouds.qemu.network import private_network as network
from server.workers.clouds.qemu.network.private_network import PrivateNetwork, connect, listens, network_problems, private_network
from server.workers.clouds.qemu.paths import QemuHome
from tests.workers.clouds.qemu.building import unique_server

SERVER_ID = unique_server()
# A machine to whoever looks for one: says on which port it listens, says "SSH-" to who comes, ends with its input.
MACHINE = """
import socket, sys, threading
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
def talk():
    while True:
        server.accept()[0].sendall(b"SSH-2.0-x")
threading.Thread(target=talk, daemon=True).start()
sys.stdin.read()
"""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root rights")


@pytest.fixture
def home(tmp_path: Path) -> QemuHome:
    return QemuHome(tmp_path)


def start(found: PrivateNetwork, worker: str = "job-1") -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", MACHINE, f"guest=cumulus.{SERVER_ID}.{worker},"]
    return found.inside(lambda: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))


def port_of(machine: "subprocess.Popen[str]") -> int:
    assert machine.stdout
    return int(machine.stdout.readline())


@pytest.fixture
def machine(home: QemuHome) -> "Iterator[subprocess.Popen[str]]":
    with start(private_network(home, SERVER_ID)) as process:
        yield process
        process.communicate()


def namespace(pid: int | str) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def test_what_listens_there_is_reached_from_inside_alone(machine: "subprocess.Popen[str]") -> None:
    port = port_of(machine)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 2)
    with connect(machine.pid, port, 2) as connection:
        assert connection.recv(4) == b"SSH-"
    assert listens(machine.pid, port)
    assert not listens(os.getpid(), port)


def test_this_process_stays_where_it_is(home: QemuHome) -> None:
    before = namespace("self")
    there = private_network(home, SERVER_ID).inside(lambda: namespace("thread-self"))
    assert there != before
    assert namespace("self") == namespace("thread-self") == before


def test_all_machines_of_an_installation_share_one(home: QemuHome, machine: "subprocess.Popen[str]") -> None:
    with start(private_network(home, SERVER_ID), "job-2") as second:
        assert namespace(machine.pid) == namespace(second.pid) != namespace("self")
        second.communicate()
    with start(private_network(home, unique_server())) as foreign:
        assert namespace(foreign.pid) != namespace(machine.pid)
        foreign.communicate()


def test_who_comes_first_makes_it_for_all_that_come_at_once(home: QemuHome) -> None:
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda number: start(private_network(home, SERVER_ID), f"job-{number}"), range(6)))
    try:
        assert len({namespace(one.pid) for one in found}) == 1
    finally:
        for one in found:
            one.communicate()


def test_nothing_but_itself_is_reached_from_there(machine: "subprocess.Popen[str]", home: QemuHome) -> None:
    def reach() -> list[str]:
        return [name for _, name in socket.if_nameindex()]

    assert private_network(home, SERVER_ID).inside(reach) == ["lo"]
    with socket.create_server(("127.0.0.1", 0)) as ours:
        there = ours.getsockname()
        with pytest.raises(ConnectionRefusedError):
            private_network(home, SERVER_ID).inside(lambda: socket.create_connection(there, 2))


def test_what_goes_wrong_inside_is_told_outside(home: QemuHome) -> None:
    def fail() -> None:
        raise LookupError("as it was")

    with pytest.raises(LookupError, match="as it was"):
        private_network(home, SERVER_ID).inside(fail)
    assert "network" not in [thread.name for thread in threading.enumerate()]


def test_processes_there_ask_the_name_server_that_they_are_given(home: QemuHome, tmp_path: Path) -> None:
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 10.254.254.3\n")
    before = network.RESOLVER.read_bytes()
    read = ["cat", str(network.RESOLVER)]
    seen = private_network(home, SERVER_ID).inside(
        lambda: subprocess.run(read, capture_output=True, text=True, check=True), resolver
    )
    assert seen.stdout == "nameserver 10.254.254.3\n"
    assert network.RESOLVER.read_bytes() == before


def test_a_computer_that_makes_no_network_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert network_problems() == []
    monkeypatch.setattr(network, "CLONE_NEWNET", 0x40)  # no such kind of namespace
    (problem,) = network_problems()
    assert "Invalid argument" in problem
    assert "CUMULUS_CLOUD=local" in problem
    with pytest.raises(InfrastructureError, match="could read and write the storage"):
        PrivateNetwork(lambda: (), Path("/dev/shm/cumulus-test.lock")).inside(lambda: None)


def machine_json(home: QemuHome, pid: int, port: int) -> Path:
    given = {"server_id": SERVER_ID, "worker": "job-1", "snapshot": "1", "cpus": 1, "memory_mb": 256, "disk_gb": 2}
    spec = MachineSpec.model_validate({**given, "ssh_public_key": "ssh-ed25519 AAAA"})
    machines = Machines(home)
    machines.folder("job-1").mkdir(parents=True)
    machines.write(Machine(spec=spec, host_key="", pid=pid, port=port))
    return machines.folder("job-1")


def dial(folder: Path) -> "tuple[subprocess.CompletedProcess[bytes], list[int]]":
    """As ssh does: the program's standard output is a socket, over which the connection comes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = subprocess.run(dial_command(folder), stdout=theirs, stderr=subprocess.PIPE, check=False)
        ours.settimeout(2)
        return done, socket.recv_fds(ours, 1, 1)[1] if done.returncode == 0 else []


def test_ssh_is_handed_a_connection_to_the_machine(home: QemuHome, machine: "subprocess.Popen[str]") -> None:
    done, (handle,) = dial(machine_json(home, machine.pid, port_of(machine)))
    assert done.returncode == 0
    with socket.socket(fileno=handle) as connection:
        assert connection.recv(4) == b"SSH-"


def test_no_way_to_a_machine_is_said(home: QemuHome, machine: "subprocess.Popen[str]", tmp_path: Path) -> None:
    assert b"there is no machine in" in dial(tmp_path)[0].stderr
    done, _ = dial(machine_json(home, machine.pid, 1))
    assert done.returncode == 1
    assert b"cannot be reached: [Errno 111] Connection refused" in done.stderr
