"""The real NFS server: one, on one port, for ever, and gone when nobody needs it."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.errors import InfrastructureError, SetupMissing
from server.workers.clouds.qemu import nfs
from server.workers.clouds.qemu.nfs import NfsServer

REASON = "needs root rights and nfs-ganesha"


def real(test: Callable[..., None]) -> Callable[..., None]:
    """A test that starts the server itself."""
    there = os.geteuid() == 0 and shutil.which(nfs.GANESHA) is not None
    return pytest.mark.system(pytest.mark.skipif(not there, reason=REASON)(test))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NfsServer]:
    made = NfsServer(tmp_path / "nfs", tmp_path / "storage" / "data", tmp_path / "storage" / "jobs")
    yield made
    made.stop()
    assert made.pid is None


def another(server: NfsServer, **changes: object) -> NfsServer:
    """The same server as another process would see it."""
    return NfsServer(**{"folder": server.folder, "data": server.data, "jobs": server.jobs, **changes})  # type: ignore[arg-type]


@real
def test_it_listens_on_loopback_alone(server: NfsServer) -> None:
    port = server.start()
    socket.create_connection(("127.0.0.1", port), 2).close()
    text = (server.folder / "ganesha.conf").read_text()
    assert "Bind_addr = 127.0.0.1" in text
    assert "Squash = All_Squash" in text


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
def test_a_port_taken_by_another_program_is_left_to_it(server: NfsServer) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(InfrastructureError, match=f"{taken} taken by another program"):
            another(server, fixed_port=taken).start()
        server.folder.mkdir(exist_ok=True)
        (server.folder / "port").write_text(str(taken))
        assert server.start() != taken


@real
def test_a_server_that_will_not_run_says_why(server: NfsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nfs, "_export", lambda *_: "EXPORT { nonsense }\n")
    monkeypatch.setattr(nfs, "START_LIMIT_S", 3.0)
    with pytest.raises(InfrastructureError, match="does not run"):
        server.start()


def test_no_server_says_how_to_get_it(server: NfsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupMissing, match="apt-get install nfs-ganesha nfs-ganesha-vfs"):
        server.start()


def test_what_is_missing_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    problems = nfs.nfs_problems()
    assert any("apt-get install nfs-ganesha" in problem for problem in problems)
    assert any("root rights" in problem for problem in problems)


def test_a_server_without_its_module_is_not_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / nfs.GANESHA
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nfs, "PLUGIN_FOLDERS", (str(tmp_path),))
    assert any("nfs-ganesha-vfs" in problem for problem in nfs.nfs_problems())


def test_a_missing_mount_table_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nfs, "MOUNT_TABLE", tmp_path / "mtab")
    assert any("ln -s /proc/mounts" in problem for problem in nfs.nfs_problems())
