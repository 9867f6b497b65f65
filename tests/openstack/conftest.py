"""A real OpenStack cloud, named by the environment: a project with a promoted snapshot, and this computer's NFS server.

What ``make test-openstack`` needs beside root rights and nfs-ganesha: ``OS_CLOUD`` of a clouds.yaml, terraform with the official
provider (its registry, or a mirror in ``TF_CLI_CONFIG_FILE``), and of ``TEST_OPENSTACK_*``: ``ADDRESS`` (this computer's, as
workers reach it), ``NETWORK``, ``GROUP``, ``TEMPLATE`` (whose snapshots), ``USER``, ``FLAVOR``, ``DISK_GB``, and ``ADMIN``, a
cloud of the clouds.yaml that may change the project's quota, without which that one test is skipped.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from server.client import Client
from server.installation import installation_id
from server.settings import CHECKOUT, Settings, load_settings
from server.storage.delivery import deliver
from server.storage.folders import JobFolder, Storage
from server.workers.clouds.base import Resource
from server.workers.clouds.keys import ensure_key
from server.workers.clouds.openstack.access import Access
from server.workers.clouds.openstack.cloud import OpenstackCloud
from server.workers.clouds.qemu.nfs import NfsServer, nfs_problems
from server.workers.terraform import terraform_binary

MODULE = CHECKOUT / "infra" / "terraform" / "openstack" / "worker"
FORM = {"text": "hello", "seconds": "0", "outcome": "ok"}
PATIENT = {"create_timeout_s": 900, "starting_timeout_s": 1200, "provisioning_timeout_s": 1200, "play_timeout_s": 300}
QUICK = {"sweep_interval_s": 5, "retry_delay_s": 1, "breaker_pause_s": 5}


def told(name: str, otherwise: str = "") -> str:
    return os.environ.get(f"TEST_OPENSTACK_{name}", otherwise)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings of the cloud; skips where something is missing, and says what."""
    for name in ("OS_CLOUD", "TEST_OPENSTACK_ADDRESS"):
        if not os.environ.get(name):
            pytest.skip(f"no OpenStack cloud to try against: {name} is not set (see tests/openstack/conftest.py)")
    if problems := nfs_problems():
        pytest.skip("; ".join(problems))
    copy = tmp_path_factory.mktemp("module")
    shutil.copytree(MODULE, copy, dirs_exist_ok=True)
    done = subprocess.run([terraform_binary(), "init", "-input=false"], cwd=copy, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"terraform has no provider for OpenStack: {done.stderr[-300:]}")
    return {
        "openstack_cloud": os.environ["OS_CLOUD"],
        "openstack_network": told("NETWORK", "cumulus"),
        "openstack_security_group": told("GROUP", "cumulus-worker"),
        "openstack_template": told("TEMPLATE", "cumulus-template"),
        "openstack_user": told("USER", "debian"),
        "openstack_nfs_host": told("ADDRESS"),
        "worker_disk_gb": told("DISK_GB", "20"),
    }


@pytest.fixture(scope="session")
def key_pair(site: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A key pair for the session, for guests that take keys from the cloud only: its name, and the private half."""
    key, name = tmp_path_factory.mktemp("key") / "key", f"cumulus-test-{secrets.token_hex(4)}"
    public = ensure_key(key)
    access = Access(Settings(**site))
    with access.use() as cloud:
        cloud.compute.create_keypair(name=name, public_key=public)
    yield name, key
    with access.use() as cloud:
        cloud.compute.delete_keypair(name)


@dataclass
class Lab:
    """One installation on the cloud, with a home of its own."""

    settings: Settings
    cloud: OpenstackCloud
    access: Access
    log: Path
    flavor: str

    def submit(self, client: Client, **form: str) -> "tuple[int, JobFolder]":
        """A job of the test app, with its files there."""
        storage = Storage(self.settings.storage)
        job = client.start("ada", "probe_1.0", self.flavor, {**FORM, **form})
        folder = JobFolder(storage.jobs / job.folder)
        deliver(storage, folder, [])
        return job.job_id, folder

    def held(self, kind: str = "") -> list[Resource]:
        """What the cloud has of this installation."""
        return [one for one in self.cloud.resources() if kind in ("", one.kind)]

    def is_clear(self) -> bool:
        """Whether neither the cloud nor terraform has anything of this installation."""
        workspaces = self.settings.home / "terraform" / "openstack-worker" / "state" / "workspaces"
        return not self.held() and not (workspaces.is_dir() and list(workspaces.iterdir()))

    def orphans(self) -> str:
        """What the administrator's command says."""
        command = [str(Path(sys.executable).with_name("cumulus")), "orphans"]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.fixture
def make_lab(
    site: dict[str, str], key_pair: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Lab]]:
    """Makes the test's installation, with changes of its settings; what it leaves in the cloud fails the test and is removed."""
    made: list[Lab] = []
    home, (name, key) = tmp_path / "home", key_pair
    storage = home / "storage"
    nfs = NfsServer(tmp_path / "nfs", storage / "data", storage / "jobs", address=site["openstack_nfs_host"])
    flavor = told("FLAVOR", "m1.4xlarge")

    def make(cpus: int = 1, **changes: Any) -> Lab:
        flavors = tmp_path / "flavors.tsv"
        flavors.write_text(f"NAME\tWEIGHT\tCPU\tRAM\n{flavor}\t1\t{cpus}\t1\nMAX_ACCUMULATED_WEIGHT = 4\n")
        (home / "openstack").mkdir(parents=True, exist_ok=True)
        for file in (key, key.with_name("key.pub")):
            shutil.copy(file, home / "openstack" / file.name)
        given = {
            "home": home,
            "cloud": "openstack",
            "apps": CHECKOUT / "tests" / "apps",
            "flavors": flavors,
            "default_flavor": flavor,
            "min_free_gb": 0,
            "openstack_key_pair": name,
            "openstack_nfs_port": nfs.start(),
            **site,
            **PATIENT,
            **QUICK,
            **changes,
        }
        for setting, value in given.items():
            monkeypatch.setenv(f"CUMULUS_{setting.upper()}", str(value))
        settings = load_settings()
        access = Access(settings)
        lab = Lab(settings, OpenstackCloud(settings, installation_id(home), access), access, tmp_path / "log", flavor)
        made.append(lab)
        return lab

    try:
        yield make
        assert [lab.held() for lab in made] == [[] for _ in made]
    finally:
        for lab in made:
            for left in lab.held():
                lab.cloud.delete(left)
        nfs.stop()
