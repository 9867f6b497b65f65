"""A way into the machines' private network: ``MACHINE_FOLDER`` hands ssh a connection to that machine's ssh port.

Ssh's options are ``ProxyCommand`` and ``ProxyUseFdpass``: this program has ended before ssh says its first word. Whoever may not
read the machine's folder, and enter networks, comes no further.
"""

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from server.errors import CumulusError
from server.workers.clouds.qemu.machine import read_machine
from server.workers.clouds.qemu.network.private_network import connect

LIMIT_S = 20.0
STDOUT = 1


def dial_command(folder: Path) -> tuple[str, ...]:
    """What ssh is to start in order to get to the machine whose folder that is."""
    return (sys.executable, "-I", "-m", __name__, str(folder))


def main(words: Sequence[str]) -> int:
    """Connect, and pass the connection on."""
    (folder,) = words
    machine = read_machine(Path(folder))
    if machine is None:
        return _refuse(f"there is no machine in {folder}")
    try:
        with connect(machine.pid, machine.port, LIMIT_S) as there, socket.socket(fileno=STDOUT) as asker:
            there.settimeout(None)
            socket.send_fds(asker, [b"\0"], [there.fileno()])
    except (OSError, CumulusError) as problem:
        return _refuse(f"the machine's ssh port cannot be reached: {problem}")
    return 0


def _refuse(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
