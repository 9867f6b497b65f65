"""The door of a server on a Unix socket: for the computer's own users, whom the kernel names."""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from waitress.adjustments import Adjustments

from programs.errors import explained
from programs.http.door import Door, Limits, Refusal, adjusted
from programs.http.rare_log import seldom_logger
from programs.http.thread_pools import ThreadPools

Application = Callable[..., Iterable[bytes]]
PEER_UID = "programs.peer_uid"  # in a request's environment: the number of the user who asks
_CREDENTIALS = struct.Struct("3i")  # of a process: its number, its user, its group
_UNIX = "unix:"
CHECK_S = 1.0  # between two questions whether the socket still has its name
_Identity = tuple[int, int, int] | None


class UnixDoor(Door):
    """A door whose visitors are processes of this computer.

    Its path may be longer than a socket's can be: it is bound by way of its folder. Where its name is lost, it is made again.
    """

    def __init__(
        self,
        path: Path,
        application: Application,
        threads: Sequence[int],
        limits: Limits,
        refusal: Refusal,
        pool_of: Callable[[Any], int] = lambda _request: 0,
        is_streamed: Callable[[Any], bool] = lambda _request: False,
    ) -> None:
        """``threads``: those of each pool; ``is_streamed``: as of :func:`programs.http.door.open_door`."""
        self.path = path
        self._bound: _Identity = None
        self._next_check = 0.0
        self._name_lock = threading.Lock()
        self._is_leaving = False
        self._complaint = ""
        logger = seldom_logger("waitress", time.monotonic)
        pools = ThreadPools(threads, pool_of, logger)
        super().__init__(naming_peers(application), adjusted(limits, is_streamed=is_streamed), pools, limits, refusal, logger)

    def listens_at(self, adjustments: Adjustments) -> tuple[Any, ...]:  # noqa: ARG002  # of a socket with a port
        """A socket of this computer."""
        return socket.AF_UNIX, socket.SOCK_STREAM, 0, str(self.path)

    def bind_server_socket(self) -> None:
        """Take the name, also where a process that was killed has left it behind. Raises OSError."""
        with suppress(FileNotFoundError):
            self.path.unlink()
        self._bound = _bind(self.socket, self.path)

    def prepare(self) -> None:
        """As every door does; and take the name again where it was lost.

        In the loop's own thread, between two turns: connections that there are stay, and the loop watches the new socket.
        """
        if (now := self.clock()) >= self._next_check:
            self._next_check = now + CHECK_S
            self._keep_name()
        super().prepare()

    def _keep_name(self) -> None:
        with self._name_lock:
            if self._is_leaving or _identity(self.path) == self._bound:
                return
            try:
                self._listen_anew()
            except OSError as problem:
                if self._complaint != str(problem):
                    self.logger.warning("commands on this computer cannot find the server: %s", explained(problem))
                self._complaint = str(problem)
            else:
                self._complaint = ""
                self.logger.warning("the socket for commands on this computer was lost; it is made again: %s", self.path)

    def end(self) -> None:
        """Leave the name, and have :meth:`run` return, from another thread."""
        with self._name_lock:
            self._is_leaving = True
            if _identity(self.path) == self._bound:
                with suppress(OSError):
                    self.path.unlink()
        super().end()

    def _listen_anew(self) -> None:
        """Another socket, in place of what has the name now. Raises OSError."""
        beside = self.path.with_name(f"{self.path.name}.new")
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            with suppress(FileNotFoundError):
                beside.unlink()
            _bind(made, beside)
            made.listen(self.adj.backlog)
            beside.replace(self.path)
            bound = _identity(self.path)
        except OSError:
            made.close()
            raise
        former = self.socket
        self.del_channel(self._map)
        self.set_socket(made, self._map)
        former.close()
        self._bound = bound

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


def _bind(one: socket.socket, path: Path) -> _Identity:
    """Give a socket its name, however long its path is. Raises OSError."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        one.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
    path.chmod(0o666)  # who asks is known by the kernel's word
    return _identity(path)


def _identity(path: Path) -> _Identity:
    """What tells a file from another one of its name, also from one that was given the number of a removed one."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns


def naming_peers(application: Application) -> Application:
    """The application; its environment names the user who asks over a Unix socket."""

    def asked(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        address = environ.get("REMOTE_ADDR", "")
        if address.startswith(_UNIX):
            environ[PEER_UID] = int(address.removeprefix(_UNIX))
            environ["REMOTE_ADDR"] = environ["REMOTE_HOST"] = ""
        return application(environ, start_response)

    return asked
