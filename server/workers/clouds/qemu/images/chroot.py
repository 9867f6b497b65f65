"""A Debian root folder that programs run in before it ever boots. Owns the isolation, not what is installed.

Everything runs in a mount and a process namespace of its own: an end of any kind (also kill -9 of the builder) takes the
mounts and the processes with it, and nothing is ever mounted where others see it.
"""

import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from server.errors import InfrastructureError
from server.workers.clouds.qemu.provider.boot import wait_login

SSHD_LIMIT_S = 15.0
TRIES = 5
# The builder's death ends unshare, whose death ends the namespace's first process, whose death ends all others in it.
NAMESPACE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child")
MOUNTS = """\
set -e
cd "$1"; shift
mount -t proc proc proc
mount -t tmpfs -o mode=755 dev dev
for name in null zero full random urandom tty; do touch dev/$name; mount --bind /dev/$name dev/$name; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 run run
mkdir run/sshd run/lock
exec chroot . "$@"
"""
# Its own configuration: the one in the root is for the machine that it will be.
SSHD_OPTIONS = ("PermitRootLogin=prohibit-password", "PasswordAuthentication=no", "UsePAM=no", "UseDNS=no", "PidFile=none")


def isolated(*command: str) -> list[str]:
    """The argument list that runs ``command`` with mounts and processes of its own."""
    return [*NAMESPACE, *command]


def run_in_root(root: Path, script: str, log: Path) -> None:
    """Run a shell script in the root folder; its output is added to ``log``. Raises InfrastructureError."""
    run_logged(_in_root(root, "sh", "-ec", script), log)


def save_from_root(root: Path, script: str, target: Path, log: Path) -> None:
    """Run a shell script in the root folder; what it prints becomes the file ``target``. Raises InfrastructureError."""
    command = _in_root(root, "sh", "-ec", script)
    with target.open("wb") as output, log.open("ab") as errors:
        code = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True
        ).returncode
    if code:
        raise InfrastructureError(f"{target.name} could not be made (exit code {code}): {_last_line(log)} (all of it: {log})")


def run_logged(
    command: list[str],
    log: Path,
    hear: Callable[[str], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command whose output is added to ``log``, and passed to ``hear`` line by line. ``environment``: instead of one's own.

    Raises InfrastructureError with its last line. An exception of any kind ends the command.
    """
    with log.open("ab") as output, _started(command, output, environment, heard=hear is not None) as process:
        for line in process.stdout or ():
            output.write(line)
            if hear:
                hear(line.decode(errors="replace").rstrip())
        code = process.wait()
    if code:
        raise InfrastructureError(f"{_name(command)} failed (exit code {code}): {_last_line(log)} (all of it: {log})")


@contextmanager
def _started(
    command: list[str], output: BinaryIO, environment: Mapping[str, str] | None, *, heard: bool
) -> "Iterator[subprocess.Popen[bytes]]":
    """The command while it runs; killed where the block ends before it does."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if heard else output,
        stderr=subprocess.STDOUT if heard else output,
        start_new_session=True,
        env=environment,
    )
    with process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


@contextmanager
def sshd_in_root(root: Path, log: Path) -> Iterator[int]:
    """An ssh server in the root folder on a free port of 127.0.0.1, which it gives; ends with the block."""
    for _ in range(TRIES):
        port = _free_port()
        server = _start_sshd(root, port, log)
        try:
            if _came_up(server, port):
                yield port
                return
        finally:
            server.kill()
            server.wait()
    raise InfrastructureError(f"no ssh server in the template's root folder: {_last_line(log)}")


def _start_sshd(root: Path, port: int, log: Path) -> "subprocess.Popen[bytes]":
    options = [word for option in (*SSHD_OPTIONS, "ListenAddress=127.0.0.1", f"Port={port}") for word in ("-o", option)]
    command = _in_root(root, "/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", "/etc/ssh/ssh_host_ed25519_key", *options)
    with log.open("ab") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)


def _came_up(server: "subprocess.Popen[bytes]", port: int) -> bool:
    until = time.monotonic() + SSHD_LIMIT_S
    while server.poll() is None and time.monotonic() < until:
        try:
            wait_login(port, 1)
        except InfrastructureError:
            continue
        return server.poll() is None
    return False


def _in_root(root: Path, *command: str) -> list[str]:
    return isolated("sh", "-c", MOUNTS, "sh", str(root), *command)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _name(command: list[str]) -> str:
    return shlex.join(command[len(NAMESPACE) :][:1] if command[: len(NAMESPACE)] == list(NAMESPACE) else command[:1])


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][-300:] if lines else "it said nothing"
