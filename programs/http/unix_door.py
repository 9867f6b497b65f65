"""The door of a server on a Unix socket: for the computer's own users, whom the kernel names."""

import os
import socket
import struct
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from waitress.adjustments import Adjustments

from programs.http.door import Door, Limits, Refusal, adjusted
from programs.http.rare_log import seldom_logger
from programs.http.thread_pools import ThreadPools

Application = Callable[..., Iterable[bytes]]
PEER_UID = "programs.peer_uid"  # in a request's environment: the number of the user who asks
_CREDENTIALS = struct.Struct("3i")  # of a process: its number, its user, its group
_UNIX = "unix:"


class UnixDoor(Door):
    """A door whose visitors are processes of this computer.

    Its path may be longer than a socket's can be: it is bound by way of its folder.
    """

    def __init__(self, path: Path, application: Application, threads: int, limits: Limits, refusal: Refusal) -> None:
        self.path = path
        logger = seldom_logger("waitress", time.monotonic)
        pools = ThreadPools([threads], lambda _request: 0, logger)
        super().__init__(naming_peers(application), adjusted(limits), pools, limits, refusal, logger)

    def listens_at(self, adjustments: Adjustments) -> tuple[Any, ...]:  # noqa: ARG002  # of a socket with a port
        """A socket of this computer."""
        return socket.AF_UNIX, socket.SOCK_STREAM, 0, str(self.path)

    def bind_server_socket(self) -> None:
        """Take the name, also where a process that was killed has left it behind. Raises OSError."""
        with suppress(FileNotFoundError):
            self.path.unlink()
        folder = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.bind(f"/proc/self/fd/{folder}/{self.path.name}")
            self.path.chmod(0o666)  # who asks is known by the kernel's word
        finally:
            os.close(folder)

    def getsockname(self) -> tuple[str, int]:
        """What stands for a host and a port."""
        return "localhost", 0

    def set_socket_options(self, conn: socket.socket) -> None:
        """None: those of TCP do not exist here."""

    def accept(self) -> tuple[socket.socket, tuple[str, int]] | None:
        """The next visitor, with the number of its user in the place of an address."""
        accepted = super().accept()
        if accepted is None:
            return None
        connection = accepted[0]
        given = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(given)
        return connection, (f"{_UNIX}{uid}", 0)


def naming_peers(application: Application) -> Application:
    """The application; its environment names the user who asks over a Unix socket."""

    def asked(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        address = environ.get("REMOTE_ADDR", "")
        if address.startswith(_UNIX):
            environ[PEER_UID] = int(address.removeprefix(_UNIX))
            environ["REMOTE_ADDR"] = environ["REMOTE_HOST"] = ""
        return application(environ, start_response)

    return asked
