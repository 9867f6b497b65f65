"""The template on a real OpenStack: built, copied, tried, promoted, rolled back, pruned, and broken off by Ctrl-C on the way.

Beside what all tests here need (conftest.py), of ``TEST_OPENSTACK_*``: ``IMAGE``, whose machines obey their user data each time
that they are made (cloud-init does), ``TEMPLATE_FLAVOR`` and ``VOLUME_GB``. ``KEPT_TEMPLATE`` names a template that was built
before: it is not built again, and stays, without its snapshots. On emulated machines it takes half an hour, most of it building.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.app import make_cloud
from server.settings import CHECKOUT, Settings, load_settings
from server.workers.clouds.openstack.access import Access, connected
from server.workers.clouds.openstack.snapshots import TEMPLATE
from server.workers.clouds.qemu.nfs import NfsServer
from tests.openstack.conftest import told
from tests.openstack.proxy import apt_proxy

IMAGE, KEPT = told("IMAGE"), told("KEPT_TEMPLATE")
LIMIT_S = 3600.0
APP, FLAVOR = "xtandem_2017.2.1.4", told("FLAVOR", "m1.4xlarge")

pytestmark = [
    pytest.mark.openstack,
    pytest.mark.timeout(3 * LIMIT_S),
    pytest.mark.skipif(not IMAGE, reason="no image to build a template from: TEST_OPENSTACK_IMAGE is not set"),
]


@dataclass(frozen=True)
class Installation:
    """An installation of this test alone, and the environment in which its commands run."""

    settings: Settings
    environment: dict[str, str]

    def start(self, *words: str) -> "subprocess.Popen[str]":
        command = [str(Path(sys.executable).parent / "cumulus"), *words]
        return subprocess.Popen(
            command, env=self.environment, cwd=self.settings.home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *words: str) -> str:
        """A command that succeeds; what it prints."""
        process = self.start(*words)
        told, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, told
        return told

    def break_off(self, *words: str, at: str) -> None:
        """Type Ctrl-C as soon as the command prints that; it ends within a minute and a half."""
        process = self.start(*words)
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if at in line:
                break
        else:
            pytest.fail(f"it never said {at!r}, but {''.join(said)}")
        time.sleep(2)  # in the middle of it
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=90)
        assert process.returncode != 0

    def names(self) -> list[str]:
        return [line.split()[-3] for line in self.run("snapshot", "list").splitlines()]

    def promoted(self) -> list[str]:
        return [line.split()[1] for line in self.run("snapshot", "list").splitlines() if line.startswith("*")]

    def left(self) -> list[str]:
        """What the cloud has of this installation or its template beside the template's volume and what is promoted."""
        found = [f"{one.kind} of {one.worker}" for one in make_cloud(self.settings).resources()]
        with Access(self.settings, connected).use() as cloud:
            servers = [one.name for one in cloud.compute.servers() if (one.metadata or {}).get(TEMPLATE) == self.template]
            snapshots = [one for one in cloud.block_storage.snapshots() if (one.metadata or {}).get(TEMPLATE) == self.template]
        return found + servers + [one.name for one in snapshots if "cumulus_promoted" not in one.metadata]

    def clear(self) -> None:
        """Remove all of the template, also what Cumulus itself never does."""
        template = make_cloud(self.settings).template()
        template.stop(print)
        copies, originals = template.copies, template.originals  # type: ignore[attr-defined]
        for one in [*copies.look(), *copies.unfinished()]:
            copies.remove(one)
        for one in [] if KEPT else originals.look():
            originals.remove(one)

    @property
    def template(self) -> str:
        return self.settings.openstack_template


@pytest.fixture(scope="module")
def installation(
    site: dict[str, str], key_pair: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Storage, NFS server and proxy run on this computer; all that was made in the cloud is removed at the end."""
    home, (name, key), address = tmp_path_factory.mktemp("home"), key_pair, site["openstack_nfs_host"]
    shutil.copytree(key.parent, home / "openstack")
    nfs = NfsServer(home / "nfs", home / "storage" / "data", home / "storage" / "jobs", address=address)
    with apt_proxy(address) as proxy:
        roles = {"apps_packages": ["tandem-mass"], "worker_base_apt_proxy": proxy}
        given = {
            **site,
            "home": str(home),
            "cloud": "openstack",
            "apps": str(_one_app(home)),
            "flavors": str(_one_flavor(home)),
            "default_flavor": FLAVOR,
            "create_timeout_s": "900",
            "openstack_key_pair": name,
            "openstack_nfs_port": str(nfs.start()),
            "openstack_template": KEPT or f"test-{os.getpid()}",
            "openstack_template_image": IMAGE,
            "openstack_template_flavor": told("TEMPLATE_FLAVOR"),
            "openstack_template_volume_gb": told("VOLUME_GB", "20"),
            "template_variables": json.dumps(roles),
        }
        kept = {word: value for word, value in os.environ.items() if not word.startswith("CUMULUS_")}
        environment = kept | {f"CUMULUS_{setting.upper()}": value for setting, value in given.items()}
        made = Installation(load_settings(**{**given, "template_variables": roles}), environment)
        made.clear()
        try:
            yield made
        finally:
            made.clear()
            nfs.stop()


def _one_app(home: Path) -> Path:
    folder = home / "apps"
    folder.mkdir()
    (folder / f"{APP}.xml").write_bytes((CHECKOUT / "apps" / f"{APP}.xml").read_bytes())
    return folder


def _one_flavor(home: Path) -> Path:
    flavors = home / "flavors.tsv"
    flavors.write_text(f"NAME\tWEIGHT\tCPU\tRAM\n{FLAVOR}\t1\t1\t1\nMAX_ACCUMULATED_WEIGHT = 4\n")
    return flavors


def test_a_template_is_built_though_the_play_was_broken_off(installation: Installation) -> None:
    if not KEPT:
        installation.break_off("template", "build", at="Installing")
    installation.run("template", "build")
    assert "There is a template already" in installation.run("template", "build")
    assert installation.left() == []


def test_a_snapshot_is_promoted_after_its_canary_has_run_the_app(installation: Installation) -> None:
    told = installation.run("snapshot", "create")
    assert f"{APP}: " in told
    assert installation.promoted() == [f"{installation.template}-1"]
    assert installation.left() == []


def test_a_snapshot_that_is_broken_off_leaves_nothing_and_the_next_one_is_promoted(installation: Installation) -> None:
    for moment in ("Copying the template's volume", "Starting a machine of snapshot", "Trying the apps"):
        installation.break_off("snapshot", "create", at=moment)
        assert installation.promoted() == [f"{installation.template}-1"]
        assert installation.left() == []
    installation.run("snapshot", "create")
    assert installation.promoted() == [f"{installation.template}-2"]


def test_an_app_that_does_not_run_promotes_nothing(installation: Installation) -> None:
    app = installation.settings.apps / f"{APP}.xml"
    text = app.read_text()
    app.write_text(text.replace("tandem &lt;", "no-such-tandem &lt;"))
    process = installation.start("snapshot", "create")
    told, _ = process.communicate(timeout=LIMIT_S)
    app.write_text(text)
    assert process.returncode != 0
    assert f"the app {APP} does not run in the new snapshot" in told
    assert installation.promoted() == [f"{installation.template}-2"]
    assert installation.left() == []


def test_what_was_installed_by_hand_is_in_the_next_snapshot(installation: Installation) -> None:
    login = installation.run("template", "boot").strip().splitlines()[-1]
    subprocess.run([*login.split(), "sudo touch /var/lib/cumulus/by-hand"], check=True, timeout=120)
    installation.run("snapshot", "create")
    assert installation.promoted() == [f"{installation.template}-3"]
    assert installation.left() == []


def test_the_former_one_is_promoted_again_and_old_ones_go(installation: Installation) -> None:
    assert f"{installation.template}-2 is promoted again" in installation.run("snapshot", "rollback")
    assert installation.promoted() == [f"{installation.template}-2"]
    installation.run("snapshot", "rollback")
    assert installation.promoted() == [f"{installation.template}-1"]
    assert f"removed {installation.template}-2" in installation.run("snapshot", "prune", "--keep", "1")
    assert installation.names() == [f"{installation.template}-1", f"{installation.template}-3"]


def test_an_erased_home_finds_template_and_promoted_snapshot_again(installation: Installation, tmp_path: Path) -> None:
    settings = installation.settings.model_copy(update={"home": tmp_path})
    cloud = make_cloud(settings)
    assert cloud.template().exists()
    assert cloud.current_snapshot() == f"{installation.template}-1"


def test_terraform_does_not_destroy_the_volume(installation: Installation) -> None:
    cloud, home = make_cloud(installation.settings), installation.settings.home / "terraform" / "openstack-template"
    module = next(path for path in (home / "module", CHECKOUT / "infra/terraform/openstack/template") if path.is_dir())
    environment = {**os.environ, **cloud.terraform_env(), "TF_DATA_DIR": str(home / "data"), "TF_WORKSPACE": "template-1"}
    words = ["terraform", "destroy", "-auto-approve", "-no-color", f"-var-file={home / 'vars' / 'template-1.tfvars.json'}"]
    done = subprocess.run(words, cwd=module, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "Instance cannot be destroyed" in done.stdout + done.stderr
    assert cloud.template().exists()
