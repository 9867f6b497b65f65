"""A synchronous client of QEMU's machine protocol (QMP), as much of it as starting and saving a machine needs.

The package qemu.qmp is asyncio only; a create in one of the provider's threads would need an event loop of its own.
Protocol: https://www.qemu.org/docs/master/interop/qmp-spec.html
"""

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from server.errors import InfrastructureError
from server.workers.clouds.qemu.sockets import connect


class QmpError(InfrastructureError):
    """QEMU refused a command or closed the connection."""

    code = "qmp"


class Qmp:
    """A connection to one machine, ready for commands."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("r", encoding="utf-8")
        self._read()
        self.run("qmp_capabilities")

    @classmethod
    def open(cls, path: Path, timeout_s: float = 10) -> Self:
        """Connect to the socket at ``path``; raises OSError where nothing listens, QmpError where it is no QEMU."""
        return cls(connect(path, timeout_s))

    def run(self, command: str, /, **arguments: object) -> Any:
        """Run one command; underscores in argument names stand for dashes. Returns its answer. Raises QmpError."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            self._connection.sendall(json.dumps({"execute": command, "arguments": named}).encode() + b"\n")
        except OSError as problem:
            raise QmpError(f"QEMU ended during {command}: {problem}") from problem
        return self._answer(command)

    def _answer(self, command: str) -> Any:
        while True:  # events may come between
            answer = self._read()
            if "error" in answer:
                raise QmpError(f"QEMU refused {command}: {answer['error'].get('desc', answer['error'])}")
            if "return" in answer:
                return answer["return"]

    def pass_file(self, name: str, file: int) -> None:
        """Give QEMU an open file under a name, for addresses like ``fd:NAME``: it may not open or start anything itself."""
        socket.send_fds(self._connection, [json.dumps({"execute": "getfd", "arguments": {"fdname": name}}).encode()], [file])
        self._answer("getfd")

    def _read(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except OSError as problem:
            raise QmpError(f"QEMU does not answer: {problem or 'time is up'}") from problem
        if not line:
            raise QmpError("QEMU closed the connection")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lines.close()
        self._connection.close()
