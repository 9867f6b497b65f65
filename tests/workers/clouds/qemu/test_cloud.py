"""The cloud as the controller sees it, as far as it goes without a machine."""

from pathlib import Path

import pytest

from server.errors import TemplateMissing
from server.settings import Settings
from server.workers.clouds.qemu.build import recipe
from server.workers.clouds.qemu.cloud import QemuCloud
from server.workers.clouds.qemu.places import QemuHome
from tests.workers.clouds.qemu.building import make_image


@pytest.fixture
def cloud(tmp_path: Path) -> QemuCloud:
    return QemuCloud(Settings(home=tmp_path), "0123456789ab")


def promote(folder: Path, home: Path, made_from: str) -> None:
    image = make_image(folder, recipe=made_from)
    current = QemuHome(home).current
    current.parent.mkdir(parents=True, exist_ok=True)
    current.symlink_to(image.folder)


def test_a_missing_snapshot_says_how_to_get_one(cloud: QemuCloud) -> None:
    with pytest.raises(TemplateMissing, match="make template"):
        cloud.check_snapshot()


def test_a_snapshot_of_this_version_needs_no_word(cloud: QemuCloud, tmp_path: Path) -> None:
    promote(tmp_path / "image", tmp_path, recipe())
    assert cloud.check_snapshot() == ""


def test_a_snapshot_of_another_version_is_told(cloud: QemuCloud, tmp_path: Path) -> None:
    promote(tmp_path / "image", tmp_path, "another")
    assert "make snapshot" in cloud.check_snapshot()


def test_nothing_runs_before_it_is_started(cloud: QemuCloud) -> None:
    assert cloud.resources() == []
    assert cloud.nfs_pid() is None
    assert not cloud.alive("job-1")
    assert cloud.console_log("job-1") == ""
