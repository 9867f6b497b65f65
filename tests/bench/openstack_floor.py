"""The raw floor on OpenStack: a job's life with the SDK and ssh alone. What the cloud, the machine and the storage take.

The same volume of the promoted snapshot, port and server as a worker's, the volume and the port made at the same time; then one
login that mounts the storage and starts the app; then all of it deleted. No Terraform, no Ansible, no database, no loop, and
looks that come often.
"""

import base64
import json
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.settings import Settings
from server.workers.clouds.keys import KeyPair, make_key
from server.workers.clouds.openstack.client.access import Access, find_or_none, remove_server
from server.workers.clouds.openstack.template.cinder_copies import CinderCopies
from server.workers.clouds.openstack.template.snapshots import Snapshots
from server.workers.clouds.ssh import Login, ssh_command
from server.workers.own_start import takes_connections
from tests.bench.floor import APP
from tests.bench.lives import END, FIRST_LINE, GONE, LINE, MACHINE, SSH, Marks
from tests.bench.measuring import until

if TYPE_CHECKING:
    from openstack.connection import Connection

LIMIT_S = 600.0
CLOUD_LOOK_S = 0.2
SSH_LOOK_S = 0.2
# The options of a worker's mount; the app is started as the user that a worker's app has.
START = """\
echo ready
mkdir -p /mnt/floor
mount -t nfs4 -o vers=4.2,sec=sys,lookupcache=positive,port={port} {host}:/ /mnt/floor && [ -d /mnt/floor/data/. ] || exit 1
job=/mnt/floor/jobs/{job}
setsid -f setpriv --reuid=cumulus --regid=cumulus --clear-groups sh $job/app $job < /dev/null > $job/log 2>&1
"""


@dataclass(frozen=True)
class OpenstackFloor:
    """The bare script on one cloud, with the names and the storage of an installation's settings. ``key``: who logs in."""

    settings: Settings
    access: Access
    key: Path
    numbers: Iterator[int]

    @classmethod
    def of(cls, settings: Settings, key: Path) -> "OpenstackFloor":
        """With the installation's login key."""
        return cls(settings, Access(settings), key, count(1))

    def lives(self, number: int, seconds: float) -> list[dict[str, float]]:
        """So many lives at once; seconds from their common beginning to each step. ``seconds``: that the app sleeps."""
        with self.access.use() as cloud:
            wanted = _Wanted.of(
                cloud, self.settings, Snapshots(CinderCopies(self.access, self.settings.openstack_template)).current().identifier
            )
        names = [f"bare-{next(self.numbers)}" for _ in range(number)]
        for name in names:
            self._write_job(name, seconds)
        marks = [Marks() for _ in names]
        with ThreadPoolExecutor(number) as pool:
            list(pool.map(lambda name, one: self._life(name, one, wanted), names, marks))
        for name in names:
            shutil.rmtree(self._jobs / name)
        return [one.seconds for one in marks]

    @property
    def _jobs(self) -> Path:
        return self.settings.storage / "jobs"

    def _write_job(self, name: str, seconds: float) -> None:
        job = self._jobs / name
        shutil.rmtree(job, ignore_errors=True)
        job.mkdir(parents=True)
        job.chmod(0o777)
        (job / "app").write_text(APP.format(seconds=seconds))

    def _life(self, name: str, marks: Marks, wanted: "_Wanted") -> None:
        job, key = self._jobs / name, make_key()
        with self.access.use() as cloud:
            machine = _Machine(cloud, name, wanted)
            try:
                address = machine.make(_user_data(key, self.key.with_name(f"{self.key.name}.pub").read_text().strip()))
                marks.reach(MACHINE)
                with self._logged_in(name, address, key) as login:
                    marks.reach(SSH)
                    until(lambda: _holds(job / "log", FIRST_LINE) or _has_failed(login), LIMIT_S)
                    marks.reach(LINE)
                    until((job / "rc").exists, LIMIT_S)
                    marks.reach(END)
            finally:
                machine.remove()
        marks.reach(GONE)

    @contextmanager
    def _logged_in(self, name: str, address: str, key: KeyPair) -> "Iterator[subprocess.Popen[bytes]]":
        """The login that starts the app, tried again and again until the machine takes it."""
        login = Login(22, self.key, key.public, self.settings.openstack_user, address)
        script = START.format(port=self.settings.openstack_nfs_port, host=self.settings.openstack_nfs_host, job=name)
        with tempfile.NamedTemporaryFile("w", prefix="cumulus-hosts-") as known:
            known.write(f"machine {key.public}\n")
            known.flush()
            command = [*ssh_command(login, Path(known.name)), shlex.join(["sudo", "-n", "sh", "-c", script])]
            deadline = time.monotonic() + LIMIT_S
            while time.monotonic() < deadline:
                until(lambda: takes_connections(address, 22), LIMIT_S, SSH_LOOK_S)
                with subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                ) as process:
                    assert process.stdout is not None
                    if process.stdout.readline() == b"ready\n":
                        yield process
                        return
                time.sleep(SSH_LOOK_S)
        raise TimeoutError(f"{name} does not take logins")


@dataclass(frozen=True)
class _Wanted:
    """Ids of what a machine is made with."""

    snapshot: str
    flavor: str
    network: str
    group: str
    key_pair: str
    disk_gb: int

    @classmethod
    def of(cls, cloud: "Connection", settings: Settings, snapshot: str) -> "_Wanted":
        flavor = cloud.compute.find_flavor(settings.default_flavor, ignore_missing=False)
        network = cloud.network.find_network(settings.openstack_network, ignore_missing=False)
        group = cloud.network.find_security_group(settings.openstack_security_group, ignore_missing=False)
        disk_gb = int(settings.worker_disk_gb)
        return cls(snapshot, flavor.id, network.id, group.id, settings.openstack_key_pair, disk_gb)


@dataclass
class _Machine:
    """A volume, a port and a server, made and removed by plain calls."""

    cloud: "Connection"
    name: str
    wanted: _Wanted
    volume: str = ""
    port: str = ""
    server: str = ""

    def make(self, user_data: str) -> str:
        """Returns the address once the server is ACTIVE."""
        wanted, compute = self.wanted, self.cloud.compute
        with ThreadPoolExecutor(1) as pool:
            making = pool.submit(self._make_volume)
            port = self.cloud.network.create_port(name=self.name, network_id=wanted.network, security_group_ids=[wanted.group])
            self.port = port.id
            making.result()
        disk = {"uuid": self.volume, "source_type": "volume", "destination_type": "volume", "boot_index": 0}
        extra = {"key_name": wanted.key_pair} if wanted.key_pair else {}
        server = compute.create_server(
            name=self.name,
            flavor_id=wanted.flavor,
            block_device_mapping=[{**disk, "delete_on_termination": True}],
            networks=[{"port": self.port}],
            config_drive=True,
            user_data=base64.b64encode(user_data.encode()).decode(),
            **extra,
        )
        self.server = server.id
        _until_is(lambda: compute.get_server(self.server), "ACTIVE")
        return str(port.fixed_ips[0]["ip_address"])

    def _make_volume(self) -> None:
        made = self.cloud.block_storage.create_volume(name=self.name, size=self.wanted.disk_gb, snapshot_id=self.wanted.snapshot)
        self.volume = made.id
        _until_is(lambda: self.cloud.block_storage.get_volume(self.volume), "AVAILABLE")

    def remove(self) -> None:
        """Returns when all three are gone."""
        if self.server:
            remove_server(self.cloud, self.server)
            until(lambda: find_or_none(self.cloud.compute.get_server, self.server) is None, LIMIT_S, CLOUD_LOOK_S)
        elif self.volume:
            self.cloud.block_storage.delete_volume(self.volume)
        if self.port:
            self.cloud.network.delete_port(self.port, ignore_missing=True)
        if self.volume:
            until(lambda: find_or_none(self.cloud.block_storage.get_volume, self.volume) is None, LIMIT_S, CLOUD_LOOK_S)


def _until_is(look: Callable[[], Any], status: str) -> None:
    def reached() -> bool:
        found = str(look().status).upper()
        if found == "ERROR":
            raise RuntimeError(f"the cloud could not make it {status}")
        return found == status

    until(reached, LIMIT_S, CLOUD_LOOK_S)


def _user_data(key: KeyPair, login: str) -> str:
    """As a worker's: a host key that is known, and who logs in."""
    path = "/etc/ssh/ssh_host_ed25519_key"
    files = [
        {"path": path, "permissions": "0600", "content": f"{key.private.strip()}\n"},
        {"path": f"{path}.pub", "permissions": "0644", "content": f"{key.public}\n"},
    ]
    wanted = {"ssh_authorized_keys": [login], "ssh_deletekeys": False, "ssh_genkeytypes": [], "write_files": files}
    return f"#cloud-config\n{json.dumps(wanted)}\n"


def _has_failed(login: "subprocess.Popen[bytes]") -> bool:
    if login.poll():
        raise RuntimeError(f"the start command of a bare life failed (exit code {login.returncode})")
    return False


def _holds(path: Path, text: bytes) -> bool:
    try:
        return text in path.read_bytes()
    except FileNotFoundError:
        return False
