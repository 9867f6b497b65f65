"""The raw floor: a job's life with nothing in between. What the hardware, QEMU, ssh and the storage take, whoever orchestrates.

The same clone of the same memory image on the same command line as a worker's, the same storage server and the same app, driven
by plain child processes (qemu-img, QEMU, ssh): no Terraform, no Ansible, no database, no loop, and no look that costs anything.
"""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Any

from server.settings import Settings
from server.workers.clouds.keys import KeyPair, make_key
from server.workers.clouds.qemu.accelerator import find_accel
from server.workers.clouds.qemu.command import HOST_SEEN_BY_GUEST, Memory, Shape, qemu_command
from server.workers.clouds.qemu.dial import dial_command
from server.workers.clouds.qemu.host.rights import admit_worker
from server.workers.clouds.qemu.images.images import read_image
from server.workers.clouds.qemu.images.memory import memory_image
from server.workers.clouds.qemu.machine import Machine, MachineSpec
from server.workers.clouds.qemu.network.private_network import private_network
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.clouds.qemu.process import GuestName
from server.workers.clouds.qemu.provider.boot import FORWARD
from server.workers.clouds.qemu.sockets import connect
from server.workers.clouds.ssh import Login, ssh_command
from tests.bench.lives import END, FIRST_LINE, GONE, LINE, MACHINE, SSH, Marks
from tests.bench.measuring import until

INSTALLATION = "floor"  # no controller takes such machines for its own
ASK_AGAIN_S = 0.7  # a clone that does not know yet that somebody listens drops its answer
LIMIT_S = 120.0
# The options of a worker's mount. One mount shows both exports; the app is started as the user that a worker's app has.
START = """\
echo ready
mount -t nfs4 -o vers=4.2,sec=sys,lookupcache=positive,port={port} {host}:/ /mnt && [ -d /mnt/data/. ] || exit 1
job=/mnt/jobs/{job}
setsid -f setpriv --reuid=cumulus --regid=cumulus --clear-groups sh $job/app $job < /dev/null > $job/log 2>&1
"""
# What the test app does, and beside it the least that tells the other end of the storage how it ended.
APP = """\
echo 'probe started'
echo 'a word on stderr' >&2
echo bench > $1/result.txt
sleep {seconds}
echo 'probe done'
echo 0 > $1/rc.new
mv $1/rc.new $1/rc
"""


@dataclass(frozen=True)
class Clone:
    """A machine that runs. ``login``: how to log in on it."""

    process: "subprocess.Popen[bytes]"
    login: Login
    known_hosts: Path

    def ssh(self, script: str) -> list[str]:
        """The command that runs a script on it over a new connection."""
        return [*ssh_command(self.login, self.known_hosts), script]


@dataclass(frozen=True)
class Floor:
    """The bare script of one installation. ``jobs``: the exported job folders on this side; ``folder``: its own files."""

    home: QemuHome
    shape: Shape
    jobs: Path
    nfs_port: int
    folder: Path
    numbers: Iterator[int]

    @classmethod
    def of(cls, home: Path, storage: Path, shape: Shape, nfs_port: int) -> "Floor":
        """On the promoted snapshot of the installation at ``home``, whose memory image for ``shape`` must be there."""
        return cls(QemuHome(home), shape, storage / "jobs", nfs_port, home / "floor", count(1))

    def lives(self, number: int, seconds: float) -> list[dict[str, float]]:
        """So many lives at once; seconds from their common beginning to each step. ``seconds``: that the app sleeps."""
        names = [f"bare-{next(self.numbers)}" for _ in range(number)]
        for name in names:
            self._write_job(name, seconds)
        marks = [Marks() for _ in names]
        with ThreadPoolExecutor(number) as pool:
            list(pool.map(self._life, names, marks))
        for name in names:
            shutil.rmtree(self.jobs / name)
        return [one.seconds for one in marks]

    def _write_job(self, name: str, seconds: float) -> None:
        job = self.jobs / name
        shutil.rmtree(job, ignore_errors=True)
        (job / "input").mkdir(parents=True)
        (job / "app").write_text(APP.format(seconds=seconds))
        admit_worker(job, self.jobs, Settings(home=self.home.home).nfs_user)

    def _life(self, name: str, marks: Marks) -> None:
        job = self.jobs / name
        with self.clone(name) as clone:
            marks.reach(MACHINE)
            script = START.format(port=self.nfs_port, host=HOST_SEEN_BY_GUEST, job=name)
            with subprocess.Popen(clone.ssh(script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as login:
                assert login.stdout is not None
                if login.stdout.readline() != b"ready\n":
                    raise RuntimeError(f"{name} does not take logins")
                marks.reach(SSH)
                until(lambda: _holds(job / "log", FIRST_LINE) or _has_failed(login), LIMIT_S)
                marks.reach(LINE)
                until((job / "rc").exists, LIMIT_S)
                marks.reach(END)
        marks.reach(GONE)

    @contextmanager
    def clone(self, name: str) -> Iterator[Clone]:
        """A machine with its identity, gone with all that it owned afterwards."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        key = make_key()
        process, port = self._start(name, folder)
        try:
            _tell_identity(folder, name, key, self.home.key.with_name(f"{self.home.key.name}.pub").read_text().strip())
            known = folder / "known_hosts"
            known.write_text(f"machine {key.public}\n")
            self._describe(name, folder, process.pid, port)
            yield Clone(process, Login(port, self.home.key, key.public, proxy=dial_command(folder)), known)
        finally:
            process.terminate()
            process.wait(30)
            shutil.rmtree(folder)

    def _describe(self, name: str, folder: Path, pid: int, port: int) -> None:
        """For the program that hands ssh a connection."""
        shape = {"cpus": self.shape.cpus, "memory_mb": self.shape.memory_mb, "disk_gb": self.shape.disk_gb}
        known = {"server_id": INSTALLATION, "worker": name, "snapshot": "1", "ssh_public_key": "ssh-ed25519 A", **shape}
        machine = Machine(spec=MachineSpec.model_validate(known), host_key="", pid=pid, port=port)
        (folder / "machine.json").write_text(machine.model_dump_json())

    def _start(self, name: str, folder: Path) -> tuple["subprocess.Popen[bytes]", int]:
        """QEMU goes on from the memory image; returns it with the port of the machine's ssh server."""
        image = read_image(self.home.current)
        saved = memory_image(image, self.shape)
        disk = folder / "disk.qcow2"
        overlay = [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            str(saved.disk),
            str(disk),
            f"{self.shape.disk_gb}G",
        ]
        subprocess.run(overlay, check=True)
        guest = GuestName(INSTALLATION, name)
        command = qemu_command(guest, find_accel(self.home), self.shape, image, disk, Memory(saved.ram), incoming=True)
        with saved.state.open("rb") as state, (folder / "qemu.log").open("wb") as log:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            process = private_network(self.home, INSTALLATION).inside(
                lambda: subprocess.Popen(command, cwd=folder, pass_fds=(state.fileno(),), **pipes)
            )
            with until(lambda: _monitor(folder)) as monitor:
                monitor.run("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])
                monitor.run("migrate-incoming", uri=f"fd:{state.fileno()}")
                until(lambda: monitor.run("query-status")["running"], LIMIT_S)
                text = monitor.run("human-monitor-command", **{"command-line": "info usernet"})
        found = FORWARD.search(text)
        if found is None:
            raise RuntimeError(f"QEMU forwards no port to {name}")
        return process, int(found[1])


class _Monitor:
    """A line to QEMU: one JSON object there, one back."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("r")
        self._lines.readline()
        self.run("qmp_capabilities")

    def run(self, command: str, **arguments: object) -> Any:
        self._connection.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while "return" not in (answer := json.loads(self._lines.readline())):
            if "error" in answer:
                raise RuntimeError(f"QEMU refused {command}: {answer['error']}")
        return answer["return"]

    def __enter__(self) -> "_Monitor":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._connection.close()


def _monitor(folder: Path) -> _Monitor | None:
    try:
        return _Monitor(connect(folder / "qmp", LIMIT_S))
    except OSError:  # QEMU has only just been started
        return None


def _tell_identity(folder: Path, name: str, key: KeyPair, login: str) -> None:
    """Tell the clone who and when it is, again and again until it answers."""
    with connect(folder / "identity", ASK_AGAIN_S) as line:
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            order = {"seed": token_hex(64), "name": name, "host_key": key.private, "authorized_key": login, "time": time.time()}
            line.sendall(json.dumps(order).encode() + b"\n")
            with suppress(TimeoutError):
                if json.loads(line.makefile("r").readline())["rc"] == 0:
                    return
                raise RuntimeError(f"{name} could not become itself")
    raise TimeoutError(f"{name} does not answer on its identity port")


def _has_failed(login: "subprocess.Popen[bytes]") -> bool:
    if login.poll():
        raise RuntimeError(f"the start command of a bare life failed (exit code {login.returncode})")
    return False


def _holds(path: Path, text: bytes) -> bool:
    with suppress(FileNotFoundError):
        return text in path.read_bytes()
    return False
