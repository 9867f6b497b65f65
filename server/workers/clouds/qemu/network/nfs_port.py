"""The NFS server's port, which stays the same for ever: running machines have it in their mounts."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from server.home.files import set_aside, write_own
from server.workers.clouds.qemu.network.ganesha import read_text
from server.workers.clouds.qemu.network.private_network import listening_ports

# Below the range from which the system takes ports for outgoing connections: nothing takes ours while the server restarts.
PORTS = range(20000, 32000)
MAX_PORT = 65535
WRITTEN, CONFIGURED = re.compile(r"\A\s*(\d{1,5})\s*\Z"), re.compile(r"\bNFS_Port = (\d{1,5});")


@dataclass(frozen=True)
class NfsPort:
    """That of one installation. ``path``: where it is written; ``fixed``: the one of the settings, 0 for none.

    ``config``: the server's configuration; ``pid()``: the server's process.
    """

    path: Path
    config: Path
    fixed: int
    pid: Callable[[], int | None]

    def known(self) -> int:
        """The port that the server has or had; 0 before its first start."""
        return self.fixed or _port_in(read_text(self.path), WRITTEN) or self._lost()

    def keep(self, port: int) -> None:
        """Write down which port the server has."""
        if not self.fixed and _port_in(read_text(self.path), WRITTEN) != port:
            if os.path.lexists(self.path):
                set_aside(self.path, f"it tells no port; the server has {port}")
            write_own(self.path, f"{port}\n", 0o644)

    def _lost(self) -> int:
        """Where the file is lost: from the configuration, or from the server that runs."""
        if found := _port_in(read_text(self.config), CONFIGURED):
            return found
        pid = self.pid()
        ports = listening_ports(pid) & set(PORTS) if pid else set()
        return ports.pop() if len(ports) == 1 else 0


def _port_in(text: str, pattern: "re.Pattern[str]") -> int:
    """0 where it tells none."""
    found = pattern.search(text)
    return int(found.group(1)) if found and 0 < int(found.group(1)) <= MAX_PORT else 0
