"""What programs of a job reach: on this computer's own kernel, and as ip(8) is told on a machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runner.conftest import FILES

# Python that uses the runner's modules as the service on a machine does.
BEGIN = f"import sys; sys.path.insert(0, {str(FILES)!r})\n"


def run(program: str, *, root: bool = True) -> str:
    if root and os.geteuid() != 0:
        pytest.skip("needs root rights")
    done = subprocess.run([sys.executable, "-c", BEGIN + program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


SHUT_IN = """
import dataclasses, os, socket, threading
own_network = os.readlink("/proc/self/ns/net")
from cumulus_runner.network import closed_network, entered
from cumulus_runner.programs import Account, Attendance, Program, StopRequest, environment
user = Account("nobody", 65534, 65534, (65534,), closed_network())
read, write = os.pipe()
server = socket.create_server(("127.0.0.1", 0))
attack = '''
import os, socket
print([name for _, name in socket.if_nameindex()], os.getuid())
try:
    socket.create_connection(("127.0.0.1", %d), 2)
except OSError as problem:
    print(problem.strerror)
own = socket.create_server(("127.0.0.1", 0))
print(bool(socket.create_connection(own.getsockname(), 2)))
''' % server.getsockname()[1]
def start(user):
    got = []
    program = Program(["python3", "-c", attack], "/", environment("/tmp", None), user)
    code = Attendance(program, StopRequest(), (got.append, got.append)).wait()
    return code, b"".join(got).decode().split("\\n")
"""


def test_a_program_reaches_itself_and_nothing_else() -> None:
    said = run(SHUT_IN + "print(start(user))\nprint(os.readlink('/proc/thread-self/ns/net') == own_network)")
    told, back = said.splitlines()
    assert told == "(0, [\"['lo'] 65534\", 'Connection refused', 'True', ''])"
    assert back == "True"


def test_a_program_of_the_open_network_is_where_the_runner_is() -> None:
    said = run(SHUT_IN + "from cumulus_runner.network import OPEN\nprint(start(dataclasses.replace(user, network=OPEN)))")
    assert "Connection refused" not in said


def test_threads_that_start_programs_at_once_all_come_back() -> None:
    program = """
def work():
    for _ in range(10):
        with entered(user.network):
            assert os.readlink("/proc/thread-self/ns/net") != own_network
        assert os.readlink("/proc/thread-self/ns/net") == own_network
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("done")
"""
    assert run(SHUT_IN + program) == "done\n"


def test_a_program_that_cannot_be_started_leaves_the_runner_where_it_was() -> None:
    program = """
try:
    Program(["/no/such/program"], "/", {}, user)
except FileNotFoundError:
    print(os.readlink("/proc/thread-self/ns/net") == own_network)
"""
    assert run(SHUT_IN + program) == "True\n"


def test_rules_leave_name_servers_their_answers_and_neighbours_nothing() -> None:
    program = (
        "from cumulus_runner.network import rules; print(rules(61000, ['10.0.2.3'], ['10.0.0.0/8', '10.0.0.0/8', '192.0.2.7']))"
    )
    assert run(program, root=False).split("\n")[:-2] == [
        "rule add priority 100 uidrange 61000-61000 to 10.0.2.3 ipproto 17 dport 53 lookup main",
        "rule add priority 100 uidrange 61000-61000 to 10.0.2.3 ipproto 6 dport 53 lookup main",
        "rule add priority 101 uidrange 61000-61000 to 10.0.0.0/8 prohibit",
        "rule add priority 101 uidrange 61000-61000 to 192.0.2.7 prohibit",
    ]


def test_neighbours_are_what_is_reached_without_a_gateway(tmp_path: Path) -> None:
    (tmp_path / "4").write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t006B8D8D\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    one = "20010db8000100000000000000000000 40 00000000000000000000000000000000 00"
    (tmp_path / "6").write_text(
        f"{one} 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0\n"
        f"{one} fe800000000000000000000000000001 00000100 00000001 00000000 00000001 eth0\n"
        f"{one} 00000000000000000000000000000000 00000100 00000001 00000000 80200001 lo\n"
    )
    (tmp_path / "resolv.conf").write_text("# a comment\nnameserver 10.0.2.3\nsearch example.org\nnameserver fe80::1%eth0\n")
    program = f"""
from cumulus_runner import network
print(network.neighbours_4({str(tmp_path / "4")!r}), network.neighbours_6({str(tmp_path / "6")!r}))
print(network.name_servers({str(tmp_path / "resolv.conf")!r}), network.name_servers("/no/such/file"))
"""
    assert run(program, root=False) == "['141.141.107.0/24'] ['2001:db8:1::/64']\n['10.0.2.3', 'fe80::1'] []\n"


# A computer with an address on the internet behind a gateway; the user may reach it, and nothing else.
FENCED = """
import os, socket, subprocess
from cumulus_runner.network import fence
def run(line):
    subprocess.run(line.split(), check=True)
for line in (
    "ip link set lo up", "ip link add name out type veth peer name far", "ip addr add 198.51.100.1/24 dev out",
    "ip link set out up", "ip link set far up", "ip route add default via 198.51.100.2",
):
    run(line)
def route(address, uid=61000):
    asked = subprocess.run(["ip", "route", "get", address, "uid", str(uid)], capture_output=True, text=True)
    return "refused" if asked.returncode else asked.stdout.split(" dev ")[1].split()[0]
fence(61000, "203.0.113.5")
fence(61000, "203.0.113.5")
near = ("198.51.100.9", "203.0.113.5", "169.254.169.254", "10.0.2.2", "192.168.1.1")
print([route(one) for one in ("192.0.2.1", *near, "127.0.0.1")])
print([route(one, 0) for one in ("198.51.100.9", "203.0.113.5", "169.254.169.254")])
print(len(subprocess.run(["ip", "rule"], capture_output=True, text=True).stdout.splitlines()))
"""


@pytest.mark.skipif(not Path("/sbin/ip").exists(), reason="needs iproute2")
def test_a_fenced_user_reaches_the_internet_alone() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root rights")
    command = ["unshare", "--net", sys.executable, "-c", BEGIN + FENCED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    fenced, root, _ = done.stdout.splitlines()
    assert ast_list(fenced) == ["out", *["refused"] * 5, "lo"]
    assert ast_list(root) == ["out", "out", "out"]


def ast_list(line: str) -> list[str]:
    return [word.strip("' ") for word in line.strip("[]").split(",")]


def test_a_fence_that_cannot_be_made_is_an_error() -> None:
    program = """
from cumulus_runner import network
from cumulus_runner.errors import RunnerError
network.name_servers = lambda: ["no address"]
try:
    network.fence(61000, "192.0.2.1")
except RunnerError as problem:
    print(problem)
"""
    if os.geteuid() != 0:
        pytest.skip("needs root rights")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", BEGIN + program], capture_output=True, text=True, check=False
    )
    assert "the app's network cannot be fenced: " in done.stdout, done.stderr


def test_no_file_is_larger_than_the_disk(tmp_path: Path) -> None:
    program = f"""
import os
from cumulus_runner.programs import limit_files
limit_files({str(tmp_path)!r})
try:
    with open({str(tmp_path / "huge")!r}, "wb") as file:
        file.truncate(1 << 50)
except OSError as problem:
    print(problem.strerror)
"""
    assert run(program, root=False) == "File too large\n"
