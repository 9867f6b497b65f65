"""nfs-ganesha as a process: its configuration, what it may do on this computer, and whether it serves what it should."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from server.errors import InfrastructureError, SetupMissing
from server.home.files import read_own, remove_own, set_aside, write_own
from server.workers.clouds.qemu.network.private_network import PrivateNetwork, listens
from server.workers.clouds.qemu.process import end_process, find_process

GANESHA = "ganesha.nfsd"
START_LIMIT_S = 20.0
STOP_GRACE_S = 10.0
POLL_S = 0.02
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


@dataclass(frozen=True)
class Ganesha:
    """The process of one installation's NFS server. ``folder``: its own files; ``user``, ``address``: see ``NfsServer``."""

    folder: Path
    config: Path
    data: Path
    jobs: Path
    user: int
    address: str
    network: PrivateNetwork

    def pid(self) -> int | None:
        """The process; None where none runs."""
        return find_process(str(self.config))

    def end(self) -> None:
        """End it; not an error where none runs."""
        while pid := self.pid():
            end_process(pid, str(self.config), STOP_GRACE_S)

    def run(self, port: int) -> bool:
        """Whether a server runs on the port now; False where another program has it."""
        if shutil.which(GANESHA) is None:
            raise SetupMissing(f"{GANESHA} is not installed: apt-get install nfs-ganesha nfs-ganesha-vfs")
        write_own(self.config, self.configuration(port))
        log, recovery = self.folder / "ganesha.log", self.folder / "recovery"
        for name in (log, self.folder / "pid"):
            remove_own(name)
        if os.path.lexists(recovery) and not recovery.is_dir():
            set_aside(recovery, "the NFS server needs a folder there")
        command = [GANESHA, "-F", "-f", str(self.config), "-L", str(log), "-p", str(self.folder / "pid"), "-N", "NIV_WARN"]
        process = self._launch(command) if self.address else self.network.inside(lambda: self._launch(command))
        threading.Thread(target=process.wait, daemon=True).start()  # or it stays a zombie when it ends
        try:
            self._wait_listening(port, process.poll)
            self._require_exports(log)
        except InfrastructureError:
            end_process(process.pid, str(self.config), STOP_GRACE_S)
            if TAKEN in read_text(log):
                return False
            raise
        return True

    def runs_on(self, port: int) -> bool:
        """Whether a server of this configuration listens, or comes to; one that is just dying does not."""
        if not self.pid() or read_text(self.config) != self.configuration(port):
            return False
        try:
            self._wait_listening(port, lambda: None if self.pid() else 1)
        except InfrastructureError:
            return False
        return True

    def configuration(self, port: int) -> str:
        """The text of its configuration file for that port."""
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
        if complaints := [line for line in read_text(log).splitlines() if MISCONFIGURED in line]:
            raise InfrastructureError(f"the NFS server does not run as it should: {complaints[0].partition(MISCONFIGURED)[2]}")

    def _wait_listening(self, port: int, ended: Callable[[], int | None]) -> None:
        until = time.monotonic() + START_LIMIT_S
        while time.monotonic() < until:
            if (pid := self.pid()) and listens(pid, port):
                return
            if ended() is not None:
                break
            time.sleep(POLL_S)
        last = [line for line in read_text(self.folder / "ganesha.log").splitlines() if "FATAL" in line or "CRIT" in line]
        raise InfrastructureError(f"the NFS server does not run: {last[-1][-300:] if last else 'it says nothing in its log'}")


def _export(number: int, path: Path, pseudo: str, access: str) -> str:
    where = f'Path = "{path}"; Pseudo = "{pseudo}"'
    return f"EXPORT {{ Export_Id = {number}; {where}; Access_Type = {access}; FSAL {{ Name = VFS; }} }}\n"


def read_text(path: Path) -> str:
    """The file's text; "" where it cannot be read."""
    try:
        return read_own(path).decode(errors="replace")
    except OSError:
        return ""
