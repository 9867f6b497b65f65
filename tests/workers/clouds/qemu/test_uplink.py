"""The way to the internet and what it does not lead to, on a computer that the test makes: with a network and a gateway."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.services import doctor
from server.services.principal import Principal
from server.settings import CloudName, Settings
from server.workers.clouds.qemu.network import uplink
from server.workers.clouds.qemu.network.private_network import PrivateNetwork, UplinkFailed
from server.workers.clouds.qemu.network.uplink import Uplink, fence, neighbours
from tests.workers.clouds.qemu.building import unique_server

SERVER_ID = unique_server()
# In a network namespace that is a computer to it: 198.51.100.9 is on the internet behind the gateway 192.0.2.2, where a metadata
# service is, too; 192.0.2.1 and 203.0.113.1 are the computer's own.
COMPUTER = """
import os, socket, subprocess, sys, threading, time
from pathlib import Path
from server.workers.clouds.qemu.network.private_network import private_network
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.network.uplink import Uplink

def run(line):
    subprocess.run(line.split(), check=True)
def serve(address):
    server = socket.create_server((address, 80))
    def talk():
        while True:
            with server.accept()[0] as connection:
                connection.sendall(b"hello")
    threading.Thread(target=talk, daemon=True).start()
def dial(address):
    try:
        with socket.create_connection((address, 80), 3) as connection:
            return connection.recv(5).decode()
    except OSError as problem:
        return problem.strerror or str(problem)

others = subprocess.Popen(["unshare", "--net", sys.executable, "-c", sys.argv[3]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
others.stdout.readline()
for line in (
    "ip link set lo up", f"ip link add lan type veth peer name far netns {others.pid}", "ip addr add 192.0.2.1/24 dev lan",
    "ip addr add 203.0.113.1/32 dev lan", "ip link set lan up", "ip route add default via 192.0.2.2",
):
    run(line)
others.stdin.write(b"\\n"); others.stdin.flush(); others.stdout.readline()
serve("")
home = QemuHome(Path(sys.argv[1]))
mark = f"guest=cumulus.{sys.argv[2]}.job-1,"
network = private_network(home, sys.argv[2])
machine = network.inside(lambda: subprocess.Popen([sys.executable, "-c", "input()", mark], stdin=subprocess.PIPE))
targets = ("198.51.100.9", "192.0.2.1", "203.0.113.1", "192.0.2.2", "169.254.169.254", "10.254.254.3", "127.0.0.1")
way = Uplink(network, home.root, sys.argv[2])
told = {"computer": {one: dial(one) for one in targets[:5]}}
told["before"] = {one: network.inside(lambda: dial(one)) for one in targets}
way.ensure(machine.pid)
way.ensure(machine.pid)
told["after"] = {one: network.inside(lambda: dial(one)) for one in targets}
told["programs"] = subprocess.run(["pgrep", "-fc", "^slirp4netns=cumulus." + sys.argv[2]], capture_output=True, text=True).stdout
way.end()
told["ended"] = network.inside(lambda: dial(targets[0]))
way.ensure(machine.pid)
told["again"] = network.inside(lambda: dial(targets[0]))
way.end()
print(told)
machine.communicate(b"\\n")
others.kill()
"""
OTHERS = """
import socket, subprocess, threading
print(flush=True); input()
for line in ("ip link set lo up", "ip addr add 192.0.2.2/24 dev far", "ip link set far up", "ip addr add 198.51.100.9/32 dev lo",
             "ip addr add 169.254.169.254/32 dev lo"):
    subprocess.run(line.split(), check=True)
server = socket.create_server(("", 80))
print(flush=True)
while True:
    with server.accept()[0] as connection:
        connection.sendall(b"hello")
"""


@pytest.fixture
def way(tmp_path: Path) -> Uplink:
    return Uplink(PrivateNetwork(lambda: (), tmp_path / "lock"), tmp_path, SERVER_ID)


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which(uplink.PROGRAM), reason="needs root rights and slirp4netns")
def test_it_leads_to_the_internet_and_to_no_neighbour(tmp_path: Path) -> None:
    computer = ["unshare", "--net", sys.executable, "-c", COMPUTER, str(tmp_path), SERVER_ID, OTHERS]
    done = subprocess.run(computer, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    told = ast.literal_eval(done.stdout)
    assert set(told["computer"].values()) == {"hello"}
    nothing, refused = "Network is unreachable", "Permission denied"
    assert set(told["before"].values()) == {nothing, "Connection refused"}  # the last is its own loopback device
    assert told["after"] == {
        "198.51.100.9": "hello",
        **dict.fromkeys(("192.0.2.1", "203.0.113.1", "192.0.2.2", "169.254.169.254", "10.254.254.3"), refused),
        "127.0.0.1": "Connection refused",
    }
    assert told["programs"] == "1\n"
    assert told["ended"] == nothing
    assert told["again"] == "hello"


def test_without_its_program_it_is_said_how_to_get_it(way: Uplink, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ip").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UplinkFailed, match="apt-get install slirp4netns"):
        way.ensure(1)


def test_what_is_near_is_closed_before_there_is_a_way() -> None:
    orders = fence(["192.0.2.1/32", "192.0.2.0/24"]).splitlines()
    assert "route replace prohibit 169.254.0.0/16" in orders
    assert "route replace prohibit 192.0.2.0/24" in orders
    names = [order for order in orders if "10.254.254.3" in order]
    assert names[-1].endswith("to 10.254.254.3 prohibit")
    assert all("dport 53" in order for order in names[:-1])


def test_this_computers_own_addresses_are_near() -> None:
    assert all(not one.startswith("127.") for one in neighbours())


@pytest.mark.parametrize(("cloud", "told"), [(CloudName.QEMU, True), (CloudName.LOCAL, False)])
def test_doctor_names_the_apps_that_lack_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cloud: CloudName, told: bool
) -> None:
    settings.apps, settings.cloud = tmp_path, cloud
    (tmp_path / "outer.xml").write_text('<tool id="outer_1" name="o" version="1" command="true" end_tag="" network="internet"/>')
    (tmp_path / "inner.xml").write_text('<tool id="inner_1" name="i" version="1" command="true" end_tag=""/>')
    monkeypatch.setattr(doctor, "uplink_problems", lambda: ["slirp4netns is not installed"])
    apps = [finding.text for finding in doctor.examine(Principal.local_admin("root"), settings) if finding.name == "app"]
    assert apps == ["outer_1: slirp4netns is not installed"] * told
