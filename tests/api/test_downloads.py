"""Large files leave the server without passing through its memory."""

import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from server.home.running import running_controller
from tests.conftest import eventually
from tests.test_serve import environment, server

pytestmark = pytest.mark.system

__all__ = ["environment", "server"]

SIZE = 3_000_000_000  # more than 31 bits count
ENOUGH = 600_000_000  # fifteen times what the server may take
ROOM_MB = 40
MB = 1 << 20


def peak_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / MB


def receive(port: int, target: str, headers: str = "") -> tuple[bytes, int]:
    """The head of an answer, and how many bytes follow it."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}\r\n".encode())
        buffer, head, got = bytearray(MB), b"", 0
        while count := connection.recv_into(buffer):
            if b"\r\n\r\n" not in head:
                head += buffer[:count]
                got = len(head.partition(b"\r\n\r\n")[2])
            else:
                got += count
    return head.partition(b"\r\n\r\n")[0], got


@pytest.fixture
def port(server: "subprocess.Popen[str]", environment: dict[str, str]) -> int:
    home = Path(environment["CUMULUS_HOME"])
    for name, size in (("run.raw", SIZE), ("short.raw", ENOUGH)):
        with (home / "storage" / "data" / name).open("wb") as file:
            file.truncate(size)
    running = running_controller(home)
    assert running is not None
    return int(running.url.rpartition(":")[2])


@pytest.mark.parametrize(("name", "size"), [("short.raw", ENOUGH), pytest.param("run.raw", SIZE, marks=pytest.mark.long)])
def test_a_large_file_takes_no_memory(port: int, server: "subprocess.Popen[str]", name: str, size: int) -> None:
    before = psutil.Process(server.pid).memory_info().rss / MB
    head, got = receive(port, f"/getfile/ada/{name}")
    assert head.startswith(b"HTTP/1.1 200")
    assert f"content-length: {size}".encode() in head.lower()
    assert got == size
    assert peak_mb(server.pid) < before + ROOM_MB


def test_a_part_of_gigabytes_takes_no_memory_either(port: int, server: "subprocess.Popen[str]") -> None:
    before = psutil.Process(server.pid).memory_info().rss / MB
    head, got = receive(port, "/getfile/ada/run.raw", "Range: bytes=2400000000-2999999999\r\n")
    assert head.startswith(b"HTTP/1.1 206")
    assert b"content-range: bytes 2400000000-2999999999/3000000000" in head.lower()
    assert got == ENOUGH
    assert peak_mb(server.pid) < before + ROOM_MB


def test_who_hangs_up_in_the_middle_leaves_the_server_free(port: int, server: "subprocess.Popen[str]") -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            connection.sendall(b"GET /getfile/ada/run.raw HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    head, got = receive(port, "/getfile/ada/run.raw", "Range: bytes=0-9\r\n")
    assert (head[:12], got) == (b"HTTP/1.1 206", 10)
    process = psutil.Process(server.pid)
    eventually(lambda: not [one.path for one in process.open_files() if one.path.endswith("run.raw")])


@pytest.mark.parametrize("wanted", ["", "Range: bytes=1000-\r\n"])
def test_slow_readers_do_not_keep_others_waiting(port: int, wanted: str) -> None:
    slow = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(40)]  # more than there are threads
    for connection in slow:
        connection.sendall(f"GET /getfile/ada/run.raw HTTP/1.1\r\nHost: 127.0.0.1\r\n{wanted}\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 20")
    assert receive(port, "/config")[0].startswith(b"HTTP/1.1 200")
    for connection in slow:
        connection.close()
