"""A guest is told who it is until it answers."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from server.policy.error_classification import classify
from server.reasons import Reason
from server.workers.clouds.qemu import channel, guest_shell
from server.workers.clouds.qemu.channel import ChannelError, Identity, give_identity, run_in_guest, shell_in_guest

WHO = Identity("00ff", "job-7", "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n", "ssh-ed25519 AAAA")
Guest = Callable[[list[dict[str, object]]], bytes]


NOW = 1795478562.5
TOLD = b'{"rc": 0, "out": "", "time": 1795478562.4}\n'


def clock() -> float:
    return NOW


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Guest], list[dict[str, object]]]]:
    """A guest whose answer depends on all orders so far; gives what it heard."""
    monkeypatch.setattr(channel, "REPEAT_S", 0.05)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "identity"))
    server.listen()
    threads: list[threading.Thread] = []
    numbers: list[str] = []

    def start(answer: Guest) -> list[dict[str, object]]:
        heard: list[dict[str, object]] = []

        def serve() -> None:
            with suppress(OSError):  # accept ends when the server is shut down
                while True:
                    connection, _ = server.accept()
                    with connection, connection.makefile("r") as lines:
                        converse(lines, connection)

        def converse(lines: Iterable[str], connection: socket.socket) -> None:
            for line in lines:
                order = json.loads(line)
                numbers.append(order.pop("id"))
                heard.append(order)
                said = answer(heard).replace(b"NUMBER", numbers[-1].encode())
                if said == b"hang up":
                    return
                connection.sendall(said)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return heard

    yield start
    server.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(5)
    server.close()


def test_a_guest_hears_all_that_it_must_become(guest: Callable[[Guest], list[dict[str, object]]], tmp_path: Path) -> None:
    heard = guest(lambda _: TOLD)
    give_identity(tmp_path / "identity", WHO, clock, 5)
    assert heard == [
        {"seed": "00ff", "time": 1795478562.5, "name": "job-7", "host_key": WHO.host_key, "authorized_key": "ssh-ed25519 AAAA"}
    ]


def test_a_guest_whose_answer_was_lost_is_told_again_with_the_time_it_is_then(
    guest: Callable[[Guest], list[dict[str, object]]], tmp_path: Path
) -> None:
    heard = guest(lambda orders: TOLD if len(orders) == 3 else b"")
    give_identity(tmp_path / "identity", WHO, iter([1.0, 2.0, NOW, NOW]).__next__, 5)
    assert [order["time"] for order in heard] == [1.0, 2.0, NOW]


def test_a_guest_that_read_late_what_was_told_early_gets_its_clock_put_right(
    guest: Callable[[Guest], list[dict[str, object]]], tmp_path: Path
) -> None:
    heard = guest(lambda orders: TOLD if len(orders) == 2 else b'{"rc": 0, "out": "", "time": 1795478550.0}\n')
    give_identity(tmp_path / "identity", WHO, clock, 5)
    assert heard[1:] == [{"time": NOW}]


def test_a_command_that_may_be_told_twice_is(guest: Callable[[Guest], list[dict[str, object]]], tmp_path: Path) -> None:
    heard = guest(lambda orders: TOLD if len(orders) == 2 else b"")
    run_in_guest(tmp_path / "identity", "sync", 5, repeat_s=0.05)
    assert heard == [{"run": "sync"}] * 2


def test_a_command_is_told_only_once(guest: Callable[[Guest], list[dict[str, object]]], tmp_path: Path) -> None:
    heard = guest(lambda _: b"")
    with pytest.raises(ChannelError, match="said nothing"):
        run_in_guest(tmp_path / "identity", "poweroff", 0.3)
    assert heard == [{"run": "poweroff"}]


def test_a_command_that_fails_says_what_it_printed(guest: Callable[[Guest], list[dict[str, object]]], tmp_path: Path) -> None:
    guest(lambda _: b'{"rc": 2, "out": "no such unit\\n", "time": 0}\n')
    with pytest.raises(ChannelError, match=r"exit code 2.*no such unit"):
        run_in_guest(tmp_path / "identity", "systemctl start x", 5)


def test_a_machine_that_ends_meanwhile_is_no_endless_wait(
    guest: Callable[[Guest], list[dict[str, object]]], tmp_path: Path
) -> None:
    guest(lambda _: b"hang up")
    with pytest.raises(ChannelError):
        give_identity(tmp_path / "identity", WHO, clock, 30)


@pytest.mark.parametrize("answer", [b"hello\n", b'{"rc": "x", "out": ""}\n', b'["rc"]\n', b"\xff\xfe\n"])
def test_nonsense_is_refused(guest: Callable[[Guest], list[dict[str, object]]], tmp_path: Path, answer: bytes) -> None:
    guest(lambda _: answer)
    with pytest.raises(ChannelError, match="answered"):
        run_in_guest(tmp_path / "identity", "true", 5)


def test_no_socket_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ChannelError, match="not there"):
        give_identity(tmp_path / "identity", WHO, clock, 1)


def test_what_answers_somebody_who_left_before_is_passed_over(
    guest: Callable[[Guest], list[dict[str, object]]], tmp_path: Path
) -> None:
    late = b'{"rc": 1, "out": "late", "time": 0, "id": "another"}\n'
    guest(lambda _: late + b'{"rc": 0, "out": "mine", "time": 0, "id": "NUMBER"}\n')
    assert run_in_guest(tmp_path / "identity", "true", 5) == "mine"


def test_a_shell_command_has_its_own_exit_code(guest: Callable[[Guest], list[dict[str, object]]], tmp_path: Path) -> None:
    heard = guest(lambda _: b'{"rc": 3, "out": "said\\n", "time": 0, "id": "NUMBER"}\n')
    done = shell(tmp_path / "identity", "echo said; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "said\n", "")
    assert heard == [{"run": "echo said; exit 3"}]


def test_a_machine_without_a_line_does_not_answer_its_shell(tmp_path: Path) -> None:
    done = shell(tmp_path / "identity", "true")
    assert (done.returncode, done.stdout) == (255, "")
    assert classify(done.stderr) is Reason.MACHINE_UNREACHABLE


def test_a_shell_command_is_given_up_when_nobody_wants_it(
    guest: Callable[[Guest], list[dict[str, object]]], tmp_path: Path
) -> None:
    guest(lambda _: b"")
    looks = iter([True, False])
    with pytest.raises(ChannelError, match="said nothing"):
        shell_in_guest(tmp_path / "identity", "sleep 60", lambda: next(looks))


def shell(socket_path: Path, command: str) -> "subprocess.CompletedProcess[str]":
    """As Ansible asks for it."""
    words = [sys.executable, "-I", "-m", guest_shell.__name__, str(socket_path), "-c", command]
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=30)
