"""The identity port: the host's end of the virtio-serial line on which a guest learns who it is.

Owns the wire format (one JSON line there, one back); the guest's end is the identity daemon of the worker's role.
Only who may open the machine's unix socket can speak here: no network, no login, no handshake.
"""

import json
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from server.errors import InfrastructureError
from server.workers.clouds.qemu.sockets import connect

REPEAT_S = 0.7
CLOCK_TOLERANCE_S = 0.5
CLOCK_TRIES = 5
CONNECT_LIMIT_S = 10.0
POLL_S = 1.0
SHELL_REPEAT_S = 10.0


class ChannelError(InfrastructureError):
    """The guest does not answer on its identity port, or could not carry out a command."""

    code = "guest"


@dataclass(frozen=True)
class Identity:
    """What makes a guest itself. A clone has the template's random state and clock until it gets these.

    ``seed``: 64 fresh random bytes in hex. ``host_key``: an OpenSSH private key (ed25519).
    ``authorized_key``: the public key that may log in as root.
    """

    seed: str
    name: str
    host_key: str
    authorized_key: str


@dataclass(frozen=True)
class Answer:
    """What an order printed, its exit code, and the guest's clock when it was done (Unix seconds)."""

    code: int
    out: str
    time: float


def give_identity(socket_path: Path, identity: Identity, now: Callable[[], float], timeout_s: float) -> None:
    """Tell the guest who and when it is, and wait until it has become that. ``now``: Unix seconds. Raises ChannelError.

    The message is repeated at growing intervals until the guest answers: a repetition does no harm, and a clone that does not
    know yet that somebody listens drops its answer (seen with one in four). A booting guest reads an early message late, so
    its clock is compared and put right.
    """
    answer = _tell(socket_path, lambda: {**asdict(identity), "time": now()}, timeout_s, REPEAT_S)
    for _ in range(CLOCK_TRIES):
        if abs(answer.time - now()) <= CLOCK_TOLERANCE_S:
            return
        answer = _tell(socket_path, lambda: {"time": now()}, timeout_s, REPEAT_S)


def run_in_guest(socket_path: Path, script: str, timeout_s: float, repeat_s: float | None = None) -> str:
    """Run a root shell script in the guest; returns what it printed. Raises ChannelError where it fails.

    ``repeat_s``: seconds without an answer after which the script is sent again; only for what may run twice.
    """
    return _tell(socket_path, lambda: {"run": script}, timeout_s, repeat_s or timeout_s).out


def shell_in_guest(socket_path: Path, script: str, wanted: Callable[[], bool]) -> Answer:
    """Run a root shell script that may be run twice, for as long as it is ``wanted``; the guest ends it when it is not.

    Raises ChannelError where there is no answer.
    """
    try:
        return _converse(socket_path, lambda: {"run": script}, wanted, SHELL_REPEAT_S)
    except TimeoutError:
        raise ChannelError("the guest said nothing on its identity port before whoever asked was gone") from None


def _tell(socket_path: Path, order: Callable[[], dict[str, object]], timeout_s: float, repeat_s: float) -> Answer:
    """The answer to an order that succeeded. Raises ChannelError."""
    until = time.monotonic() + timeout_s
    try:
        answer = _converse(socket_path, order, lambda: time.monotonic() < until, repeat_s)
    except TimeoutError:
        raise ChannelError(f"the guest said nothing on its identity port in {timeout_s:.0f} s") from None
    if answer.code:
        raise ChannelError(f"the guest could not do it (exit code {answer.code}): {answer.out.strip()[-500:]}")
    return answer


def _converse(socket_path: Path, order: Callable[[], dict[str, object]], wanted: Callable[[], bool], repeat_s: float) -> Answer:
    """The answer to an order. Raises ChannelError, TimeoutError where none came while it was wanted."""
    try:
        with connect(socket_path, CONNECT_LIMIT_S) as connection:
            return _answer(_ask(connection, order, wanted, repeat_s))
    except TimeoutError:
        raise
    except OSError as problem:
        raise ChannelError(f"the guest's identity port is not there: {problem}") from problem


def _ask(connection: socket.socket, order: Callable[[], dict[str, object]], wanted: Callable[[], bool], repeat_s: float) -> bytes:
    """The line that answers the order; what answers somebody who has left before is passed over. Raises TimeoutError."""
    number, got, again = secrets.token_hex(8), b"", float("-inf")
    while wanted():
        with suppress(TimeoutError):
            if time.monotonic() >= again:
                connection.sendall(json.dumps({**order(), "id": number}).encode() + b"\n")
                again, repeat_s = time.monotonic() + repeat_s, 2 * repeat_s
            connection.settimeout(max(0.001, min(POLL_S, again - time.monotonic())))
            if not (part := connection.recv(65536)):
                return got  # the machine has ended
            *lines, got = (got + part).split(b"\n")
            for line in lines:
                if _answers(line, number):
                    return line
    raise TimeoutError


def _answers(line: bytes, number: str) -> bool:
    """Whether it may be the answer to the order of that number: nonsense may, and what machines of old snapshots say."""
    try:
        return bool(json.loads(line).get("id", number) == number)
    except (ValueError, AttributeError):
        return True


def _answer(line: bytes) -> Answer:
    try:
        answer = json.loads(line)
        return Answer(int(answer["rc"]), str(answer["out"]), float(answer["time"]))
    except (ValueError, KeyError, TypeError):
        raise ChannelError(f"the guest answered {line[:200].decode(errors='replace')!r} on its identity port") from None
