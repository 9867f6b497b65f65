"""A real OpenStack cloud, named by the environment: a project, and this computer's NFS server.

What ``make test-openstack`` needs beside root rights and nfs-ganesha: ``OS_CLOUD`` of a clouds.yaml, terraform with the official
provider (its registry, or a mirror in ``TF_CLI_CONFIG_FILE``), and of ``TEST_OPENSTACK_*``: ``ADDRESS`` (this computer's, as
workers reach it), ``NETWORK``, ``GROUP``, ``USER``, ``FLAVOR``, ``DISK_GB``, and

- for a template that the tests build, copy, and make all workers of: ``IMAGE``, whose machines obey their user data each time
  that they are made (cloud-init does), ``TEMPLATE_FLAVOR`` and ``VOLUME_GB``. ``KEPT_TEMPLATE`` names a template that was built
  before: it is not built again, and stays, without its snapshots.
- for workers without that: ``TEMPLATE``, which has a promoted snapshot.
- for what needs more rights than a member's: ``ADMIN``, a cloud of the clouds.yaml that may change the project's quota and make
  flavors. The tests of that are skipped without it.
"""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from server.client import Client
from server.home.installation import installation_id
from server.settings import CHECKOUT, Settings, load_settings
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.delivery import deliver
from server.workers.clouds.base import Resource
from server.workers.clouds.keys import ensure_key
from server.workers.clouds.openstack.client.access import Access
from server.workers.clouds.openstack.cloud import OpenstackCloud
from server.workers.clouds.qemu.network.nfs import NfsServer
from server.workers.clouds.qemu.network.nfs_problems import nfs_problems
from server.workers.clouds.qemu.paths import QemuHome
from server.workers.terraform.module import terraform_binary
from tests.e2e.conftest import FINAL, until
from tests.openstack.installation import CUMULUS, Installation
from tests.openstack.proxy import apt_proxy
from tests.trial_apps import trial_apps

MODULE = CHECKOUT / "infra" / "terraform" / "openstack" / "worker"
FORM = {"text": "hello", "seconds": "0", "outcome": "ok"}
PATIENT = {"create_timeout_s": 900, "starting_timeout_s": 1200, "play_timeout_s": 300}
QUICK = {"sweep_interval_s": 5, "retry_delay_s": 1, "breaker_pause_s": 5}
LIMIT_S = 900.0
APP = "xtandem_2017.2.1.4"  # of the template, with the package that it needs
APP_PACKAGE = "tandem-mass"


def told(name: str, otherwise: str = "") -> str:
    return os.environ.get(f"TEST_OPENSTACK_{name}", otherwise)


def as_environment(settings: dict[str, Any]) -> dict[str, str]:
    return {f"CUMULUS_{name.upper()}": str(value) for name, value in settings.items()}


def usual_flavor() -> str:
    return told("FLAVOR", "m1.4xlarge")


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


@pytest.fixture(scope="session")
def installation(
    site: dict[str, str], key_pair: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Storage, NFS server and proxy run on this computer; all that was made in the cloud is removed at the end."""
    if not told("IMAGE"):
        pytest.skip("no image to build a template from: TEST_OPENSTACK_IMAGE is not set")
    kept = told("KEPT_TEMPLATE")
    home, (name, key), address = tmp_path_factory.mktemp("home"), key_pair, site["openstack_nfs_host"]
    shutil.copytree(key.parent, home / "openstack")
    folders = (home / "storage" / "data", home / "storage" / "jobs")
    nfs = NfsServer(QemuHome(home), "site", *folders, user=os.getuid(), address=address)
    with apt_proxy(address) as proxy:
        roles = {"apps_packages": [APP_PACKAGE], "worker_base_apt_proxy": proxy}
        given = {
            **site,
            "home": home,
            "cloud": "openstack",
            "apps": trial_apps(home / "apps", APP),
            "flavors": _one_flavor(home / "flavors.tsv", usual_flavor()),
            "default_flavor": usual_flavor(),
            "create_timeout_s": PATIENT["create_timeout_s"],
            "openstack_key_pair": name,
            "openstack_nfs_port": nfs.start(),
            "openstack_template": kept or f"test-{os.getpid()}",
            "openstack_template_image": told("IMAGE"),
            "openstack_template_flavor": told("TEMPLATE_FLAVOR"),
            "openstack_template_volume_gb": told("VOLUME_GB", "20"),
            "template_variables": json.dumps(roles),
        }
        others = {word: value for word, value in os.environ.items() if not word.startswith("CUMULUS_")}
        environment = others | as_environment(given)
        made = Installation(load_settings(**{**given, "template_variables": roles}), environment, bool(kept))
        made.clear()
        try:
            yield made
        finally:
            made.clear()
            nfs.stop()


def _one_flavor(path: Path, name: str, cpus: int = 1) -> Path:
    path.write_text(f"NAME\tWEIGHT\tCPU\tRAM\n{name}\t1\t{cpus}\t1\nMAX_ACCUMULATED_WEIGHT = 4\n")
    return path


@pytest.fixture(scope="session")
def template(request: pytest.FixtureRequest) -> str:
    """The name of the template whose promoted snapshot workers are made of: one that was there before, or the tests' own."""
    if told("TEMPLATE") or not told("IMAGE"):
        return told("TEMPLATE", "cumulus-template")
    installation: Installation = request.getfixturevalue("installation")
    if not installation.promoted():
        installation.run("template", "build")
        installation.run("snapshot", "create")
    return installation.template


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

    def ended(self, client: Client, job_id: int) -> dict[str, Any]:
        """The job's row once it has ended."""
        until(lambda: client.job(job_id)["status"] in FINAL, self.log, LIMIT_S)
        return client.job(job_id)

    def require_done(self, client: Client, job_id: int) -> None:
        """Wait for the job; fail unless it is DONE and nothing of it is left."""
        row = self.ended(client, job_id)
        assert row["status"] == "DONE", row["log"]
        until(self.is_clear, self.log, LIMIT_S)

    def orphans(self) -> str:
        """What the administrator's command says."""
        return subprocess.run([CUMULUS, "orphans"], check=True, stdout=subprocess.PIPE, text=True).stdout


MakeLab = Callable[..., Lab]


@pytest.fixture
def make_lab(
    site: dict[str, str], template: str, key_pair: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeLab]:
    """Makes the test's installation, with changes of its settings; what it leaves in the cloud fails the test and is removed."""
    made: list[Lab] = []
    home, (key_name, key) = tmp_path / "home", key_pair
    storage = home / "storage"
    folders, address = (storage / "data", storage / "jobs"), site["openstack_nfs_host"]
    nfs = NfsServer(QemuHome(tmp_path), "site", *folders, user=os.getuid(), address=address)

    def make(cpus: int = 1, flavor: str = "", **changes: Any) -> Lab:
        name = flavor or usual_flavor()
        (home / "openstack").mkdir(parents=True, exist_ok=True)
        for file in (key, key.with_name("key.pub")):
            shutil.copy(file, home / "openstack" / file.name)
        given = {
            "home": home,
            "cloud": "openstack",
            "apps": CHECKOUT / "tests" / "apps",
            "flavors": _one_flavor(tmp_path / "flavors.tsv", name, cpus),
            "default_flavor": name,
            "min_free_gb": 0,
            "openstack_key_pair": key_name,
            "openstack_nfs_port": nfs.start(),
            "openstack_template": template,
            **site,
            **PATIENT,
            **QUICK,
            **changes,
        }
        for variable, value in as_environment(given).items():
            monkeypatch.setenv(variable, value)
        settings = load_settings()
        access = Access(Settings(**site))  # the tests' own way in, whatever trouble the installation is in
        with access.use() as cloud:
            cloud.session.get_token()
        lab = Lab(settings, OpenstackCloud(settings, installation_id(home), access), access, tmp_path / "log", name)
        made.append(lab)
        return lab

    try:
        yield make
        assert [lab.held() for lab in made] == [[] for _ in made]
    finally:
        nfs.stop()  # first: it is this computer's, and the cloud may not answer
        for lab in made:
            for left in lab.held():
                lab.cloud.delete(left)
