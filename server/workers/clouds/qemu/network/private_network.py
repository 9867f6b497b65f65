"""The private network of an installation's machines: a network namespace with their storage's server and their processes.

It has a loopback device and nothing else, so no other program of this computer reaches the NFS server or a machine's ssh port,
and no machine reaches this computer, its network or the internet. Nobody keeps it: it is there as long as a process in it lives,
and who starts the next one looks for such a process. So nothing is left of it, however they end.
"""

import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from server.errors import InfrastructureError
from server.home.files import read_own_text
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.process import PROC, carries, find_process, guests_of
from server.workers.machine_locks import exclusive

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP_RUNNING = 0x8914, 0x41
IFREQ = struct.Struct("16sH14x")
LISTENING = "0A"  # in /proc/net/tcp
LOCK_LIMIT_S = 30.0
MISSING = (
    "this computer makes no private network for the machines ({why}), and without one its other users could read and write the"
    " storage: run the controller as root with CAP_SYS_ADMIN (docker: --cap-add SYS_ADMIN), or set CUMULUS_CLOUD=local"
)
CLONE_NEWNS, MS_BIND, MS_REC, MS_SLAVE = 0x20000, 0x1000, 0x4000, 0x80000
PID_LIMIT = 100  # bytes
RESOLVER = Path("/etc/resolv.conf")
Result = TypeVar("Result")


class UplinkFailed(InfrastructureError):
    """There is no way from the private network to the internet."""

    code = "uplink"


@dataclass(frozen=True)
class PrivateNetwork:
    """``members()``: numbers of processes that may be in it. Where none is, who enters makes it; ``lock`` is held meanwhile."""

    members: Callable[[], Iterable[int]]
    lock: Path

    def inside(self, action: Callable[[], Result], resolver: Path | None = None) -> Result:
        """What ``action`` returns or raises, done in the network by a thread of its own.

        Processes that it starts, and sockets that it makes, stay there. ``resolver``: what these processes find as
        /etc/resolv.conf. Raises InfrastructureError where there can be no network.
        """
        if (found := self._find()) is None:
            with exclusive(self.lock, "private network", LOCK_LIMIT_S):  # who was first has made it meanwhile
                return _act(self._find(), action, resolver)
        return _act(found, action, resolver)

    def _find(self) -> int | None:
        """An open file of the network; None where there is none yet."""
        return next((found for pid in self.members() if (found := _foreign_network(pid)) is not None), None)


def private_network(home: QemuHome, server_id: str) -> PrivateNetwork:
    """The one of an installation: its NFS server is in it, and its machines but the template's."""
    return PrivateNetwork(lambda: _members(home, server_id), home.root / "machines.lock")


def network_problems() -> list[str]:
    """Whether there can be a private network: at most one line, with its remedy."""
    try:
        _act(None, lambda: None)
    except InfrastructureError as problem:
        return [problem.message]
    return []


def connect(pid: int, port: int, limit_s: float) -> socket.socket:
    """A connection to 127.0.0.1:``port`` as the process sees it. Raises OSError."""
    there, found = ("127.0.0.1", port), _foreign_network(pid)
    if found is None:
        return socket.create_connection(there, limit_s)
    return _act(found, lambda: socket.create_connection(there, limit_s))


def listens(pid: int, port: int) -> bool:
    """Whether that very process has the TCP port, in whatever network it is."""
    return bool(_listening(pid, port) & _sockets(pid))


def listening_ports(pid: int) -> set[int]:
    """The TCP ports that very process has, in whatever network it is."""
    own = _sockets(pid)
    return {port for port, inode in _listeners(pid) if inode in own}


def _members(home: QemuHome, server_id: str) -> Iterator[int]:
    config = str(home.nfs_config)
    with suppress(OSError, ValueError):
        if carries(pid := int(read_own_text(home.nfs / "pid", PID_LIMIT)), config):
            yield pid
    if (server := find_process(config)) is not None:
        yield server
    yield from guests_of(server_id).values()


def _foreign_network(pid: int) -> int | None:
    """An open file of the process's network; None where it is this process's own, or the process is gone."""
    try:
        file = os.open(PROC / str(pid) / "ns" / "net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    if os.path.samestat(os.fstat(file), (PROC / "self" / "ns" / "net").stat()):
        os.close(file)
        return None
    return file


def _act(network: int | None, action: Callable[[], Result], resolver: Path | None = None) -> Result:
    """Do it in the network of that open file, which is closed then, or in a new one.

    A namespace is each thread's own; a thread that has left this process's is not used for anything else.
    """
    results: list[Result] = []
    problems: list[BaseException] = []

    def work() -> None:
        try:
            _enter(network)
            if resolver:
                _resolve_by(resolver)
            results.append(action())
        except BaseException as problem:  # noqa: BLE001 - raised again where it was asked for
            problems.append(problem)

    thread = threading.Thread(target=work, name="network")
    thread.start()
    thread.join()
    if network is not None:
        os.close(network)
    if problems:
        raise problems[0]
    return results[0]


def _enter(network: int | None) -> None:
    kernel = ctypes.CDLL(None, use_errno=True)
    if kernel.unshare(CLONE_NEWNET) if network is None else kernel.setns(network, CLONE_NEWNET):
        raise InfrastructureError(MISSING.format(why=os.strerror(ctypes.get_errno())))
    if network is None:
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, IFREQ.pack(b"lo", IFF_UP_RUNNING))


def _resolve_by(resolver: Path) -> None:
    """Where this computer has no such file, the thread's processes need none either."""
    kernel = ctypes.CDLL(None, use_errno=True)
    if kernel.unshare(CLONE_NEWNS) or kernel.mount(b"", b"/", b"", MS_REC | MS_SLAVE, b""):
        raise InfrastructureError(MISSING.format(why=os.strerror(ctypes.get_errno())))
    kernel.mount(os.fsencode(resolver), os.fsencode(RESOLVER), b"", MS_BIND, b"")


def _listening(pid: int, port: int) -> set[str]:
    """Inodes of the sockets that listen on the port, in the process's network."""
    return {inode for found, inode in _listeners(pid) if found == port}


def _listeners(pid: int) -> Iterator[tuple[int, str]]:
    """Port and inode of each socket that listens in the process's network."""
    rows = []
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            rows += [line.split() for line in (PROC / str(pid) / "net" / table).read_text().splitlines()[1:]]
    return ((int(row[1].partition(":")[2], 16), row[9]) for row in rows if row[3] == LISTENING)


def _sockets(pid: int) -> set[str]:
    """Inodes of the process's sockets."""
    found = set()
    with suppress(OSError):
        for entry in (PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                found.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
    return found
