"""QEMU's protocol, spoken with a stand-in that says what QEMU says."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.workers.clouds.qemu.qmp import Qmp, QmpError

GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}}
Answer = Callable[[dict[str, object]], list[dict[str, object]]]


class Stand:
    """Answers each command with what ``answer`` gives; an empty list hangs up."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.heard: list[dict[str, object]] = []
        self._answer = answer
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with connection, connection.makefile("r") as lines:
            connection.sendall(json.dumps(GREETING).encode() + b"\n")
            for line in lines:
                command = json.loads(line)
                self.heard.append(command)
                said = [{"return": {}}] if command["execute"] == "qmp_capabilities" else self._answer(command)
                if not said:
                    return
                connection.sendall(b"".join(json.dumps(one).encode() + b"\n" for one in said))

    def close(self) -> None:
        self._thread.join(5)
        self._server.close()


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Callable[[Answer], Stand]]:
    made: list[Stand] = []

    def make(answer: Answer) -> Stand:
        made.append(Stand(tmp_path / "qmp", answer))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_command_returns_its_answer_and_not_an_event(stand: Callable[[Answer], Stand], tmp_path: Path) -> None:
    qemu = stand(lambda _: [{"event": "RESUME", "timestamp": {}}, {"return": {"running": True}}])
    with Qmp.open(tmp_path / "qmp") as qmp:
        assert qmp.run("query-status") == {"running": True}
    assert qemu.heard[0]["execute"] == "qmp_capabilities"


def test_arguments_have_dashes_on_the_wire(stand: Callable[[Answer], Stand], tmp_path: Path) -> None:
    qemu = stand(lambda _: [{"return": ""}])
    with Qmp.open(tmp_path / "qmp") as qmp:
        qmp.run("human-monitor-command", command_line="info usernet")
    assert qemu.heard[1] == {"execute": "human-monitor-command", "arguments": {"command-line": "info usernet"}}


def test_a_refusal_says_why(stand: Callable[[Answer], Stand], tmp_path: Path) -> None:
    stand(lambda _: [{"error": {"class": "GenericError", "desc": "State blocked by non-migratable device"}}])
    with Qmp.open(tmp_path / "qmp") as qmp, pytest.raises(QmpError, match="refused migrate: State blocked"):
        qmp.run("migrate", uri="fd:x")


def test_an_end_in_the_middle_is_told(stand: Callable[[Answer], Stand], tmp_path: Path) -> None:
    stand(lambda _: [])
    with Qmp.open(tmp_path / "qmp") as qmp, pytest.raises(QmpError, match="closed the connection"):
        qmp.run("query-status")


def test_a_socket_is_reached_in_a_folder_whose_name_is_too_long(
    stand: Callable[[Answer], Stand], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    qemu = Stand(Path("qmp"), lambda _: [{"return": {"running": True}}])
    with Qmp.open(deep / "qmp") as qmp:
        assert qmp.run("query-status") == {"running": True}
    qemu.close()
