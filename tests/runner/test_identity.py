"""The identity program, spoken to through a socket in the place of the virtio port."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from server.settings import CHECKOUT
from tests.runner.conftest import FILES, runs, wait_until

PROGRAM = FILES / "cumulus-identity"
# Told where to write and what not to touch on the computer that tests run on.
SERVE = """
import sys
from tests.runner.test_identity import load
identity = load(sys.argv[1])
identity.HOST_KEY, identity.AUTHORIZED_KEYS = sys.argv[3] + "/host_key", sys.argv[3] + "/root/.ssh/authorized_keys"
identity.serve(int(sys.argv[2]))
"""


def load(path: str) -> Any:
    """A program whose name does not end in .py, as a module."""
    loader = SourceFileLoader("program", path)
    spec = spec_from_loader("program", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


class Host:
    """The other end of the port."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._answers = end.makefile("r", encoding="utf-8")

    def say(self, *parts: bytes) -> None:
        for part in parts:
            self._end.sendall(part)

    def tell(self, order: object) -> tuple[int, str]:
        self.say(json.dumps(order).encode() + b"\n")
        return self.answer()

    def answer(self) -> tuple[int, str]:
        answer = self.answered()
        return answer["rc"], answer["out"]

    def answered(self) -> dict[str, Any]:
        return dict(json.loads(self._answers.readline()))

    def leave(self) -> None:
        self._end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    ours.settimeout(10)
    command = [sys.executable, "-c", SERVE, str(PROGRAM), str(theirs.fileno()), str(tmp_path)]
    with ours, subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=CHECKOUT) as process:
        theirs.close()
        yield Host(ours)
        process.kill()


def test_a_script_is_run_and_its_output_told(host: Host) -> None:
    assert host.tell({"run": "echo hello; echo bad >&2; exit 3"}) == (3, "hello\nbad\n")


def test_keys_are_written_for_nobody_else_to_read(host: Host, tmp_path: Path) -> None:
    assert host.tell({"host_key": "PRIVATE", "authorized_key": "ssh-ed25519 AAAA"}) == (0, "")
    for path, text in ((tmp_path / "host_key", "PRIVATE\n"), (tmp_path / "root/.ssh/authorized_keys", "ssh-ed25519 AAAA\n")):
        assert path.read_text() == text
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "garbage", [b"\n", b"{\n", b"[]\n", b"null\n", b"\xff\xfe\x00\n", b'{"seed": "xyz"}\n', b'{"name": 7}\n']
)
def test_garbage_is_answered_and_survived(host: Host, garbage: bytes) -> None:
    host.say(garbage)
    assert host.answer()[0] == 1
    assert host.tell({"run": "echo alive"}) == (0, "alive\n")


def test_orders_may_come_in_pieces_and_together(host: Host) -> None:
    host.say(b'{"run": "ec', b'ho one"}', b'\n{"run": "echo two"}\n')
    assert [host.answer(), host.answer()] == [(0, "one\n"), (0, "two\n")]


def test_a_long_order_and_a_long_answer_get_through(host: Host) -> None:
    code, out = host.tell({"run": f": {'x' * 100_000}; head -c 500000 /dev/zero | tr '\\0' y"})
    assert (code, out) == (0, "y" * 65536)


def test_an_answer_names_its_order(host: Host) -> None:
    host.say(b'{"id": "a1", "run": "true"}\n[]\n{"id": 7, "seed": "xyz"}\n')
    assert [host.answered().get("id") for _ in range(3)] == ["a1", None, 7]


def test_a_script_ends_when_the_host_leaves(host: Host, tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; sleep 60"
    host.say(json.dumps({"run": script}).encode() + b"\n")
    wait_until((tmp_path / "pid").exists)
    host.leave()
    wait_until(lambda: not runs(int((tmp_path / "pid").read_text())))


def test_the_program_can_be_loaded_without_doing_anything() -> None:
    assert callable(load(str(PROGRAM)).obey)
