"""The fleet on the local cloud: what it keeps, what it forgets, and what it does not believe."""

import os
from pathlib import Path

import pytest

from server.app import make_fleet
from server.settings import Settings
from server.workers.clouds.base import Resource
from server.workers.clouds.local import LocalCloud
from server.workers.fleet import Fleet, MachineRemains

NOW = 1_800_000_000.0


class HauntedCloud(LocalCloud):
    """A cloud that still has a machine which terraform calls gone."""

    def resources(self) -> list[Resource]:
        """One that nobody removed."""
        return [Resource("machine", "job-1", "1", alive=True)]


@pytest.fixture
def fleet(settings: Settings, cloud: LocalCloud) -> Fleet:
    cloud.start()
    return make_fleet(settings, cloud)


def test_old_records_of_plays_are_forgotten_and_new_ones_kept(fleet: Fleet, settings: Settings) -> None:
    plays = settings.home / "plays"
    for name, age in (("job-1.start", settings.play_retention_s + 1), ("job-2.start", settings.play_retention_s - 1)):
        (plays / name / "artifacts").mkdir(parents=True)
        os.utime(plays / name, (NOW - age, NOW - age))
    fleet.forget_old_plays(NOW)
    assert [path.name for path in plays.iterdir()] == ["job-2.start"]


def test_an_installation_without_plays_has_nothing_to_forget(fleet: Fleet) -> None:
    fleet.forget_old_plays(NOW)


def test_removing_what_never_was_succeeds(fleet: Fleet, tmp_path: Path) -> None:
    fleet.remove("job-7", tmp_path)
    assert fleet.machines() == []


def test_a_machine_that_the_cloud_still_has_is_not_removed(settings: Settings, tmp_path: Path) -> None:
    cloud = HauntedCloud(settings, "c0123456789ab")
    cloud.start()
    with pytest.raises(MachineRemains, match="job-1"):
        make_fleet(settings, cloud).remove("job-1", tmp_path)
