"""The NFS server that workers reach the storage through: nfs-ganesha, for this computer's own guests only.

Owns its start and stop; its process is in ganesha.py, its port in nfs_port.py. It listens in the machines' private network
(guests see it as 10.0.2.2), where no other program of this computer comes, speaks NFSv4 only, and shows one pseudo root with
``/data`` (read-only) and ``/jobs``. Whoever a guest's program claims to be, on this side it is a user that is nobody else and may
do nothing: also who invents file handles comes no further than what any user may read. It makes no devices (it lacks the right),
and what it shows is mounted for it without devices and set-user-id.

It outlives a controller that was killed, since running workers need it, and is adopted by the next one. Its port stays
the same for ever: running guests have it in their mounts.
"""

import fcntl
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from server.errors import InfrastructureError
from server.home.files import open_lock, own_folder
from server.workers.clouds.qemu.host.rights import admit_top
from server.workers.clouds.qemu.network.ganesha import Ganesha
from server.workers.clouds.qemu.network.nfs_port import PORTS, NfsPort
from server.workers.clouds.qemu.network.private_network import PrivateNetwork, private_network
from server.workers.clouds.qemu.network.uplink import Uplink
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.machine_locks import exclusive

TRIES = 20
LOCK_LIMIT_S = 60.0


@dataclass
class NfsServer:
    """The server of one installation. ``home``: it has a folder there. ``fixed_port`` 0: it chooses one, once.

    ``user``: number of the user, and of the group, that it acts as; nobody else may have it. ``address``: where it listens in
    this computer's own network, for machines that are elsewhere; "": in the private network, for those of this computer.

    Several processes may use the same server at once (a controller, a command that takes a snapshot); the last one ends it.
    """

    home: QemuHome
    server_id: str
    data: Path
    jobs: Path
    user: int
    fixed_port: int = 0
    address: str = ""
    choose: Callable[[range], int] = random.choice
    _use: IO[bytes] | None = field(default=None, init=False)

    def start(self) -> int:
        """Start the server, or adopt the one that runs with this configuration; returns its port.

        Raises SetupMissing where there is none to start, InfrastructureError where it will not run.
        """
        own_folder(self.folder)
        for path in (self.data, self.jobs):
            path.mkdir(parents=True, exist_ok=True)
        for path in (self.data, self.jobs):
            admit_top(path, self.user)
        with exclusive(self.folder / "lock", "nfs", LOCK_LIMIT_S):
            self._begin_use()
            known = self.port
            if known and self._ganesha.runs_on(known):
                self._port.keep(known)
                return known
            self._ganesha.end()
            return self._start_on(known)

    def stop(self) -> None:
        """End the server unless another process uses it, too; its port stays its own. Not an error where none runs."""
        if not self.folder.is_dir():
            return
        with exclusive(self.folder / "lock", "nfs", LOCK_LIMIT_S):
            if self._end_use():
                self.uplink.end()
                self._ganesha.end()

    @property
    def folder(self) -> Path:
        """Its own files."""
        return self.home.nfs

    @property
    def network(self) -> PrivateNetwork:
        """Where it listens."""
        return private_network(self.home, self.server_id)

    @property
    def uplink(self) -> Uplink:
        """The way from there to the internet, for machines whose apps use it."""
        return Uplink(self.network, self.folder, self.server_id)

    def open_uplink(self) -> None:
        """Have it there. Raises InfrastructureError."""
        self.start()
        if pid := self._ganesha.pid():
            self.uplink.ensure(pid)

    @property
    def port(self) -> int:
        """The port it has or had; 0 before its first start."""
        return self._port.known()

    @property
    def pid(self) -> int | None:
        """The server's process; None where none runs."""
        return self._ganesha.pid()

    @property
    def _ganesha(self) -> Ganesha:
        return Ganesha(self.folder, self.home.nfs_config, self.data, self.jobs, self.user, self.address, self.network)

    @property
    def _port(self) -> NfsPort:
        return NfsPort(self.folder / "port", self.home.nfs_config, self.fixed_port, self._ganesha.pid)

    def _begin_use(self) -> None:
        """Held by a lock that a killed process does not keep."""
        if self._use is None:
            self._use = open_lock(self.folder / "users")
            fcntl.flock(self._use, fcntl.LOCK_SH)

    def _end_use(self) -> bool:
        """Whether nobody else uses the server."""
        use, self._use = self._use or open_lock(self.folder / "users"), None
        with use:
            try:
                fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def _start_on(self, first: int) -> int:
        for _ in range(TRIES):
            port = first or self.choose(PORTS)
            if self._ganesha.run(port):
                self._port.keep(port)
                return port
            if self.fixed_port:
                break
            first = 0
        raise InfrastructureError(
            f"the NFS server got no port: {self.fixed_port or 'all that were tried'} taken by another program"
        )
