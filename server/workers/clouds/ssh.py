"""Commands on a machine over ssh, for building and checking images. Jobs are started by Ansible, not here."""

import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from server.errors import InfrastructureError
from server.workers.ansible.connection import proxy_options

# The cheapest to compute for an emulated processor.
CHEAP = ("KexAlgorithms=curve25519-sha256", "Ciphers=aes128-gcm@openssh.com", "GSSAPIAuthentication=no")
QUIET = ("BatchMode=yes", "LogLevel=ERROR", "ConnectTimeout=20", "ServerAliveInterval=15")


class CommandFailed(InfrastructureError):
    """A command on a machine did not succeed; ``output`` is what it printed."""

    code = "command_failed"

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


@dataclass(frozen=True)
class Login:
    """How to log in on a machine. ``host_key``: its public key, the only one accepted. ``proxy``: what hands ssh a connection."""

    port: int
    key: Path
    host_key: str
    user: str = "root"
    address: str = "127.0.0.1"
    proxy: tuple[str, ...] = ()


def run_over_ssh(login: Login, script: str, timeout_s: float) -> str:
    """Run a shell script on the machine as root; returns all that it printed. Raises CommandFailed."""
    with tempfile.NamedTemporaryFile("w", prefix="cumulus-hosts-") as known:
        known.write(f"machine {login.host_key}\n")
        known.flush()
        command = [*ssh_command(login, Path(known.name)), _as_root(login, script)]
        try:
            done = subprocess.run(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                text=True,
                errors="replace",
            )
        except subprocess.TimeoutExpired as late:
            raise CommandFailed(f"{_short(script)} took longer than {timeout_s:.0f} s", str(late.output or "")) from None
    if done.returncode:
        last = done.stdout.strip().splitlines()[-1:] or ["it printed nothing"]
        raise CommandFailed(f"{_short(script)} failed (exit code {done.returncode}): {last[0]}", done.stdout)
    return done.stdout


def ssh_command(login: Login, known_hosts: Path) -> list[str]:
    """The argument list that logs in; ``known_hosts`` holds the host key under the name ``machine``."""
    options = (
        *CHEAP,
        *QUIET,
        "HostKeyAlias=machine",
        f"UserKnownHostsFile={shlex.quote(str(known_hosts))}",
        "StrictHostKeyChecking=yes",
    )
    proxy = proxy_options(login.proxy) if login.proxy else {}
    words = [word for option in (*options, *(f"{name}={value}" for name, value in proxy.items())) for word in ("-o", option)]
    return ["ssh", "-F", "none", "-i", str(login.key), *words, "-p", str(login.port), f"{login.user}@{login.address}"]


def _as_root(login: Login, script: str) -> str:
    return script if login.user == "root" else shlex.join(["sudo", "-n", "sh", "-c", script])


def _short(script: str) -> str:
    line = next(line for line in [*script.strip().splitlines(), "the script"] if line != "set -e")
    return line if len(line) < 80 else f"{line[:77]}…"
