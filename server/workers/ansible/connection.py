"""How a machine is reached: by ssh with a pinned host key, or through a program of this computer that is the machine's shell.

Owns the programs in a play's private folder by which Ansible, and who asks the machine something, get there. A play may be
launched before its machine exists: what Ansible takes for ``ssh`` (or for the shell) is the program that
:meth:`MachineConnection.write_wait` writes, which waits until :meth:`MachineConnection.announce` says where the machine is.
"""

import hashlib
import os
import shlex
import signal
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from server.errors import InfrastructureError
from server.home.files import own_folder, read_own_text, write_own

Connection = Literal["ssh", "shell"]
"""How commands get to a machine: by ssh, or through a program of this computer that is the machine's shell."""
WORKER = "worker"  # a play has one host, always called that
WAITING = "wait"
CONNECT_LIMIT_S = 10
CONTROL_PERSIST_S = 60.0
UNIX_PATH_LIMIT = 107
SSH_SUFFIX = 17  # ssh opens its control socket under a name that much longer, and renames it
SSH_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "GlobalKnownHostsFile": "none",
    "IdentitiesOnly": "yes",
    "IdentityAgent": "none",
    "PreferredAuthentications": "publickey",
    # The cheapest for an emulated processor: 0.6 s for a new connection instead of 0.9 s.
    "KexAlgorithms": "curve25519-sha256",
    "Ciphers": "aes128-gcm@openssh.com",
    "GSSAPIAuthentication": "no",
    "ConnectTimeout": str(CONNECT_LIMIT_S),
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "6",
    "LogLevel": "ERROR",
    "ControlMaster": "auto",
}
# Ansible asks what its ssh can do before it needs it. The pipe is opened before the look, so that no announcement is missed.
WAIT = """\
#!/bin/sh
[ "$*" != '-o ControlPersist' ] || exec ssh "$@"
exec 3<> {announced}
[ -x {program} ] || read -r _ <&3
exec {program} "$@" 3<&-
"""


@dataclass(frozen=True)
class Host:
    """Where and how a machine is reached. ``host_key``: its public key as one line; ``ssh_key``: the private key that logs in.

    ``shell``: the program of this computer that takes ``-c COMMAND`` and runs the command on the machine, where no ssh does.
    ``proxy``: the program that hands ssh a connection, where there is no other way to the address.
    """

    name: str
    connection: Connection
    address: str = ""
    port: int = 0
    user: str = ""
    host_key: str = ""
    ssh_key: Path = Path()
    shell: tuple[str, ...] = ("/bin/sh",)
    proxy: tuple[str, ...] = ()


@dataclass(frozen=True)
class MachineConnection:
    """The programs in one play's private folder."""

    directory: Path

    def announce(self, host: Host, persist_s: float = CONTROL_PERSIST_S) -> None:
        """Say where the machine is. A connection that is opened stays open for ``persist_s`` seconds after its last use."""
        make_private(self.directory)
        write_own(self.directory / "known_hosts", f"{host.name} {host.host_key}\n", 0o644)
        command = self._ssh(host, persist_s) if host.connection == "ssh" else host.shell
        _write_program(self._kind, f"# {host.connection}\n")
        _write_program(self._program, f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        _wake(self._announced)

    @property
    def is_announced(self) -> bool:
        """Whether it is known where the machine is."""
        return self._program.exists()

    @property
    def connection(self) -> Connection:
        """The one of the machine that was announced."""
        return "shell" if "shell" in read_own_text(self._kind) else "ssh"

    def ask(self, command: Sequence[str], limit_s: float) -> str | None:
        """What a command on the machine that was announced prints; None where it does not answer in time, or has no answer."""
        words = ["-c", shlex.join(command)] if self.connection == "shell" else [WORKER, shlex.join(command)]
        child = subprocess.Popen(
            [self._program, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            said = child.communicate(timeout=limit_s)[0]
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end_group(child)
        return None if child.returncode else said.strip()

    def login_command(self, host: Host) -> str:
        """What an administrator types to log in on the machine; the folder must stay as long as that is to work."""
        self.announce(host)
        return shlex.join([*self._ssh(host, CONTROL_PERSIST_S), host.name])

    def write_wait(self) -> Path:
        """Write the program that waits for the announcement and is then what gets there; returns its path."""
        with suppress(FileExistsError):
            os.mkfifo(self._announced, 0o600)
        program, announced = shlex.quote(str(self._program)), shlex.quote(str(self._announced))
        wait = self.directory / WAITING
        _write_program(wait, WAIT.format(program=program, announced=announced))
        return wait

    @property
    def shell(self) -> Path:
        """Where Ansible finds :meth:`write_wait`'s program as its shell: a path without blanks, at which it would cut it.

        Raises InfrastructureError where somebody else has the folder for the way around.
        """
        if not any(character.isspace() for character in str(self.directory)):
            return self.directory / WAITING
        plays = self.directory.parent
        link = _private_temporary() / f"plays-{hashlib.sha256(os.fsencode(plays.absolute())).hexdigest()[:12]}"
        with suppress(FileExistsError):
            link.symlink_to(plays.absolute())
        return link / self.directory.name / WAITING

    @property
    def _program(self) -> Path:
        return self.directory / "reach"

    @property
    def _kind(self) -> Path:
        return self.directory / "connection"

    @property
    def _announced(self) -> Path:
        return self.directory / "announced"

    def _ssh(self, host: Host, persist_s: float) -> list[str]:
        own = {
            "HostName": host.address,
            "Port": str(host.port),
            "User": host.user or "root",
            "HostKeyAlias": host.name,
            "UserKnownHostsFile": _quoted(self.directory / "known_hosts"),
            "IdentityFile": _quoted(host.ssh_key),
            "ControlPath": str(_control_path(self.directory, host)),
            "ControlPersist": f"{persist_s:.0f}",
        }
        if host.proxy:
            own |= proxy_options(host.proxy)
        options = [word for name, value in (own | SSH_OPTIONS).items() for word in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "none", *options]


def make_private(directory: Path) -> None:
    """Make a folder that nobody else may enter, where it is not there yet."""
    own_folder(directory, 0o700)


def proxy_options(command: Sequence[str]) -> dict[str, str]:
    """Ssh's options for a program that hands it a connection; a percent sign means something to ssh."""
    return {"ProxyCommand": shlex.join(command).replace("%", "%%"), "ProxyUseFdpass": "yes"}


def _quoted(path: Path) -> str:
    """A path as ssh's own options take it where it may hold a blank."""
    return f'"{path}"'


def _control_path(directory: Path, host: Host) -> Path:
    """The same for all plays on a machine, so that they share a connection; "none" where no path is short enough."""
    identity = hashlib.sha256(f"{host.name} {host.address} {host.port} {host.host_key}".encode()).hexdigest()[:12]
    path = directory.parent / f".{identity}"
    if len(os.fsencode(path)) + SSH_SUFFIX > UNIX_PATH_LIMIT or "%" in str(path) or " " in str(path):
        return _private_temporary() / identity
    return path


def _private_temporary() -> Path:
    """A folder of this user alone with a short name. Raises InfrastructureError where somebody else has it."""
    folder = Path(tempfile.gettempdir()) / f"cumulus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise InfrastructureError(f"{folder} belongs to somebody else: remove it, or set TMPDIR")
    return folder


def _end_group(child: "subprocess.Popen[str]") -> None:
    """End a program that has not answered in time, with what it has started."""
    if child.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def _write_program(path: Path, text: str) -> None:
    write_own(path, text, 0o700)


def _wake(pipe: Path) -> None:
    """Wake who waits at a named pipe; who comes later sees for himself."""
    with suppress(OSError):  # there is no pipe, or nobody at it
        handle = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(handle, b"\n")
        finally:
            os.close(handle)
