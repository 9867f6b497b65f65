"""What an app on a real machine reaches, and what other users of this computer reach of an installation at work."""

import ast
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from server.client import Client
from server.home.folder import SOCKET_FILE
from server.settings import Settings
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.delivery import deliver
from server.workers.ansible.connection import Host, MachineConnection
from server.workers.clouds.qemu.channel import run_in_guest
from server.workers.clouds.qemu.dial import dial_command
from server.workers.clouds.qemu.machine import read_machine
from server.workers.clouds.qemu.network.uplink import neighbours, uplink_problems
from server.workers.clouds.qemu.paths import QemuHome
from tests.e2e.conftest import served, until, wait_for

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]

APP = """\
<tool id="attack{id}_1.0" name="Attack" version="1.0" category="Tests" description="Runs a program" command="" end_tag=""
      {network}>
  <section name="what" title="What to do" expanded="true">
    <filelist name="program" label="Program" multiple="false" is_folder="false" is_raw_input="false"
              repeated_command="python3 '%value%'; sleep 2"/>
  </section>
</tool>
"""
# Prints a literal: what came of each attempt.
ATTACK = """\
import ctypes, errno, os, resource, signal, socket, threading, time
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def attempt(action, *given):
    try:
        return action(*given)
    except OSError as problem:
        return errno.errorcode.get(problem.errno, str(problem))
def dial(address, port):
    with socket.create_connection((address, port), 4):
        return "connected"
def resolve(server):
    with socket.socket(type=socket.SOCK_DGRAM) as asker:
        asker.settimeout(6)
        asker.sendto(b"\\x12\\x34\\x01\\0\\0\\1\\0\\0\\0\\0\\0\\0\\7example\\3org\\0\\0\\1\\0\\1", (server, 53))
        return "answered" if asker.recv(512)[:2] == b"\\x12\\x34" else "nonsense"
def talk_to_oneself():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return dial(*server.getsockname())
def namespace(flag):
    libc = ctypes.CDLL(None, use_errno=True)
    return "made" if libc.unshare(flag) == 0 else errno.errorcode[ctypes.get_errno()]
def huge():
    with open("huge", "wb") as file:
        file.truncate(1 << 50)
    return "made"
def device():
    os.mknod("null", 0o20666, os.makedev(1, 3))
    return "made"
def write(path):
    with open(path, "w"):
        return "written"
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print("told", {
    **{f"{address}:{port}": attempt(dial, address, port) for address, port in TARGETS},
    "name server": attempt(resolve, "10.0.2.3"),
    "itself": attempt(talk_to_oneself),
    "devices": sorted(name for _, name in socket.if_nameindex()),
    "user namespace": namespace(0x10000000),
    "network namespace": namespace(0x40000000),
    "huge file": attempt(huge),
    "device": attempt(device),
    "storage": attempt(os.listdir, "/run/cumulus"),
    "other jobs": attempt(os.listdir, "/run/cumulus/nfs/jobs"),
    "data": attempt(os.listdir, "/srv/data"),
    "own folder": attempt(write, "/srv/job/.cumulus.result"),
    "write to data": attempt(write, "/srv/data/new"),
    "new rights": status["NoNewPrivs"].strip(),
    "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
    "limited tasks": resource.getrlimit(resource.RLIMIT_NPROC)[1] > 0,
}, flush=True)
deadline = time.monotonic() + 120
while os.path.exists("/srv/job/hold") and time.monotonic() < deadline:
    time.sleep(0.2)
"""
CLOSED = {
    "itself": "connected",
    "devices": ["lo"],
    "user namespace": "ENOSPC",
    "network namespace": "EPERM",
    "huge file": "EFBIG",
    "device": "EPERM",
    "storage": "EACCES",
    "other jobs": "EACCES",
    "data": ["shared.txt"],
    "own folder": "EROFS",
    "write to data": "EROFS",
    "new rights": "1",
    "core": 0,
    "limited tasks": True,
}


@pytest.fixture
def settings(own_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    apps = tmp_path / "apps"
    apps.mkdir()
    for name, network in (("", ""), ("_internet", 'network="internet"')):
        (apps / f"attack{name}.xml").write_text(APP.format(id=name, network=network))
    monkeypatch.setenv("CUMULUS_APPS", str(apps))
    return own_settings


@pytest.fixture
def targets(settings: Settings) -> list[tuple[str, int]]:
    """This computer as a machine knows it and by its own addresses, its storage's server, neighbours, the metadata service."""
    known = QemuHome(settings.home).nfs / "port"
    storage = int(known.read_text()) if known.exists() else 2049
    own = [one.removesuffix("/32") for one in neighbours() if one.endswith("/32")]
    fixed = [("10.0.2.2", 22), ("10.0.2.2", storage), ("10.0.2.3", 22), ("10.254.254.2", 80), ("169.254.169.254", 80)]
    return [*fixed, ("192.168.1.1", 80), *((address, 22) for address in own)]


def attack(client: Client, settings: Settings, tmp_path: Path, app: str, targets: list[tuple[str, int]]) -> JobFolder:
    """Submit it; the job's folder."""
    program = tmp_path / "attack.py"
    program.write_text(f"TARGETS = {targets!r}\n{ATTACK}")
    shared = tmp_path / "shared.txt"
    shared.write_text("for all\n")
    storage = Storage(settings.storage)
    job = client.start("ada", app, settings.default_flavor, {"program": [program.name]})
    folder = storage.folder(job.folder)
    deliver(storage, folder, [shared], [program])
    return folder


def told(folder: JobFolder) -> dict[str, object]:
    """What the attack has printed."""
    (line,) = [line.partition("told ")[2] for line in folder.log.text().splitlines() if "told {" in line]
    found = ast.literal_eval(line)
    assert isinstance(found, dict)
    return found


def job_id(folder: JobFolder) -> int:
    return int(folder.name.split("_")[1])


def test_an_app_reaches_its_files_and_nothing_else(settings: Settings, targets: list[tuple[str, int]], tmp_path: Path) -> None:
    with served(settings, tmp_path / "log") as (client, _):
        folder = attack(client, settings, tmp_path, "attack_1.0", targets)
        row = wait_for(client, job_id(folder))
    assert row["status"] == "DONE", row["log"]
    found = told(folder)
    print(found)
    assert {name: found[name] for name in CLOSED} == CLOSED
    reached = {f"{address}:{port}": found[f"{address}:{port}"] for address, port in targets}
    assert set(reached.values()) == {"ENETUNREACH"}, reached
    assert found["name server"] == "ENETUNREACH"


@pytest.mark.skipif(bool(uplink_problems()), reason="needs slirp4netns")
def test_an_app_that_may_use_the_internet_reaches_no_neighbour(
    settings: Settings, targets: list[tuple[str, int]], tmp_path: Path
) -> None:
    with served(settings, tmp_path / "log") as (client, _):
        folder = attack(client, settings, tmp_path, "attack_internet_1.0", targets)
        row = wait_for(client, job_id(folder))
    assert row["status"] == "DONE", row["log"]
    found = told(folder)
    print(found)
    expected = {**CLOSED, "devices": ["eth0", "lo"]}
    assert {name: found[name] for name in expected} == expected
    reached = {f"{address}:{port}": found[f"{address}:{port}"] for address, port in targets}
    assert set(reached.values()) <= {"EACCES", "ENETUNREACH"}, reached  # by the machine's own rules, or those of this computer
    assert found["name server"] == "answered"


def listeners(home: Path) -> tuple[set[int], set[str]]:
    """TCP ports, and names of unix sockets, that programs of an installation listen on in this computer's own network."""
    ours = [one for one in psutil.process_iter(["environ"]) if (one.info["environ"] or {}).get("CUMULUS_HOME") == str(home)]
    numbers = {one.pid for one in ours}
    tcp = {one.laddr.port for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN and one.pid in numbers}
    inodes = {link.removeprefix("socket:[").removesuffix("]") for one in ours for link in handles(one.pid)}
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return tcp, {line[7] for line in lines if len(line) > 7 and int(line[3], 16) & 0x10000 and line[6] in inodes}


def handles(pid: int) -> list[str]:
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.append(str(entry.readlink()))
    return found


def is_closed(path: Path) -> bool:
    """Whether another user comes to a file: all folders on its way let him pass, and so does the file."""
    return any(not folder.stat().st_mode & stat.S_IXOTH for folder in path.parents) or not path.stat().st_mode & stat.S_IWOTH


def ask_as_nobody(name: str) -> str:
    """What becomes of a client of another user at an abstract socket."""
    program = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(chr(0)+sys.argv[1]); print(s.recv(9))"
    )
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-I", "-c", program, name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def login(settings: Settings, folder: Path, tmp_path: Path) -> str:
    """What an administrator types to get into the machine, from outside its network."""
    machine = read_machine(folder)
    assert machine
    key = QemuHome(settings.home).key
    host = Host(folder.name, "shell", "127.0.0.1", machine.port, "root", machine.host_key, key, proxy=dial_command(folder))
    return MachineConnection(tmp_path / "login").login_command(host)


def test_other_users_of_this_computer_reach_the_api_and_nothing_else(
    settings: Settings, targets: list[tuple[str, int]], tmp_path: Path
) -> None:
    with served(settings, tmp_path / "log") as (client, _):
        folder = attack(client, settings, tmp_path, "attack_1.0", targets)
        (folder.path / "hold").touch()  # its machine stays until all has been looked at
        until(lambda: "the app has started" in folder.log.text(), tmp_path / "log")
        tcp, unix = listeners(settings.home)
        print(tcp, unix)
        assert tcp == {int(client.url.rpartition(":")[2])}
        assert len(unix) > 1  # the provider's, and that of the plays
        for name in unix:
            if name.endswith(f"/{SOCKET_FILE}"):
                continue  # the API, which knows who asks: tests/api/v1/test_local_door.py
            if name.startswith("@"):
                assert ask_as_nobody(name[1:]) in ("b''", "ConnectionResetError: [Errno 104] Connection reset by peer"), name
            elif name.startswith("/"):
                assert is_closed(Path(name)), name
            else:  # relative to a machine's folder, which is looked at below
                assert name in ("qmp", "identity")
        sockets = [path for path in settings.home.rglob("*") if path.is_socket() and path != settings.home / SOCKET_FILE]
        assert {path.name for path in sockets} >= {"qmp", "identity"}
        inner = [*sockets, QemuHome(settings.home).key, settings.home / "controller.lock", settings.home / "terraform"]
        for path in inner:
            way = [path, *(folder for folder in path.parents if settings.home in folder.parents)]
            assert any(not one.stat().st_mode & 0o077 for one in way), path
        (machine,) = (path for path in sockets if path.name == "identity")
        asked = "systemctl show cumulus-job -p MemoryMax -p TasksMax -p NoNewPrivileges; cat /proc/sys/user/max_user_namespaces"
        said = run_in_guest(machine, asked, 60).split()
        assert "NoNewPrivileges=yes" in said
        assert said[-1] == "0"
        assert not {"MemoryMax=infinity", "TasksMax=infinity"} & set(said)
        assert (
            subprocess.run(
                f"{login(settings, machine.parent, tmp_path)} hostname", shell=True, capture_output=True, text=True, check=True
            ).stdout
            == f"{machine.parent.name}\n"
        )
        (folder.path / "hold").unlink()
        wait_for(client, job_id(folder))
