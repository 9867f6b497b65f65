"""The NFS server that workers reach the storage through: nfs-ganesha, for this computer's own guests only.

Owns its configuration, port and process. It listens in the machines' private network (guests see it as 10.0.2.2), where no other
program of this computer comes, speaks NFSv4 only, and shows one pseudo root with ``/data`` (read-only) and
``/jobs``. Whoever a guest's program claims to be, on this side it is a user that is nobody else and may do nothing: also who
invents file handles comes no further than what any user may read. It makes no devices (it lacks the right), and what it
shows is mounted for it without devices and set-user-id.

It outlives a controller that was killed, since running workers need it, and is adopted by the next one. Its port stays
the same for ever: running guests have it in their mounts.
"""

import fcntl
import os
import pwd
import random
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from server.errors import InfrastructureError, SetupMissing
from server.home.files import open_lock, own_folder, read_own, remove_own, set_aside, write_own
from server.workers.clouds.qemu.network.private_network import (
    PrivateNetwork,
    listening_ports,
    listens,
    network_problems,
    private_network,
)
from server.workers.clouds.qemu.network.uplink import Uplink
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.process import end_process, find_process
from server.workers.clouds.qemu.rights import admit_top, closed_to
from server.workers.machine_locks import exclusive

GANESHA = "ganesha.nfsd"
PLUGIN_FOLDERS = ("/usr/lib/x86_64-linux-gnu/ganesha", "/usr/lib/ganesha", "/usr/lib64/ganesha")
MOUNT_TABLE = Path("/etc/mtab")
# Below the range from which the system takes ports for outgoing connections: nothing takes ours while the server restarts.
PORTS = range(20000, 32000)
TRIES = 20
START_LIMIT_S = 20.0
STOP_GRACE_S = 10.0
LOCK_LIMIT_S = 60.0
POLL_S = 0.02
MAX_PORT = 65535
WRITTEN, CONFIGURED = re.compile(r"\A\s*(\d{1,5})\s*\Z"), re.compile(r"\bNFS_Port = (\d{1,5});")
TAKEN = "Address already in use"
MISCONFIGURED = ":CONFIG :CRIT :"
# What is shown lies on file systems of this computer: for this process they get no devices and no set-user-id, beside what they
# have. The rights that it keeps are those to serve files as somebody else; above all it cannot make devices.
WALLED = """\
for folder in "$1" "$2"; do
  place=$(findmnt -n -o TARGET -T "$folder")
  mount -o "remount,bind,$(findmnt -n -o VFS-OPTIONS -T "$folder"),nosuid,nodev" "$place"
done
shift 2
exec setpriv --no-new-privs --bounding-set "$RIGHTS" "$@"
"""
NO_BUS = "unix:path=/nonexistent"  # over the system's bus it would take orders, from whomever that lets through
RIGHTS = "-all,+chown,+dac_override,+dac_read_search,+fowner,+setgid,+setuid,+sys_resource"


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
            if known and self._runs_on(known):
                self._keep_port(known)
                return known
            self._end()
            return self._start_on(known)

    def stop(self) -> None:
        """End the server unless another process uses it, too; its port stays its own. Not an error where none runs."""
        if not self.folder.is_dir():
            return
        with exclusive(self.folder / "lock", "nfs", LOCK_LIMIT_S):
            if self._end_use():
                self.uplink.end()
                self._end()

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
        if pid := self._pid():
            self.uplink.ensure(pid)

    @property
    def port(self) -> int:
        """The port it has or had; 0 before its first start."""
        if self.fixed_port:
            return self.fixed_port
        return _port_in(_read(self.folder / "port"), WRITTEN) or self._lost_port()

    @property
    def pid(self) -> int | None:
        """The server's process; None where none runs."""
        return self._pid()

    def _lost_port(self) -> int:
        """Running machines have the port in their mounts: it is told by the configuration, or by the server itself."""
        if found := _port_in(_read(self._config), CONFIGURED):
            return found
        pid = self._pid()
        ports = listening_ports(pid) & set(PORTS) if pid else set()
        return ports.pop() if len(ports) == 1 else 0

    def _keep_port(self, port: int) -> None:
        path = self.folder / "port"
        if not self.fixed_port and _port_in(_read(path), WRITTEN) != port:
            if os.path.lexists(path):
                set_aside(path, f"it tells no port; the server has {port}")
            write_own(path, f"{port}\n", 0o644)

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

    @property
    def _config(self) -> Path:
        return self.home.nfs_config

    def _pid(self) -> int | None:
        return find_process(str(self._config))

    def _end(self) -> None:
        while pid := self._pid():
            end_process(pid, str(self._config), STOP_GRACE_S)

    def _start_on(self, first: int) -> int:
        for _ in range(TRIES):
            port = first or self.choose(PORTS)
            if self._run(port):
                self._keep_port(port)
                return port
            if self.fixed_port:
                break
            first = 0
        raise InfrastructureError(
            f"the NFS server got no port: {self.fixed_port or 'all that were tried'} taken by another program"
        )

    def _run(self, port: int) -> bool:
        """Whether a server runs on the port now; False where another program has it."""
        if shutil.which(GANESHA) is None:
            raise SetupMissing(f"{GANESHA} is not installed: apt-get install nfs-ganesha nfs-ganesha-vfs")
        write_own(self._config, self._configuration(port))
        log, recovery = self.folder / "ganesha.log", self.folder / "recovery"
        for name in (log, self.folder / "pid"):
            remove_own(name)
        if os.path.lexists(recovery) and not recovery.is_dir():
            set_aside(recovery, "the NFS server needs a folder there")
        command = [GANESHA, "-F", "-f", str(self._config), "-L", str(log), "-p", str(self.folder / "pid"), "-N", "NIV_WARN"]
        process = self._launch(command) if self.address else self.network.inside(lambda: self._launch(command))
        threading.Thread(target=process.wait, daemon=True).start()  # or it stays a zombie when it ends
        try:
            self._wait_listening(port, process.poll)
            self._require_exports(log)
        except InfrastructureError:
            end_process(process.pid, str(self._config), STOP_GRACE_S)
            if TAKEN in _read(log):
                return False
            raise
        return True

    def _launch(self, command: list[str]) -> "subprocess.Popen[bytes]":
        walled = [
            "unshare",
            "--mount",
            "--propagation=slave",
            "sh",
            "-ec",
            WALLED,
            "sh",
            str(self.data),
            str(self.jobs),
            *command,
        ]
        return subprocess.Popen(
            walled,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env={**os.environ, "RIGHTS": RIGHTS, "DBUS_SYSTEM_BUS_ADDRESS": NO_BUS},
        )

    def _require_exports(self, log: Path) -> None:
        """It runs on without a folder that it cannot show, and says so in its log only."""
        if complaints := [line for line in _read(log).splitlines() if MISCONFIGURED in line]:
            raise InfrastructureError(f"the NFS server does not run as it should: {complaints[0].partition(MISCONFIGURED)[2]}")

    def _wait_listening(self, port: int, ended: Callable[[], int | None]) -> None:
        until = time.monotonic() + START_LIMIT_S
        while time.monotonic() < until:
            if (pid := self._pid()) and listens(pid, port):
                return
            if ended() is not None:
                break
            time.sleep(POLL_S)
        last = [line for line in _read(self.folder / "ganesha.log").splitlines() if "FATAL" in line or "CRIT" in line]
        raise InfrastructureError(f"the NFS server does not run: {last[-1][-300:] if last else 'it says nothing in its log'}")

    def _runs_on(self, port: int) -> bool:
        """Whether a server of this configuration listens, or comes to; one that is just dying does not."""
        if not self._pid() or _read(self._config) != self._configuration(port):
            return False
        try:
            self._wait_listening(port, lambda: None if self._pid() else 1)
        except InfrastructureError:
            return False
        return True

    def _configuration(self, port: int) -> str:
        exports = _export(1, self.data, "/data", "RO") + _export(2, self.jobs, "/jobs", "RW")
        recovery = f'RecoveryBackend = fs; RecoveryRoot = "{self.folder / "recovery"}";'
        squash = f"Squash = All_Squash; Anonymous_Uid = {self.user}; Anonymous_Gid = {self.user};"
        where = f"Bind_addr = {self.address}; " if self.address else ""  # else all, which is the loopback device
        return f"""\
# Written by Cumulus at each start of the server.
NFS_CORE_PARAM {{ {where}NFS_Port = {port}; Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; }}
NFSV4 {{ Graceless = true; Lease_Lifetime = 20; Minor_Versions = 1, 2; {recovery} }}
EXPORT_DEFAULTS {{ SecType = sys; Transports = TCP; Protocols = 4; {squash} }}
{exports}LOG {{ Default_Log_Level = WARN; }}
"""


def _export(number: int, path: Path, pseudo: str, access: str) -> str:
    where = f'Path = "{path}"; Pseudo = "{pseudo}"'
    return f"EXPORT {{ Export_Id = {number}; {where}; Access_Type = {access}; FSAL {{ Name = VFS; }} }}\n"


def nfs_problems() -> list[str]:
    """What is missing for the server, one line each with its remedy."""
    found = []
    if shutil.which(GANESHA) is None:
        found.append(f"{GANESHA} (NFS server) is not installed: apt-get install nfs-ganesha nfs-ganesha-vfs")
    elif not any(Path(folder, "libfsalvfs.so").is_file() for folder in PLUGIN_FOLDERS):
        found.append("nfs-ganesha lacks its VFS module: apt-get install nfs-ganesha-vfs")
    if not MOUNT_TABLE.exists():
        found.append(f"{MOUNT_TABLE} is missing, where the NFS server looks for file systems: ln -s /proc/mounts {MOUNT_TABLE}")
    if os.geteuid() != 0:
        found.append("the NFS server needs root rights: run the controller as root (sudo), or set CUMULUS_CLOUD=local")
    else:
        found.extend(network_problems())
    return found


def user_problems(user: int, data: Path) -> list[str]:
    """Whether the number that workers write as is somebody's, and keeps them from the data; one line each with its remedy."""
    closed = [why] if (why := closed_to(data, user)) else []
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        return closed
    return [
        *closed,
        f"workers would write to the storage as {name}, whose number {user} is: set nfs_user to one that nobody has",
    ]


def _read(path: Path) -> str:
    try:
        return read_own(path).decode(errors="replace")
    except OSError:
        return ""


def _port_in(text: str, pattern: "re.Pattern[str]") -> int:
    """0 where it tells none."""
    found = pattern.search(text)
    return int(found.group(1)) if found and 0 < int(found.group(1)) <= MAX_PORT else 0
