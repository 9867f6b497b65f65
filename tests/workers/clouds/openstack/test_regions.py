"""A region that the cloud does not have: one line for each command, whatever the SDK makes of it."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.cli.main import main
from server.db.models import open_database
from server.errors import CloudError
from server.home.installation import installation_id
from server.reasons import Reason
from server.settings import Settings
from server.workers.clouds.openstack.cloud import OpenstackCloud
from tests.workers.clouds.openstack.double import OURS

LINE = "the region Nowhere is not in its catalogue (RegionOne is): correct region_name in clouds.yaml, or OS_REGION_NAME"


@pytest.fixture
def wrong(settings: Settings, tmp_path: Path) -> Settings:
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text(clouds.read_text().replace("RegionOne", "Nowhere"))
    return settings


@pytest.mark.parametrize("ask", ["quotas", "resources", "sizes", "current_snapshot"])
def test_whatever_is_asked_the_region_is_named(wrong: Settings, ask: str) -> None:
    with pytest.raises(CloudError) as caught:
        getattr(OpenstackCloud(wrong, OURS), ask)()
    assert caught.value.reason is Reason.REGION_UNKNOWN
    assert LINE in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "words",
    [["quota"], ["flavors", "sync"], ["orphans"], ["snapshot", "list"], ["snapshot", "prune"], ["template", "stop"], ["doctor"]],
)
def test_every_command_says_it_in_a_line(wrong: Settings, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    installation_id(wrong.home)
    open_database(wrong.database).close()
    for name in [name for name in os.environ if name.startswith("CUMULUS_")]:
        monkeypatch.delenv(name)
    given = {"home": wrong.home, "cloud": "openstack", "flavors": wrong.flavors, "openstack_cloud": "lab"}
    given |= {"openstack_nfs_host": "127.0.0.1"}
    for name, value in given.items():
        monkeypatch.setenv(f"CUMULUS_{name.upper()}", str(value))
    done = CliRunner().invoke(main, words)
    assert done.exit_code != 0
    assert isinstance(done.exception, SystemExit), done.exc_info
    told = " ".join(done.output.split())
    assert told.count(LINE) == 1, done.output
    assert "Traceback" not in done.output


def test_right_ones_are_taken_up_without_a_restart(wrong: Settings, tmp_path: Path) -> None:
    cloud = OpenstackCloud(wrong, OURS)
    with pytest.raises(CloudError):
        cloud.quota.listed()
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text(clouds.read_text().replace("Nowhere", "RegionOne"))
    assert cloud.quota.listed()
