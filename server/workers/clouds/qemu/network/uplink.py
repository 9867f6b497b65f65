"""The way from the machines' private network to the internet, for apps whose XML says that they use it.

slirp4netns speaks for the network as a program of this computer would, and so reaches what this computer does. Routes in the
network leave of that the internet alone: no private address, none of this computer's own, none of the networks that it is in,
and of the name server nothing but its answers. They hold for whoever is root on a machine as well. The uplink is made for the
first such job and ends with the NFS server.
"""

import ipaddress
import os
import select
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from server.home.files import open_anew, read_own
from server.workers.clouds.qemu.network.private_network import PrivateNetwork, UplinkFailed
from server.workers.clouds.qemu.process import end_process, find_process
from server.workers.machine_locks import exclusive

PROGRAM = "slirp4netns"
PACKAGES = {PROGRAM: PROGRAM, "ip": "iproute2"}
DEVICE = "uplink"
OWN_NETWORK, NAME_SERVER = "10.254.254.0/24", "10.254.254.3"
# Not on the internet (RFC 6890): this network, private ones, those behind a carrier's NAT, link-local ones with the metadata
# service of clouds, benchmarks, multicast and reserved ones.
PRIVATE = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16"),
    *("198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4"),
)
SYSTEM_FOLDERS = "/usr/sbin:/sbin"
START_LIMIT_S = 10.0
LOCK_LIMIT_S = 30.0


@dataclass(frozen=True)
class Uplink:
    """The one of an installation, whose NFS server (``server()``: its process) is in ``network``; ``folder``: its own files."""

    network: PrivateNetwork
    folder: Path
    server_id: str

    def ensure(self, server: int) -> None:
        """Have it there. ``server``: a process in the network. Raises UplinkFailed."""
        with exclusive(self.folder / "lock", DEVICE, LOCK_LIMIT_S):
            if self._runs():
                return
            self.end()
            if lacking := uplink_problems():
                raise UplinkFailed("; ".join(lacking))
            commands = fence(neighbours())
            self.network.inside(lambda: _run_ip(commands))
            self._start(server)

    def end(self) -> None:
        """End it; not an error where there is none."""
        while pid := find_process(self._mark):
            end_process(pid, self._mark)

    @property
    def _mark(self) -> str:
        """Its own name for itself, by which it is found."""
        return f"{PROGRAM}=cumulus.{self.server_id}."

    def _runs(self) -> bool:
        """Whether it is there and leads to the network as it is now."""
        return bool(find_process(self._mark)) and DEVICE in [name for _, name in self.network.inside(socket.if_nameindex)]

    def _start(self, server: int) -> None:
        ready, ready_end = os.pipe()
        options = ["--configure", f"--cidr={OWN_NETWORK}", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp"]
        where = [f"--ready-fd={ready_end}", "--netns-type=path", f"/proc/{server}/ns/net", DEVICE]
        with open_anew(self.folder / "uplink.log") as log:
            process = subprocess.Popen(
                [self._mark, *options, *where],
                executable=PROGRAM,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(ready_end,),
                start_new_session=True,
                cwd="/",
            )
        os.close(ready_end)
        threading.Thread(target=process.wait, daemon=True).start()  # or it stays a zombie when it ends
        with os.fdopen(ready, "rb") as pipe:
            if not (select.select([pipe], [], [], START_LIMIT_S)[0] and pipe.read(1)):
                self.end()
                said = _read(self.folder / "uplink.log").strip()[-300:]
                raise UplinkFailed(f"the machines' way to the internet does not open: {said or 'slirp4netns says nothing'}")


def uplink_problems() -> list[str]:
    """What this computer lacks for it, one line each with its remedy."""
    return [
        f'{program} is not installed, which apps with network="internet" need: apt-get install {package}'
        for program, package in PACKAGES.items()
        if _program(program) is None
    ]


def _program(name: str) -> str | None:
    """Its path; also where a login's PATH does not lead."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{SYSTEM_FOLDERS}")


def fence(near: Iterable[str]) -> str:
    """Orders for ip(8) in the private network, given before the uplink is there: what is not to be reached through it."""
    names = [f"rule add priority 100 to {NAME_SERVER} ipproto {protocol} dport 53 lookup main" for protocol in (17, 6)]
    closed = [f"route replace prohibit {network}" for network in dict.fromkeys((*PRIVATE, *near))]
    return "\n".join([*names, f"rule add priority 101 to {NAME_SERVER} prohibit", *closed]) + "\n"


def neighbours() -> list[str]:
    """This computer's own addresses, and the networks that it is in (IPv4; the uplink has no other)."""
    found = []
    for link in psutil.net_if_addrs().values():
        for one in link:
            with suppress(ValueError):
                if one.family == socket.AF_INET and not one.address.startswith("127."):
                    network = ipaddress.ip_network(f"{one.address}/{one.netmask or 32}", strict=False)
                    found += [f"{one.address}/32", str(network)] if network.prefixlen else [f"{one.address}/32"]
    return found


def _read(path: Path) -> str:
    try:
        return read_own(path).decode(errors="replace")
    except OSError:
        return ""


def _run_ip(commands: str) -> None:
    done = subprocess.run(
        [_program("ip") or "ip", "-force", "-batch", "-"], input=commands, capture_output=True, text=True, check=False
    )
    wrong = [line for line in done.stderr.splitlines() if "File exists" not in line and not line.startswith("Command failed")]
    if wrong:
        raise UplinkFailed(f"the machines' way to the internet cannot be fenced: {wrong[0]}")
