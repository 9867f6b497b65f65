"""The template on OpenStack: what is made, whose its machine is, and that whatever breaks off can be done again."""

from pathlib import Path

import pytest

from server.errors import InfrastructureError, InvalidInput, SetupMissing, TemplateMissing
from server.progress import Lines
from server.workers.clouds.build_hash import build_hash
from server.workers.clouds.openstack.template.build import LOCK, is_at_work, lock_of
from server.workers.machine_locks import exclusive
from tests.workers.clouds.openstack.building import Killed, Site, Steps, broken_off, others, template_volumes
from tests.workers.clouds.openstack.double import Double


def test_a_build_installs_the_roles_on_a_volume_that_stays_without_a_machine(site: Site) -> None:
    site.settings_given["template_variables"] = {"apps_packages": ["comet-ms"]}
    assert not site.template().exists()
    site.build()
    (volume,) = template_volumes(site)
    assert volume["metadata"]["cumulus_recipe"] == build_hash()
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
    assert volume["metadata"]["cumulus_recipe"] == build_hash()


def test_a_template_that_was_switched_off_without_a_word_is_started_and_flushed_before_it_is_copied(built: Site) -> None:
    built.template().boot(Lines(built.told.append))
    built.unreachable = True
    built.template().stop(Lines(built.told.append))
    assert "switched off as it is" in built.told[-3]
    assert built.told[-1].startswith("Switching the template's machine off: ")
    assert others(built) == []
    assert template_volumes(built)[0]["metadata"]["cumulus_state"] == "open"
    built.unreachable = False
    built.told.clear()
    built.take()
    assert [line for line in built.told if line.startswith("Flushing and shutting the template's machine down: ")]
    assert template_volumes(built)[0]["metadata"]["cumulus_state"] == "sealed"


def test_an_erased_home_loses_neither_the_template_nor_which_snapshot_is_promoted(built: Site, tmp_path: Path) -> None:
    name = built.take()
    again = Site(built.double, tmp_path / "other", server_id="cother", now=built.now)
    assert again.promoted() == [name]
    again.build()
    assert again.played == []
    again.template().boot(Lines(again.told.append))
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
    assert built.template().prune(1, Lines(built.told.append)) == [first]
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
    built.template().boot(Lines(built.told.append))
    assert built.take() == "cumulus-template-1"


def test_a_machine_in_error_is_replaced(built: Site) -> None:
    built.template().boot(Lines(built.told.append))
    (failed,) = built.double.servers
    built.double.servers[failed]["status"] = "ERROR"
    built.template().boot(Lines(built.told.append))
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
        lacking.build(Lines(site.told.append))


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
    site.template().stop(Lines(site.told.append))
    assert site.double.servers == {}
    site.template().stop(Lines(site.told.append))
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
    site.template().prune(1, Lines(site.told.append))
    assert stuck in site.double.volumes


def test_the_machine_of_another_installation_is_left_to_it_until_somebody_stops_it(built: Site, tmp_path: Path) -> None:
    built.template().boot(Lines(built.told.append))
    (theirs,) = built.double.servers
    other = Site(built.double, tmp_path / "other", server_id="cother", now=built.now)
    for attempt in (other.take, lambda: other.build(fresh=True), lambda: other.template().boot(Lines(print))):
        with pytest.raises(InfrastructureError, match=f"installation ctest has a machine of the template .{theirs}."):
            attempt()
    assert list(built.double.servers) == [theirs]
    assert built.double.servers[theirs]["status"] == "ACTIVE"
    other.template().stop(Lines(other.told.append))
    assert built.double.servers == {}
    assert other.take() == "cumulus-template-1"


def test_nothing_of_the_template_is_an_orphan(built: Site) -> None:
    built.take()
    built.template().boot(Lines(built.told.append))
    assert built.holdings().listed() == []


def test_two_at_once_do_not_meet(built: Site) -> None:
    assert not is_at_work(built.home)
    with exclusive(lock_of(built.home), LOCK, 1):
        assert is_at_work(built.home)


@pytest.mark.parametrize(("by", "for_ever"), [(Killed, True), (KeyboardInterrupt, False)], ids=["killed", "Ctrl-C"])
def test_a_build_that_broke_off_at_any_step_can_be_done_again(
    double: Double, tmp_path: Path, by: type[BaseException], for_ever: bool
) -> None:
    at = 0
    while True:
        at += 1
        double.clear()
        site = Site(double, tmp_path / f"home{at}")
        if not broken_off(site, Steps(at, by, for_ever), "build"):
            break
        site.build()
        assert len(template_volumes(site)) == 1, f"broken off at step {at}"
        assert template_volumes(site)[0]["metadata"]["cumulus_state"] == "sealed"
        assert others(site) == [], f"broken off at step {at}"
    assert at > 10
