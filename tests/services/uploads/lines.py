"""A line between a client and a server that breaks: it is cut every so many bytes."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Line:
    """Passes connections on to ``port``; each is cut once the client has sent ``cut_bytes`` over it. ``cuts``: how often."""

    port: int
    cut_bytes: float
    cuts: int = 0
    is_down: bool = False
    own_port: int = 0
    _listener: socket.socket = field(default_factory=socket.socket)
    _threads: list[threading.Thread] = field(default_factory=list)

    def run(self) -> None:
        """Until :meth:`close`."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.own_port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.is_down:
                    client.close()
                else:
                    threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.port), 20)
        except OSError:
            client.close()
            return
        with client, server:
            server.settimeout(None)
            back = threading.Thread(target=_copy, args=(server, client, float("inf")), daemon=True)
            back.start()
            if _copy(client, server, self.cut_bytes):
                self.cuts += 1
            for one in (client, server):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            back.join(10)


def _copy(source: socket.socket, target: socket.socket, limit: float) -> bool:
    """Whether the limit was reached."""
    with contextlib.suppress(OSError):
        while limit > 0 and (data := source.recv(int(min(65536, limit)))):
            target.sendall(data)
            limit -= len(data)
    return limit <= 0


@contextlib.contextmanager
def line_to(url: str, cut_bytes: float) -> Iterator[Line]:
    """A line to the server at ``url``."""
    line = Line(int(url.rpartition(":")[2]), cut_bytes)
    line.run()
    try:
        yield line
    finally:
        line.close()
