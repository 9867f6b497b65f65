"""The real NFS server: one, on one port, for ever, gone when nobody needs it, and out of reach for all but machines."""

import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from server.errors import InfrastructureError, SetupMissing
from server.workers.clouds.qemu.host.rights import admit_worker
from server.workers.clouds.qemu.network import ganesha, nfs_problems
from server.workers.clouds.qemu.network.nfs import NfsServer
from server.workers.clouds.qemu.network.private_network import connect
from server.workers.clouds.qemu.paths import QemuHome
from tests.workers.clouds.qemu import nfs_client
from tests.workers.clouds.qemu.building import unique_server
from tests.workers.clouds.qemu.nfs_client import Client, Refused

REASON = "needs root rights and nfs-ganesha"
NOBODY = 65534
USER = 69321
SERVER_ID = unique_server()


def real(test: Callable[..., None]) -> Callable[..., None]:
    """A test that starts the server itself."""
    there = os.geteuid() == 0 and shutil.which(ganesha.GANESHA) is not None
    return pytest.mark.system(pytest.mark.skipif(not there, reason=REASON)(test))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NfsServer]:
    storage = tmp_path / "storage"
    made = NfsServer(QemuHome(tmp_path / "home"), SERVER_ID, storage / "data", storage / "jobs", USER)
    yield made
    made.stop()
    assert made.pid is None


def another(server: NfsServer, **changes: object) -> NfsServer:
    """The same server as another process would see it."""
    same = {name: getattr(server, name) for name in ("home", "server_id", "data", "jobs", "user")}
    return NfsServer(**{**same, **changes})


@pytest.fixture
def guest(server: NfsServer) -> Iterator[Client]:
    """Root on a machine, who has taken the runner's place. The storage has one job and one file of each kind."""
    private, public = server.data / "private", server.data / "public"
    job = server.jobs / "Job_1"
    for path in (job / "input", job / "output", server.jobs / "Job_2", server.data):
        path.mkdir(parents=True)
    for file, mode in ((private, 0o600), (public, 0o644), (server.jobs / "Job_2" / "own", 0o600)):
        file.write_text(file.name)
        file.chmod(mode)
    admit_worker(job, server.data, USER)
    port = server.start()
    assert server.pid
    with connect(server.pid, port, 5) as connection:
        yield Client(connection).open()


@contextmanager
def machine_in(server: NfsServer) -> "Iterator[subprocess.Popen[bytes]]":
    """A process that is a machine to whoever looks for one."""
    command = [sys.executable, "-c", "input()", f"guest=cumulus.{server.server_id}.job-1,"]
    with server.network.inside(lambda: subprocess.Popen(command, stdin=subprocess.PIPE)) as process:
        try:
            yield process
        finally:
            process.communicate(b"\n")


def status(attempt: Callable[[], object]) -> int:
    """What the server answers to something that it refuses."""
    with pytest.raises(Refused) as refusal:
        attempt()
    return refusal.value.status


@real
@pytest.mark.parametrize("user", [NOBODY, 0])
def test_no_other_program_of_this_computer_connects(server: NfsServer, user: int) -> None:
    port = server.start()
    attack = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", sys.executable, "-I", "-", str(port)]
    program = Path(nfs_client.__file__).read_text()
    done = subprocess.run(attack, input=program, capture_output=True, text=True, check=False)
    assert "ConnectionRefusedError" in done.stderr
    assert done.stdout == ""
    with connect(server.pid or 0, port, 2) as machine:
        assert Client(machine).open().names("jobs") == []


@real
@pytest.mark.parametrize("user", [NOBODY])
def test_nobody_gets_into_the_network_by_the_servers_process(server: NfsServer, user: int) -> None:
    server.start()
    enter = ["nsenter", f"--net=/proc/{server.pid}/ns/net", "true"]
    attack = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *enter]
    done = subprocess.run(attack, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Permission denied" in done.stderr


@real
def test_a_machine_reads_what_is_for_all_and_writes_to_jobs_that_run(server: NfsServer, guest: Client) -> None:
    assert guest.read("data", "public") == b"public"
    guest.make_folder("mine", "jobs", "Job_1", "output")
    found = (server.jobs / "Job_1" / "output" / "mine").stat()
    assert (found.st_uid, found.st_gid) == (USER, USER)


@real
@pytest.mark.parametrize("path", [("data", "private"), ("jobs", "Job_2", "own")])
def test_a_machine_does_not_read_what_its_owner_keeps_for_himself(guest: Client, path: tuple[str, ...]) -> None:
    assert status(lambda: guest.read(*path)) == nfs_client.ACCESS


@real
@pytest.mark.parametrize("path", [("jobs",), ("jobs", "Job_2")])
def test_a_machine_makes_nothing_where_no_job_runs(guest: Client, path: tuple[str, ...]) -> None:
    assert status(lambda: guest.make_folder("new", *path)) == nfs_client.ACCESS


@real
def test_data_is_read_only(guest: Client) -> None:
    assert status(lambda: guest.write(b"x", "data", "public")) == nfs_client.READ_ONLY
    assert status(lambda: guest.make_folder("new", "data")) == nfs_client.READ_ONLY


@real
def test_a_machine_makes_no_device(server: NfsServer, guest: Client) -> None:
    assert status(lambda: guest.make_device("null", "jobs", "Job_1")) in (nfs_client.PERMISSION, nfs_client.ACCESS)
    assert not (server.jobs / "Job_1" / "null").exists()


@real
def test_a_machine_plants_nothing_that_runs_as_root(server: NfsServer, guest: Client) -> None:
    program = server.jobs / "Job_1" / "output" / "program"
    program.touch()
    os.chown(program, USER, USER)
    guest.write(b"#!/bin/sh\n", "jobs", "Job_1", "output", "program")
    for owner in ("0", "root", "root@localdomain", "root@localhost"):
        with suppress(Refused):
            guest.set_owner(owner, "jobs", "Job_1", "output", "program")
        with suppress(Refused):
            guest.set_mode(0o4755, "jobs", "Job_1", "output", "program")
        assert program.stat().st_uid == USER, owner
    roots = program.with_name("roots")
    roots.touch(mode=0o755)
    assert status(lambda: guest.set_mode(0o4755, "jobs", "Job_1", "output", "roots")) == nfs_client.PERMISSION
    assert not roots.stat().st_mode & stat.S_ISUID


@real
def test_the_server_has_no_right_that_it_does_not_need_and_no_devices(server: NfsServer) -> None:
    server.start()
    own = Path(f"/proc/{server.pid}")
    told = dict(line.split(":", 1) for line in (own / "status").read_text().splitlines())
    makes_devices, administers = 1 << 27, 1 << 21
    assert not int(told["CapBnd"], 16) & (makes_devices | administers)
    assert told["NoNewPrivs"].strip() == "1"
    covering = subprocess.run(
        ["nsenter", f"--mount={own}/ns/mnt", "findmnt", "-n", "-o", "VFS-OPTIONS", "-T", str(server.jobs)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"nosuid", "nodev"} <= set(covering.stdout.strip().split(","))


@real
def test_a_server_that_died_comes_back_into_the_network_of_its_machines(server: NfsServer) -> None:
    port = server.start()
    machine = ["sleep", "60", f"guest=cumulus.{SERVER_ID}.job-1,"]
    with server.network.inside(
        lambda: subprocess.Popen(["python3", "-c", "input()", machine[2]], stdin=subprocess.PIPE)
    ) as lasting:
        first = server.pid
        server.stop()
        assert server.pid is None
        assert another(server).start() == port
        assert (server.pid or first) != first
        connect(lasting.pid, port, 2).close()
        another(server).stop()
        server.stop()


@pytest.mark.parametrize(("mode", "closed"), [(0o755, False), (0o700, False), (0o750, True), (0o770, True), (0o775, False)])
def test_data_that_workers_may_not_read_is_told_with_its_cure(tmp_path: Path, mode: int, closed: bool) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(mode)
    problems = nfs_problems.user_problems(USER, data)
    assert [f"chmod o+rx {data}" in problem for problem in problems] == [True] * closed


def test_the_user_that_workers_write_as_is_nobody_else(tmp_path: Path) -> None:
    assert nfs_problems.user_problems(USER, tmp_path / "not yet") == []
    (problem,) = nfs_problems.user_problems(pwd.getpwuid(1).pw_uid, tmp_path / "not yet")
    assert f"as {pwd.getpwuid(1).pw_name}, whose number 1 is: set nfs_user" in problem


@real
def test_a_restart_keeps_the_port(server: NfsServer) -> None:
    port = server.start()
    server.stop()
    assert server.pid is None
    assert another(server).start() == port
    another(server).stop()


@real
def test_one_that_runs_is_adopted(server: NfsServer) -> None:
    port = server.start()
    pid = server.pid
    assert another(server).start() == port
    assert server.pid == pid


@real
def test_the_last_user_ends_it(server: NfsServer) -> None:
    server.start()
    second = another(server)
    second.start()
    server.stop()
    assert second.pid is not None
    second.stop()
    assert second.pid is None


@real
def test_another_storage_needs_another_server(server: NfsServer, tmp_path: Path) -> None:
    server.start()
    pid = server.pid
    moved = another(server, data=tmp_path / "elsewhere")
    moved.start()
    assert moved.pid != pid
    moved.stop()


@real
def test_a_port_taken_by_a_machine_is_left_to_it(server: NfsServer) -> None:
    server.start()
    with machine_in(server), server.network.inside(socket.socket) as other:
        server.stop()
        other.bind(("", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(InfrastructureError, match=f"{taken} taken by another program"):
            another(server, fixed_port=taken).start()
        server.folder.mkdir(exist_ok=True)
        (server.folder / "port").write_text(str(taken))
        assert server.start() != taken


@real
def test_a_server_that_will_not_run_says_why(server: NfsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ganesha, "_export", lambda *_: "EXPORT { nonsense }\n")
    monkeypatch.setattr(ganesha, "START_LIMIT_S", 3.0)
    with pytest.raises(InfrastructureError, match="does not run"):
        server.start()


def test_no_server_says_how_to_get_it(server: NfsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupMissing, match="apt-get install nfs-ganesha nfs-ganesha-vfs"):
        server.start()


def test_what_is_missing_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    problems = nfs_problems.nfs_problems()
    assert any("apt-get install nfs-ganesha" in problem for problem in problems)
    assert any("root rights" in problem for problem in problems)


def test_a_server_without_its_module_is_not_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / ganesha.GANESHA
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nfs_problems, "PLUGIN_FOLDERS", (str(tmp_path),))
    assert any("nfs-ganesha-vfs" in problem for problem in nfs_problems.nfs_problems())


def test_a_missing_mount_table_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nfs_problems, "MOUNT_TABLE", tmp_path / "mtab")
    assert any("ln -s /proc/mounts" in problem for problem in nfs_problems.nfs_problems())
