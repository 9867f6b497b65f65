"""The template on OpenStack and its snapshots: what is made, which one counts, and that whatever breaks off can be done again."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from server.errors import InfrastructureError, InvalidInput, SetupMissing, TemplateMissing
from server.workers.clouds.base import CloudError
from server.workers.clouds.locks import exclusive
from server.workers.clouds.openstack.template import LOCK, is_at_work, lock_of
from server.workers.clouds.recipe import recipe_of
from tests.workers.clouds.openstack.building import Killed, Site, Steps
from tests.workers.clouds.openstack.double import CINDER, Double, running_double


@pytest.fixture(scope="module")
def cloud() -> Iterator[Double]:
    with running_double() as double:
        yield double


@pytest.fixture
def site(cloud: Double, tmp_path: Path) -> Site:
    cloud.clear()
    return Site(cloud, tmp_path / "home")


@pytest.fixture
def built(site: Site) -> Site:
    site.build()
    return site


def template_volumes(site: Site) -> list[dict[str, Any]]:
    return [one for one in site.double.volumes.values() if "cumulus_template" in one["metadata"]]


def others(site: Site) -> list[object]:
    """What should not be there when nobody is at work."""
    volumes = [one for one in site.double.volumes.values() if "cumulus_template" not in one["metadata"]]
    half = [one for one in site.double.snapshots.values() if "cumulus_promoted" not in one["metadata"]]
    return [*site.double.servers.values(), *volumes, *half]


def test_a_build_installs_the_roles_on_a_volume_that_stays_without_a_machine(site: Site) -> None:
    site.settings_given["template_variables"] = {"apps_packages": ["comet-ms"]}
    assert not site.template().exists()
    site.build()
    (volume,) = template_volumes(site)
    assert volume["metadata"]["cumulus_recipe"] == recipe_of()
    assert volume["metadata"]["cumulus_state"] == "sealed"
    assert site.played == [
        {"apps_packages": ["comet-ms"], "worker_base_cloud": "openstack", "template_become": True, "converters_archives": []}
    ]
    assert site.template().exists()
    assert others(site) == []


def test_one_of_this_version_is_not_built_again_and_one_of_another_is_brought_up_to_date(built: Site) -> None:
    built.build()
    assert len(built.played) == 1
    (volume,) = template_volumes(built)
    volume["metadata"]["cumulus_recipe"] = "older"
    built.build()
    assert len(built.played) == 2
    assert template_volumes(built) == [volume]
    assert volume["metadata"]["cumulus_recipe"] == recipe_of()


def test_a_snapshot_is_promoted_once_every_app_has_run_with_the_storage_mounted(built: Site) -> None:
    assert built.take() == "cumulus-template-1"
    assert built.promoted() == ["cumulus-template-1"]
    assert built.tried[-1] == ("probe --version", True)
    assert not built.mounted
    assert "probe_1: Probe 1.0" in built.told
    (one,) = built.template().copies.look()
    assert (one.recipe, one.has_program("msconvert"), one.has_program("diann")) == (recipe_of(), True, False)
    assert others(built) == []


def test_nothing_is_copied_while_something_may_write(built: Site) -> None:
    """The cloud in memory refuses to copy a volume in use, so the copy is proof."""
    login = built.template().boot(built.told.append)
    assert login.startswith("ssh ")
    assert template_volumes(built)[0]["metadata"]["cumulus_state"] == "open"
    built.take()
    assert template_volumes(built)[0]["metadata"]["cumulus_state"] == "sealed"
    assert others(built) == []


def test_a_template_that_was_switched_off_without_a_word_is_started_and_flushed_before_it_is_copied(built: Site) -> None:
    built.template().boot(built.told.append)
    built.unreachable = True
    built.template().stop(built.told.append)
    assert "switched off as it is" in built.told[-1]
    assert others(built) == []
    assert template_volumes(built)[0]["metadata"]["cumulus_state"] == "open"
    built.unreachable = False
    built.take()
    assert "Flushing and shutting the template's machine down" in built.told[-6:]
    assert template_volumes(built)[0]["metadata"]["cumulus_state"] == "sealed"


def test_a_second_one_is_promoted_in_place_of_the_first_and_the_first_again_by_a_rollback(built: Site) -> None:
    first, second = built.take(), built.take()
    assert (built.listed(), built.promoted()) == ([first, second], [second])
    assert built.template().roll_back() == f"Snapshot {first} is promoted again"
    assert (built.listed(), built.promoted()) == ([first, second], [first])
    with pytest.raises(TemplateMissing, match="no older snapshot"):
        built.template().roll_back()
    assert built.take() == "cumulus-template-3"
    assert built.promoted() == ["cumulus-template-3"]


def test_exactly_one_is_promoted_after_a_clock_that_was_set_back(built: Site) -> None:
    built.take()
    built.now -= 1_000_000
    assert built.promoted() == [] or built.take() == "cumulus-template-2"
    assert built.promoted() == ["cumulus-template-2"]


def test_an_erased_home_loses_neither_the_template_nor_which_snapshot_is_promoted(built: Site, tmp_path: Path) -> None:
    name = built.take()
    again = Site(built.double, tmp_path / "other", server_id="cother", now=built.now)
    assert again.promoted() == [name]
    again.build()
    assert again.played == []
    again.template().boot(again.told.append)
    assert again.take() == "cumulus-template-2"
    assert len(template_volumes(again)) == 1
    assert others(again) == []


def test_a_template_built_anew_takes_over_once_it_is_built_and_the_former_one_goes_when_nothing_is_left_of_it(
    built: Site,
) -> None:
    first = built.take()
    built.play_fails = True
    with pytest.raises(InfrastructureError, match="no package today"):
        built.build(fresh=True)
    assert built.promoted() == [first]
    built.play_fails = False
    built.build(fresh=True)
    assert sorted(one["metadata"]["cumulus_worker"] for one in template_volumes(built)) == ["template-1", "template-2"]
    second, third = built.take(), built.take()
    assert built.template().prune(1, built.told.append) == [first]
    assert [one["metadata"]["cumulus_worker"] for one in template_volumes(built)] == ["template-2"]
    assert built.listed() == [second, third]
    assert others(built) == []


def test_a_volume_that_is_there_becomes_the_template(site: Site) -> None:
    site.settings_given = {"openstack_template_volume": "given"}
    given = site.double.add_volume(name="given", metadata={"owner": "somebody"})
    site.settings_given["openstack_template_volume"] = given
    site.build()
    (volume,) = template_volumes(site)
    assert volume["id"] == given
    assert volume["metadata"]["owner"] == "somebody"
    assert site.take() == "cumulus-template-1"
    site.settings_given["openstack_template_volume"] = "nowhere"
    site.double.volumes.clear()
    with pytest.raises(InvalidInput, match="the cloud has no volume nowhere"):
        site.build()


def test_the_image_may_be_gone_once_the_template_is_built(built: Site) -> None:
    built.settings_given.clear()
    built.template().boot(built.told.append)
    assert built.take() == "cumulus-template-1"


def test_a_promoted_snapshot_that_cinder_is_at_work_on_is_no_leftover(built: Site) -> None:
    first = built.take()
    (record,) = built.double.snapshots.values()
    record["status"] = "backing-up"
    assert built.take() == "cumulus-template-2"
    record["status"] = "available"
    assert built.listed() == [first, "cumulus-template-2"]


def test_a_machine_in_error_is_replaced(built: Site) -> None:
    built.template().boot(built.told.append)
    (failed,) = built.double.servers
    built.double.servers[failed]["status"] = "ERROR"
    built.template().boot(built.told.append)
    assert list(built.double.servers) != [failed]
    built.take()
    assert others(built) == []


@pytest.mark.parametrize(("status", "action"), [("ACTIVE", "os-stop"), ("SHUTOFF", "forceDelete")])
def test_a_machine_that_somebody_else_removes_at_that_moment_counts_as_removed(site: Site, status: str, action: str) -> None:
    machine = site.double.add_server(
        volume=site.double.add_volume(), status=status, metadata={"cumulus_template": "cumulus-template"}
    )
    site.double.vanishing.add(action)
    site.servers().remove([machine])
    assert site.double.servers == {}


def test_what_is_missing_is_said(site: Site) -> None:
    site.settings_given = {}
    with pytest.raises(InvalidInput, match="no image is named"):
        site.build()
    with pytest.raises(TemplateMissing, match="make template"):
        site.take()
    template = site.template()
    lacking = type(template)(**{**vars(template), "problems": lambda: ["ssh is not installed"]})
    with pytest.raises(SetupMissing, match="ssh is not installed"):
        lacking.build(site.told.append)


def test_a_play_that_fails_leaves_the_machine_for_a_look_and_the_next_build_goes_on_with_it(site: Site) -> None:
    site.play_fails = True
    with pytest.raises(InfrastructureError, match=r"no package today .*cumulus template stop"):
        site.build()
    assert len(site.double.servers) == 1
    assert not site.template().exists()
    site.play_fails = False
    (server,) = site.double.servers
    site.build()
    assert len(site.played) == 2
    assert server not in site.double.servers
    assert len(template_volumes(site)) == 1


def test_the_machine_of_a_build_that_failed_can_be_stopped(site: Site) -> None:
    site.play_fails = True
    with pytest.raises(InfrastructureError):
        site.build()
    site.template().stop(site.told.append)
    assert site.double.servers == {}
    site.template().stop(site.told.append)
    assert site.told[-1] == "The template's machine does not run"


def test_a_volume_that_could_not_be_made_is_replaced(site: Site) -> None:
    tags = {"cumulus_template": "cumulus-template", "cumulus_worker": "template-1", "cumulus_server": "ctest"}
    broken = site.double.add_volume(status="error", metadata=tags)
    site.build()
    assert broken not in site.double.volumes
    assert len(template_volumes(site)) == 1


def test_a_volume_that_cinder_could_not_remove_is_left_and_another_one_made(site: Site) -> None:
    tags = {"cumulus_template": "cumulus-template", "cumulus_worker": "template-1", "cumulus_server": "ctest"}
    stuck = site.double.add_volume(status="error_deleting", metadata=tags)
    site.build()
    (built,) = [one for one in template_volumes(site) if one["id"] != stuck]
    assert built["metadata"]["cumulus_worker"] == "template-2"
    assert site.take() == "cumulus-template-1"
    site.template().prune(1, site.told.append)
    assert stuck in site.double.volumes


def test_a_snapshot_that_cinder_could_not_remove_keeps_nobody_from_making_the_next(built: Site) -> None:
    (volume,) = template_volumes(built)
    tags = {"cumulus_template": "cumulus-template", "cumulus_server": "ctest"}
    built.double.add_snapshot("cumulus-template-1", volume["id"], status="error_deleting", metadata=tags)
    assert built.take() == "cumulus-template-2"
    assert built.promoted() == ["cumulus-template-2"]
    assert [line for line in built.told if "It is not gone yet" in line]


def test_a_disk_too_small_for_the_template_is_told_before_it_is_copied(site: Site) -> None:
    site.settings_given |= {"worker_disk_gb": 1}
    site.build()
    with pytest.raises(CloudError, match="have a disk of 1 GB, and the template's volume needs 2 GB: raise the setting"):
        site.take()
    assert site.double.snapshots == {}


def test_the_machine_of_another_installation_is_left_to_it_until_somebody_stops_it(built: Site, tmp_path: Path) -> None:
    built.template().boot(built.told.append)
    (theirs,) = built.double.servers
    other = Site(built.double, tmp_path / "other", server_id="cother", now=built.now)
    for attempt in (other.take, lambda: other.build(fresh=True), lambda: other.template().boot(print)):
        with pytest.raises(InfrastructureError, match=f"installation ctest has a machine of the template .{theirs}."):
            attempt()
    assert list(built.double.servers) == [theirs]
    assert built.double.servers[theirs]["status"] == "ACTIVE"
    other.template().stop(other.told.append)
    assert built.double.servers == {}
    assert other.take() == "cumulus-template-1"


CANARY_FAILS = [
    ({"refused": "probe --version"}, "the app probe_1 does not run in the new snapshot"),
    ({"refused": "mount_storage"}, "a machine of the new snapshot is no worker: no"),
    ({"creation_fails": "VolumeSizeExceedsAvailableQuota"}, r"unexpected state 'ERROR' \(VolumeSizeExceedsAvailableQuota\)"),
]


@pytest.mark.parametrize(("what", "message"), CANARY_FAILS)
def test_a_canary_that_fails_promotes_nothing_and_leaves_nothing(built: Site, what: dict[str, str], message: str) -> None:
    first = built.take()
    for name, value in what.items():
        setattr(built, name, value)
    with pytest.raises(InfrastructureError, match=message):
        built.take()
    assert (built.listed(), built.promoted()) == ([first], [first])
    assert len(built.double.snapshots) == 1
    assert others(built) == []


def test_a_snapshot_that_cinder_cannot_make_is_removed(built: Site) -> None:
    first = built.take()
    built.double.fail_snapshots = True
    with pytest.raises(InfrastructureError, match="cumulus-template-2 could not be made: Cinder says error"):
        built.take()
    assert [one["name"] for one in built.double.snapshots.values()] == [first]
    assert built.promoted() == [first]


def test_pruning_spares_what_is_in_use(built: Site) -> None:
    names = [built.take() for _ in range(6)]
    snapshots = {one["name"]: one["id"] for one in built.double.snapshots.values()}
    built.double.add_volume(snapshot_id=snapshots[names[0]], metadata={"cumulus_worker": "job-7"})
    built.template().roll_back()
    built.template().roll_back()
    assert built.promoted() == [names[3]]
    assert built.template().prune(1, built.told.append) == [names[1], names[4]]
    assert built.listed() == [names[0], names[2], names[3], names[5]]
    assert built.template().prune(1, built.told.append) == []
    assert built.promoted() == [names[3]]


def test_pruning_takes_what_broken_attempts_have_left(built: Site) -> None:
    name = built.take()
    (volume,) = template_volumes(built)
    tags = {"cumulus_template": "cumulus-template", "cumulus_server": "ctest"}
    for status in ("available", "error"):
        built.double.add_snapshot("cumulus-template-9", volume["id"], status=status, metadata=dict(tags))
    assert built.template().prune(5, built.told.append) == []
    assert [one["name"] for one in built.double.snapshots.values()] == [name]


def test_a_snapshot_that_another_installation_is_at_work_on_is_left_to_it(built: Site, tmp_path: Path) -> None:
    other = Site(built.double, tmp_path / "other", server_id="cother", now=built.now)
    other.take()
    at = other.steps.taken.index("before canary") + 1
    assert broken_off(other, Steps(at), "take")
    (theirs,) = others(built)
    ours = built.take()
    built.template().prune(1, built.told.append)
    assert (others(built), built.promoted()) == ([theirs], [ours])
    assert [line for line in built.told if "of the installation cother is not finished" in line]
    last = other.take()
    assert (others(built), built.promoted()) == ([], [last])


@pytest.mark.parametrize(("age_h", "left"), [(23, 1), (25, 0)])
def test_an_unfinished_snapshot_that_names_no_installation_goes_after_a_day(built: Site, age_h: int, left: int) -> None:
    (volume,) = template_volumes(built)
    made = datetime.fromtimestamp(built.now - age_h * 3600, UTC).replace(tzinfo=None).isoformat()
    tags = {"cumulus_template": "cumulus-template"}
    built.double.add_snapshot("cumulus-template-9", volume["id"], created_at=made, metadata=tags)
    built.template().prune(5, built.told.append)
    assert len(others(built)) == left


def test_a_removal_of_a_shared_snapshot_that_broke_off_is_ended_by_any_installation(built: Site, tmp_path: Path) -> None:
    _, second = built.take(), built.take()
    built.double.snapshots[next(iter(built.double.snapshots))]["status"] = "deleting"
    Site(built.double, tmp_path / "other", server_id="cother", now=built.now).template().prune(5, built.told.append)
    assert built.listed() == [second]
    assert len(built.double.snapshots) == 1


def test_nothing_of_the_template_is_an_orphan(built: Site) -> None:
    built.take()
    built.template().boot(built.told.append)
    assert built.holdings().listed() == []


def test_two_at_once_do_not_meet(built: Site) -> None:
    assert not is_at_work(built.home)
    with exclusive(lock_of(built.home), LOCK, 1):
        assert is_at_work(built.home)


def test_a_cloud_that_fails_while_the_canary_is_removed_is_told_and_the_next_attempt_cleans_up(built: Site) -> None:
    built.take()
    built.double.failing[f"DELETE {CINDER}/snapshots"] = (500, "refused by the test")
    built.refused = "probe --version"
    with pytest.raises(InfrastructureError, match="does not run in the new snapshot"):
        built.take()
    assert any("the next attempt removes it" in line for line in built.told)
    built.double.failing.clear()
    built.refused = ""
    built.take()
    assert others(built) == []


def broken_off(site: Site, steps: Steps, what: str) -> bool:
    """Whether it was broken off; what is done afterwards is done by another process."""
    site.steps = steps
    try:
        site.build() if what == "build" else site.take()
    except (Killed, KeyboardInterrupt):
        return True
    finally:
        site.steps = Steps()
    return False


@pytest.mark.parametrize(("by", "for_ever"), [(Killed, True), (KeyboardInterrupt, False)], ids=["killed", "Ctrl-C"])
def test_a_build_that_broke_off_at_any_step_can_be_done_again(
    cloud: Double, tmp_path: Path, by: type[BaseException], for_ever: bool
) -> None:
    at = 0
    while True:
        at += 1
        cloud.clear()
        site = Site(cloud, tmp_path / f"home{at}")
        if not broken_off(site, Steps(at, by, for_ever), "build"):
            break
        site.build()
        assert len(template_volumes(site)) == 1, f"broken off at step {at}"
        assert template_volumes(site)[0]["metadata"]["cumulus_state"] == "sealed"
        assert others(site) == [], f"broken off at step {at}"
    assert at > 10


@pytest.mark.parametrize("booted", [False, True], ids=["at rest", "booted"])
@pytest.mark.parametrize(("by", "for_ever"), [(Killed, True), (KeyboardInterrupt, False)], ids=["killed", "Ctrl-C"])
def test_a_snapshot_that_broke_off_at_any_step_is_promoted_or_not_at_all_and_can_be_taken_again(
    cloud: Double, tmp_path: Path, by: type[BaseException], for_ever: bool, booted: bool
) -> None:
    cloud.clear()
    site, at = Site(cloud, tmp_path / "home"), 0
    site.build()
    last = site.take()
    while True:
        at += 1
        if booted:
            site.template().boot(site.told.append)
        if not broken_off(site, Steps(at, by, for_ever), "take"):
            break
        (promoted,) = site.promoted()
        known = last
        last = site.take()
        assert promoted == known or int(promoted.rpartition("-")[2]) == int(known.rpartition("-")[2]) + 1
        assert site.promoted() == [last], f"broken off at step {at}"
        assert others(site) == [], f"broken off at step {at}"
        site.template().prune(2, site.told.append)
    assert at > 10


def test_a_ctrl_c_while_the_canary_is_tried_leaves_nothing_at_once(built: Site) -> None:
    first = built.take()
    built.steps = Steps()
    built.take()
    at = built.steps.taken.index("script probe") + 1
    assert broken_off(built, Steps(at, KeyboardInterrupt, for_ever=False), "take")
    assert others(built) == []
    assert built.listed() == [first, built.promoted()[0]]
