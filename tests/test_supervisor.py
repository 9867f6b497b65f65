"""What the service manager hears: over a real datagram socket, as systemd has one."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.app import Controller
from server.errors import InvalidInput
from server.supervisor import NOBODY, Supervisor, take_supervisor
from tests.conftest import eventually
from tests.test_serve import environment, start

__all__ = ["environment"]


class Manager:
    """The listening side."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)

    def hear(self, limit_s: float = 60.0) -> str:
        """The next message; "" if none comes in time."""
        self._socket.settimeout(limit_s)
        try:
            return self._socket.recv(4096).decode()
        except TimeoutError:
            return ""

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Somebody who listens at ``notify`` in the test's folder."""
    listening = Manager(str(tmp_path / "notify"))
    yield listening
    listening.close()


@pytest.fixture
def supervisor(manager: Manager, tmp_path: Path) -> Supervisor:
    return Supervisor(str(tmp_path / "notify"), watchdog_s=0.4)


def test_each_word_is_one_message(manager: Manager, supervisor: Supervisor) -> None:
    supervisor.ready()
    supervisor.alive()
    supervisor.stopping()
    assert [manager.hear() for _ in range(3)] == ["READY=1", "WATCHDOG=1", "STOPPING=1"]


def test_a_socket_without_a_file_is_reached_too() -> None:
    name = f"cumulus-test-{os.getpid()}"
    listening = Manager(f"\0{name}")
    take_supervisor({"NOTIFY_SOCKET": f"@{name}"}).ready()
    assert listening.hear() == "READY=1"
    listening.close()


def test_no_word_of_the_loop_goes_to_a_manager_that_does_not_watch(manager: Manager, tmp_path: Path) -> None:
    Supervisor(str(tmp_path / "notify")).alive()
    assert manager.hear(0.2) == ""


def test_a_manager_that_has_gone_hinders_nobody(manager: Manager, supervisor: Supervisor, tmp_path: Path) -> None:
    manager.close()
    supervisor.ready()
    (tmp_path / "notify").unlink()
    supervisor.stopping()


def test_a_manager_that_does_not_read_holds_the_loop_up_for_seconds_only(manager: Manager, supervisor: Supervisor) -> None:
    begin = time.monotonic()
    deaf = threading.Thread(target=lambda: [supervisor.alive() for _ in range(12)], daemon=True)  # the kernel keeps ten or so
    deaf.start()
    deaf.join(20)
    assert not deaf.is_alive(), time.monotonic() - begin


def test_what_systemd_says_is_taken_out_of_the_environment() -> None:
    given = {"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "90000000", "WATCHDOG_PID": "7", "PATH": "/bin"}
    assert take_supervisor(given, pid=7) == Supervisor("/run/systemd/notify", 90.0)
    assert given == {"PATH": "/bin"}


def test_a_watchdog_for_another_process_is_not_ours() -> None:
    given = {"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "90000000", "WATCHDOG_PID": "8"}
    assert take_supervisor(given, pid=7) == Supervisor("/run/systemd/notify")


def test_who_is_started_by_nobody_tells_nobody() -> None:
    assert take_supervisor({}) is NOBODY
    NOBODY.ready()
    NOBODY.alive()


@pytest.mark.parametrize("address", ["notify", "@", "/", "vsock:2:1234", "../run/notify"])
def test_only_a_unix_socket_is_an_address(address: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        take_supervisor({"NOTIFY_SOCKET": address})
    assert refused.value.field == "NOTIFY_SOCKET"


@pytest.mark.parametrize("limit", ["0", "-1", "soon", "1e6", "٣", ""])
def test_a_limit_is_a_number_of_microseconds(limit: str) -> None:
    given = {"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": limit}
    if not limit:
        assert take_supervisor(given).watchdog_s == float("inf")
        return
    with pytest.raises(InvalidInput) as refused:
        take_supervisor(given)
    assert refused.value.field == "WATCHDOG_USEC"


def test_a_loop_with_nothing_to_do_says_that_it_turns(manager: Manager, supervisor: Supervisor, controller: Controller) -> None:
    loop = threading.Thread(target=controller.loop.run, args=(supervisor,), daemon=True)
    loop.start()
    gaps = []
    assert manager.hear() == "WATCHDOG=1"
    for _ in range(4):
        begin = time.monotonic()
        assert manager.hear() == "WATCHDOG=1"
        gaps.append(time.monotonic() - begin)
    controller.loop.stop(grace_s=10)
    loop.join(10)
    assert sorted(gaps)[2] < supervisor.watchdog_s, gaps


def test_a_loop_that_is_stuck_in_a_turn_says_nothing(
    manager: Manager, supervisor: Supervisor, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(controller.loop, "turn", lambda _steady: float(let_go.wait(60)) * 0)
    loop = threading.Thread(target=controller.loop.run, args=(supervisor,), daemon=True)
    loop.start()
    assert manager.hear(3 * supervisor.watchdog_s) == ""
    let_go.set()
    assert manager.hear() == "WATCHDOG=1"
    controller.loop.stop(grace_s=10)
    loop.join(10)


def test_a_controller_tells_when_it_answers_that_it_turns_and_that_it_ends(
    manager: Manager, environment: dict[str, str], tmp_path: Path
) -> None:
    told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    process = start({**environment, **told})
    try:
        heard = [manager.hear() for _ in range(3)]
        assert set(heard) == {"READY=1", "WATCHDOG=1"}, heard
        assert heard.count("READY=1") == 1
    finally:
        process.terminate()
        process.communicate(timeout=30)
    eventually(lambda: manager.hear(5) == "STOPPING=1")  # after words that were not read
    assert process.returncode == 0


def test_a_socket_that_cannot_be_one_is_one_line_that_names_it(environment: dict[str, str]) -> None:
    process = start({**environment, "NOTIFY_SOCKET": "nowhere"})
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said == "cumulus: NOTIFY_SOCKET: no socket's path, nor @ and a name (got 'nowhere')\n"
