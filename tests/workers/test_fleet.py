"""The fleet on the local cloud: what it keeps, what it forgets, and what it does not believe."""

import json
import os
import time
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest

from server.app import INFRA, make_fleet, make_module
from server.catalog.flavors import Flavor
from server.settings import Settings
from server.workers.address import Address
from server.workers.ansible.playbooks import Playbooks
from server.workers.clouds.base import Layout, Resource
from server.workers.clouds.local import LocalCloud, LocalImages
from server.workers.fleet import Fleet, MachineRemains
from server.workers.own_start import OwnStart
from server.workers.terraform.module import TerraformError
from server.workers.worker_plays import PlayFailed

NOW = 1_800_000_000.0
FLAVOR = Flavor("m1.4xlarge", 1, 1, 1)


class HauntedCloud(LocalCloud):
    """A cloud that still has a machine which terraform calls gone."""

    def resources(self, worker: str = "") -> list[Resource]:
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
    assert fleet.machines.workspaces() == []


def test_a_machine_that_the_cloud_still_has_is_not_removed(settings: Settings, tmp_path: Path) -> None:
    cloud = HauntedCloud(settings, "c0123456789ab")
    cloud.start()
    with pytest.raises(MachineRemains, match="job-1"):
        make_fleet(settings, cloud).remove("job-1", tmp_path)


@pytest.mark.parametrize("at_rest", [True, False])
def test_only_a_machine_that_may_be_at_work_is_told_to_stop_before_it_goes(
    fleet: Fleet, cloud: LocalCloud, settings: Settings, tmp_path: Path, at_rest: bool
) -> None:
    heard: list[Address] = []
    fleet.prepare("pool-1", FLAVOR, persist_s=60, on_machine=heard.append, unwanted=lambda: False)
    assert len(heard) == 1
    assert [one.worker for one in cloud.resources("pool-1")] == ["pool-1"]
    assert cloud.resources("pool-2") == []
    fleet.remove("pool-1", tmp_path, at_rest=at_rest)
    assert (settings.home / "plays" / "pool-1.teardown").exists() is not at_rest
    assert fleet.machines.workspaces() == []
    assert cloud.resources() == []


def test_a_launch_that_fails_after_the_machine_was_made_ends_its_play_at_once(
    fleet: Fleet, settings: Settings, tmp_path: Path
) -> None:
    def refuse(address: Address) -> None:
        raise RuntimeError(f"nobody may write down {address.host}")

    begin, layout = time.monotonic(), fleet.layout("job-1", tmp_path)
    with pytest.raises(RuntimeError, match="nobody may write down"):
        fleet.launch("job-1", FLAVOR, layout, on_machine=refuse, unwanted=lambda: False, has_started=lambda: False)
    assert time.monotonic() - begin < settings.play_timeout_s / 2
    fleet.remove("job-1", tmp_path)
    assert fleet.machines.workspaces() == []


class ClingingCloud(LocalCloud):
    """One whose machine holds on to what is in the state: no destroy succeeds before it is gone."""

    def terraform_env(self) -> dict[str, str]:
        stop = self._settings.home / "stop"
        stop.write_text(f"#!/bin/sh\n[ ! -d {self._machines}/job-1 ] || kill -9 $PPID\n")
        stop.chmod(0o755)
        return {**super().terraform_env(), "CUMULUS_LOCAL_STOP": str(stop)}


@pytest.mark.parametrize("known", [True, False])
def test_a_machine_that_no_state_knows_goes_before_what_it_holds_on_to(settings: Settings, tmp_path: Path, known: bool) -> None:
    """Terraform was killed when it had made a volume and the server, and written down the volume only."""
    cloud = ClingingCloud(settings, "c0123456789ab")
    cloud.start()
    fleet, module = make_fleet(settings, cloud), make_module(settings, cloud)
    module.apply("job-1", cloud.terraform_vars("job-1", FLAVOR), 60)
    if not known:
        state = module.store.state("job-1")
        module.store.state_file("job-1").write_text(json.dumps({**state, "outputs": {}}))
        fleet.remove("job-1", tmp_path, at_rest=True)
        assert (cloud.resources(), fleet.machines.workspaces()) == ([], [])
    else:
        with pytest.raises(TerraformError):
            fleet.remove("job-1", tmp_path, at_rest=True)


class BootingImages(LocalImages):
    def starts_jobs_at_boot(self) -> bool:
        return True


class BootingCloud(LocalCloud):
    """Its machines know their jobs from the beginning."""

    def layout(self, worker: str, job_dir: Path) -> Layout:
        return replace(super().layout(worker, job_dir), job_variables={"job": job_dir.name})


@dataclass
class Launching:
    """What a launch hears of a machine that starts by itself, without a machine. ``begins``: whether it does."""

    begins: bool = True
    heard: list[Address] = field(default_factory=list)

    @property
    def start(self) -> OwnStart:
        clock = count()
        return OwnStart(lambda: float(next(clock)), lambda _: None, lambda *_: True)

    def launch(self, fleet: Fleet, job: Path) -> None:
        layout = fleet.layout("job-1", job)
        began = lambda: self.begins and bool(self.heard)  # noqa: E731
        fleet.launch("job-1", FLAVOR, layout, on_machine=self.heard.append, unwanted=lambda: False, has_started=began)


@pytest.fixture
def booting(settings: Settings) -> tuple[Fleet, Launching]:
    cloud, own = BootingCloud(settings, "c0123456789ab", BootingImages()), Launching()
    cloud.start()
    fleet = Fleet(cloud, make_module(settings, cloud), Playbooks(INFRA / "ansible"), settings, own.start)
    return fleet, own


def test_a_machine_that_starts_its_job_by_itself_is_told_nothing(
    booting: tuple[Fleet, Launching], settings: Settings, tmp_path: Path
) -> None:
    fleet, own = booting
    own.launch(fleet, tmp_path / "Job_1")
    assert len(own.heard) == 1
    assert not (settings.home / "plays").exists()
    assert make_module(settings, fleet._cloud).store.variables("job-1")["job"] == "Job_1"


def test_a_machine_that_does_not_begin_is_given_the_order(
    booting: tuple[Fleet, Launching], settings: Settings, tmp_path: Path
) -> None:
    fleet, own = booting
    own.begins = False
    with pytest.raises(PlayFailed, match="no plan"):  # what the order found there
        own.launch(fleet, tmp_path / "Job_1")
    assert (settings.home / "plays" / "job-1.start" / "artifacts").is_dir()


def test_a_machine_that_waits_for_a_job_is_made_for_none(booting: tuple[Fleet, Launching], settings: Settings) -> None:
    fleet, _ = booting
    fleet.prepare("pool-1", FLAVOR, persist_s=60, on_machine=lambda _: None, unwanted=lambda: False)
    assert "job" not in make_module(settings, fleet._cloud).store.variables("pool-1")
