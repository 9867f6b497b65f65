"""Reports to the service manager that started this process: that it answers, that its loop turns, that it ends.

Speaks systemd's notification protocol (sd_notify(3)): datagrams of ``NAME=value`` lines to the socket that ``NOTIFY_SOCKET``
names. Where nobody started it so, nothing is sent. When to say what is decided elsewhere.
"""

import math
import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass

import structlog

from server.errors import InvalidInput

SEND_LIMIT_S = 2.0
_OWN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
log = structlog.get_logger()


@dataclass(frozen=True)
class Supervisor:
    """Whoever listens at ``address`` ("": nobody). It expects a word of the loop every ``watchdog_s`` seconds (inf: never)."""

    address: str = ""
    watchdog_s: float = math.inf

    @property
    def longest_pause_s(self) -> float:
        """How long the loop may sleep: half the limit, as sd_watchdog_enabled(3) advises."""
        return self.watchdog_s / 2

    def ready(self) -> None:
        """The API answers."""
        self._tell("READY=1")

    def alive(self) -> None:
        """The loop has turned."""
        if self.watchdog_s < math.inf:
            self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun; the loop will report nothing any more."""
        self._tell("STOPPING=1")

    def _tell(self, line: str) -> None:
        """Never more than a warning: a controller works on without its supervisor."""
        if not self.address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(SEND_LIMIT_S)
                sender.sendto(line.encode(), self.address)
        except OSError as problem:
            log.warning("the service manager could not be notified", line=line, detail=str(problem))


NOBODY = Supervisor()


def take_supervisor(environment: MutableMapping[str, str] = os.environ, pid: int | None = None) -> Supervisor:
    """Who started the process ``pid`` (default: this one), taken out of the environment so that no child speaks in our name.

    Raises InvalidInput, which names the variable.
    """
    address, limit, watched = (environment.pop(name, "") for name in _OWN)
    if not address:
        return NOBODY
    if address[0] not in "/@" or len(address) == 1:
        raise InvalidInput(f"{_OWN[0]}: no socket's path, nor @ and a name (got {address!r})", field=_OWN[0])
    watchdog_s = math.inf
    if limit and (not watched or watched == str(pid or os.getpid())):
        watchdog_s = _seconds(limit)
    return Supervisor(address.replace("@", "\0", 1) if address[0] == "@" else address, watchdog_s)


def _seconds(microseconds: str) -> float:
    with suppress(ValueError):
        if microseconds.isascii() and (number := int(microseconds)) > 0:
            return number / 1_000_000
    raise InvalidInput(f"{_OWN[1]}: no number of microseconds (got {microseconds!r})", field=_OWN[1])
