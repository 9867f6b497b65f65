"""A real ssh server of the test's own, on a free port of 127.0.0.1: its own host key, and one key that may log in."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from server.settings import CHECKOUT

RECEIVE = CHECKOUT / "scripts" / "cumulus-receive"
SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
# SHLVL: a bash that sshd starts reads ~/.bashrc unless it believes that it is not the first; what is there is
# no matter of the tests (a pyenv takes a tenth of a second and 90 processes for each login).
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
LogLevel VERBOSE
SetEnv SHLVL=1
"""


@dataclass
class Sshd:
    """The server, which a test may end and start again."""

    folder: Path
    port: int
    child: "subprocess.Popen[bytes] | None" = None

    @property
    def login(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1"

    @property
    def log(self) -> str:
        return (self.folder / "sshd.log").read_text()

    def start(self) -> None:
        assert SSHD
        self.child = subprocess.Popen(
            [SSHD, "-D", "-f", str(self.folder / "sshd_config"), "-E", str(self.folder / "sshd.log")], start_new_session=True
        )
        deadline = time.monotonic() + 10
        while not self.answers():
            assert time.monotonic() < deadline
            assert self.child.poll() is None, self.log
            time.sleep(0.02)

    def answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def family(self) -> list[psutil.Process]:
        """The server and all that it runs for those logged in."""
        assert self.child
        try:
            server = psutil.Process(self.child.pid)
            return [server, *server.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the server with all its sessions."""
        for process in self.family():
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue
        if self.child:
            self.child.wait(10)

    def allow(self, storage: Path | None) -> None:
        """Let the key in; with a storage: for uploads to it only."""
        key = (self.folder / "key.pub").read_text()
        command = f'command="{RECEIVE} {storage}",restrict ' if storage else ""
        (self.folder / "authorized_keys").write_text(command + key)

    def trust(self, known_hosts: Path, host_key: str | None = None) -> None:
        """Write down the server's host key, or another one."""
        key = host_key or (self.folder / "host_key.pub").read_text()
        known_hosts.write_text(f"[127.0.0.1]:{self.port} {' '.join(key.split()[:2])}\n")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)


@contextmanager
def running_sshd(folder: Path) -> Iterator[Sshd]:
    """A server that runs until the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host_key", "key"):
        make_key(folder / name)
    made = Sshd(folder, free_port())
    (folder / "sshd_config").write_text(CONFIG.format(port=made.port, folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd of root wants it for its separated child
    made.start()
    try:
        yield made
    finally:
        made.stop()
