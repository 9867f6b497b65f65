"""An OpenStack cloud that a test controls, and this installation's driver on it: the real SDK over real HTTP."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.settings import CloudName, Settings
from server.workers.clouds.openstack.cloud import OpenstackCloud
from tests.conftest import FLAVORS
from tests.workers.clouds.openstack.building import Site
from tests.workers.clouds.openstack.double import OURS, Double, running_double

CLOUDS = """
clouds:
  lab:
    auth: {{auth_url: "{url}/identity/v3", username: cumulus, password: {password}, project_name: cumulus,
           user_domain_name: Default, project_domain_name: Default}}
    region_name: RegionOne
"""


@pytest.fixture
def api() -> Iterator[Double]:
    with running_double(page=2) as cloud:
        yield cloud


@pytest.fixture
def settings(tmp_path: Path, api: Double, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    give_password(tmp_path, api, "right")
    (tmp_path / "flavors.tsv").write_text(FLAVORS)
    return Settings(
        home=tmp_path / "home",
        cloud=CloudName.OPENSTACK,
        flavors=tmp_path / "flavors.tsv",
        openstack_cloud="lab",
        openstack_nfs_host="127.0.0.1",
        openstack_api_timeout_s=5,
        openstack_retries=0,
        openstack_requests_per_s=0,
        worker_disk_gb=2,
    )


@pytest.fixture
def cloud(settings: Settings) -> OpenstackCloud:
    return OpenstackCloud(settings, OURS)


def give_password(folder: Path, api: Double, password: str) -> None:
    """What an administrator writes into clouds.yaml."""
    (folder / "clouds.yaml").write_text(CLOUDS.format(url=api.url, password=password))


@pytest.fixture(scope="module")
def double() -> Iterator[Double]:
    with running_double() as running:
        yield running


@pytest.fixture
def site(double: Double, tmp_path: Path) -> Site:
    double.clear()
    return Site(double, tmp_path / "home")


@pytest.fixture
def built(site: Site) -> Site:
    site.build()
    return site
