"""The snapshots of a template on OpenStack: which one counts, which ones go, and that whatever breaks off can be done again."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.errors import CloudError, InfrastructureError, TemplateMissing
from server.progress import Lines
from server.workers.clouds.build_hash import build_hash
from server.workers.clouds.smoke_results import AppResult, short
from server.workers.clouds.smoke_test import Found
from tests.workers.clouds.openstack.building import Killed, Site, Steps, broken_off, others, template_volumes
from tests.workers.clouds.openstack.double import CINDER, Double

pytestmark = pytest.mark.system


def test_a_snapshot_is_promoted_once_every_app_has_run_with_the_storage_mounted(built: Site) -> None:
    assert built.take() == "cumulus-template-1"
    assert built.promoted() == ["cumulus-template-1"]
    assert built.tried[-1] == ("probe --version", True)
    assert not built.mounted
    assert "probe_1: Probe 1.0" in built.told
    (one,) = built.template().copies.fetch()
    assert (one.build_hash, one.has_program("msconvert"), one.has_program("diann")) == (build_hash(), True, False)
    assert one.smoke_results.version("probe_1", "probe --version") == "Probe 1.0"
    assert one.smoke_results.version("probe_1", "probe -V") is None
    assert others(built) == []


def test_a_snapshot_remembers_any_number_of_apps_whatever_they_are_called_and_say(built: Site) -> None:
    built.take()
    template = built.template()
    (one,) = template.copies.fetch()
    said = "Größe 1.0 😀 " + "x" * 200
    apps = {f"app+{number}_1": AppResult(short("v"), said[:200]) for number in range(300)}
    template.copies.write_found(one, Found(["msconvert"], apps))
    (kept,) = built.template().copies.fetch()
    assert all(kept.smoke_results.version(app, "v") for app in apps)
    assert kept.smoke_results.version("app+300_1", "v") is None
    assert built.promoted() == [one.name]


def test_a_rollback_changes_at_once_which_apps_there_are(built: Site) -> None:
    first = built.take()
    built.take()
    template = built.template()
    newest = template.copies.current()
    template.copies.write_found(newest, Found(["msconvert"], {"new_1": AppResult(short("new"), "1")}))
    template.copies.fetch()
    assert template.copies.find().smoke_results.version("new_1", "new") == "1"
    template.roll_back()
    assert template.copies.find().smoke_results.version("new_1", "new") is None
    assert template.copies.find(newest.name).smoke_results.version("new_1", "new") == "1"
    with pytest.raises(TemplateMissing, match="no snapshot gone-1"):
        template.copies.find("gone-1")
    assert template.copies.find(first).name == first


def test_nothing_is_held_against_the_apps_of_a_snapshot_of_a_former_version(built: Site) -> None:
    built.take()
    (record,) = built.double.snapshots.values()
    record["metadata"] = {name: text for name, text in record["metadata"].items() if not name.startswith("cumulus_app")}
    (one,) = built.template().copies.fetch()
    assert not one.smoke_results.are_known
    assert one.smoke_results.version("any_1", "any") == ""
    assert not one.smoke_results.lacks("any_1", "any")


def test_nothing_is_copied_while_something_may_write(built: Site) -> None:
    """The cloud in memory refuses to copy a volume in use, so the copy is proof."""
    login = built.template().boot(Lines(built.told.append))
    assert login.startswith("ssh ")
    assert template_volumes(built)[0]["metadata"]["cumulus_state"] == "open"
    built.take()
    assert template_volumes(built)[0]["metadata"]["cumulus_state"] == "sealed"
    assert others(built) == []


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


def test_a_promoted_snapshot_that_cinder_is_at_work_on_is_no_leftover(built: Site) -> None:
    first = built.take()
    (record,) = built.double.snapshots.values()
    record["status"] = "backing-up"
    assert built.take() == "cumulus-template-2"
    record["status"] = "available"
    assert built.listed() == [first, "cumulus-template-2"]


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
    assert built.template().prune(1, Lines(built.told.append)) == [names[1], names[4]]
    assert built.listed() == [names[0], names[2], names[3], names[5]]
    assert built.template().prune(1, Lines(built.told.append)) == []
    assert built.promoted() == [names[3]]


def test_pruning_takes_what_broken_attempts_have_left(built: Site) -> None:
    name = built.take()
    (volume,) = template_volumes(built)
    tags = {"cumulus_template": "cumulus-template", "cumulus_server": "ctest"}
    for status in ("available", "error"):
        built.double.add_snapshot("cumulus-template-9", volume["id"], status=status, metadata=dict(tags))
    assert built.template().prune(5, Lines(built.told.append)) == []
    assert [one["name"] for one in built.double.snapshots.values()] == [name]


def test_a_snapshot_that_another_installation_is_at_work_on_is_left_to_it(built: Site, tmp_path: Path) -> None:
    other = Site(built.double, tmp_path / "other", server_id="cother", now=built.now)
    other.take()
    at = other.steps.taken.index("before canary") + 1
    assert broken_off(other, Steps(at), "take")
    (theirs,) = others(built)
    ours = built.take()
    built.template().prune(1, Lines(built.told.append))
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
    built.template().prune(5, Lines(built.told.append))
    assert len(others(built)) == left


def test_a_removal_of_a_shared_snapshot_that_broke_off_is_ended_by_any_installation(built: Site, tmp_path: Path) -> None:
    _, second = built.take(), built.take()
    built.double.snapshots[next(iter(built.double.snapshots))]["status"] = "deleting"
    Site(built.double, tmp_path / "other", server_id="cother", now=built.now).template().prune(5, Lines(built.told.append))
    assert built.listed() == [second]
    assert len(built.double.snapshots) == 1


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


@pytest.mark.parametrize("booted", [False, True], ids=["at rest", "booted"])
@pytest.mark.parametrize(("by", "for_ever"), [(Killed, True), (KeyboardInterrupt, False)], ids=["killed", "Ctrl-C"])
def test_a_snapshot_that_broke_off_at_any_step_is_promoted_or_not_at_all_and_can_be_taken_again(
    double: Double, tmp_path: Path, by: type[BaseException], for_ever: bool, booted: bool
) -> None:
    double.clear()
    site, at = Site(double, tmp_path / "home"), 0
    site.build()
    last = site.take()
    while True:
        at += 1
        if booted:
            site.template().boot(Lines(site.told.append))
        if not broken_off(site, Steps(at, by, for_ever), "take"):
            break
        (promoted,) = site.promoted()
        known = last
        last = site.take()
        assert promoted == known or int(promoted.rpartition("-")[2]) == int(known.rpartition("-")[2]) + 1
        assert site.promoted() == [last], f"broken off at step {at}"
        assert others(site) == [], f"broken off at step {at}"
        site.template().prune(2, Lines(site.told.append))
    assert at > 10


def test_a_ctrl_c_while_the_canary_is_tried_leaves_nothing_at_once(built: Site) -> None:
    first = built.take()
    built.steps = Steps()
    built.take()
    at = built.steps.taken.index("script probe") + 1
    assert broken_off(built, Steps(at, KeyboardInterrupt, for_ever=False), "take")
    assert others(built) == []
    assert built.listed() == [first, built.promoted()[0]]
