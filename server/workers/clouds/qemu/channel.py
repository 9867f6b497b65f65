"""The identity port: the host's end of the virtio-serial line on which a guest learns who it is.

Owns the wire format (one JSON line there, one back); the guest's end is the identity daemon of the worker's role.
Only who may open the machine's unix socket can speak here: no network, no login, no handshake.
"""

import json
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


class ChannelError(InfrastructureError):
    """The guest does not answer on its identity port, or could not do what it was told."""

    code = "guest"


@dataclass(frozen=True)
class Identity:
    """What makes a guest itself. A clone has the template's random state and clock until it is told these.

    ``seed``: 64 fresh random bytes in hex. ``host_key``: an OpenSSH private key (ed25519).
    ``authorized_key``: the public key that may log in as root.
    """

    seed: str
    name: str
    host_key: str
    authorized_key: str


def give_identity(socket_path: Path, identity: Identity, now: Callable[[], float], timeout_s: float) -> None:
    """Tell the guest who and when it is, and wait until it has become that. ``now``: Unix seconds. Raises ChannelError.

    It is told again, more and more seldom, until it answers: being told twice does no harm, and a clone that does not know yet
    that somebody listens drops its answer (seen with one in four). A guest that boots reads late what was told early, so its
    clock is compared and put right.
    """
    answer = _tell(socket_path, lambda: {**asdict(identity), "time": now()}, timeout_s, REPEAT_S)
    for _ in range(CLOCK_TRIES):
        if abs(answer.time - now()) <= CLOCK_TOLERANCE_S:
            return
        answer = _tell(socket_path, lambda: {"time": now()}, timeout_s, REPEAT_S)


def run_in_guest(socket_path: Path, script: str, timeout_s: float, repeat_s: float | None = None) -> str:
    """Run a root shell script in the guest; returns what it printed. Raises ChannelError where it fails.

    ``repeat_s``: seconds without an answer after which it is told again; only for what may be done twice.
    """
    return _tell(socket_path, lambda: {"run": script}, timeout_s, repeat_s or timeout_s).out


@dataclass(frozen=True)
class _Answer:
    """What an order printed, and the guest's clock when it was done (Unix seconds)."""

    out: str
    time: float


def _tell(socket_path: Path, order: Callable[[], dict[str, object]], timeout_s: float, repeat_s: float) -> _Answer:
    try:
        with connect(socket_path, timeout_s) as connection:
            line = _ask(connection, order, time.monotonic() + timeout_s, repeat_s)
    except TimeoutError:
        raise ChannelError(f"the guest said nothing on its identity port in {timeout_s:.0f} s") from None
    except OSError as problem:
        raise ChannelError(f"the guest's identity port is not there: {problem}") from problem
    return _answer(line)


def _ask(connection: socket.socket, order: Callable[[], dict[str, object]], until: float, repeat_s: float) -> str:
    """The first line that comes back; raises TimeoutError where none does."""
    got = b""
    while (left := until - time.monotonic()) > 0:
        connection.settimeout(min(repeat_s, left))
        with suppress(TimeoutError):
            connection.sendall(json.dumps(order()).encode() + b"\n")
            while part := connection.recv(65536):
                got += part
                if b"\n" in got:
                    return got.partition(b"\n")[0].decode(errors="replace")
            return got.decode(errors="replace")  # the machine has ended
        repeat_s *= 2
    raise TimeoutError


def _answer(line: str) -> _Answer:
    try:
        answer = json.loads(line)
        code, out, at = int(answer["rc"]), str(answer["out"]), float(answer["time"])
    except (ValueError, KeyError, TypeError):
        raise ChannelError(f"the guest answered {line[:200]!r} on its identity port") from None
    if code:
        raise ChannelError(f"the guest could not do it (exit code {code}): {out.strip()[-500:]}")
    return _Answer(out, at)
