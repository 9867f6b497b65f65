"""Names and ids in the settings: what each is in the cloud, and what is said where it is nothing, or several things."""

import pytest

from server.catalog.flavors import read_flavors
from server.errors import CloudError
from server.policy.error_classification import cause
from server.reasons import Reason
from server.settings import Settings
from server.workers.clouds.openstack.client.access import Access
from server.workers.clouds.openstack.cloud import OpenstackCloud
from server.workers.clouds.openstack.names import REMEMBERED_S, Names
from tests.workers.clouds.openstack.double import OURS, Double, id_of

# setting -> how the double calls such things, the reason where there is none, and whether two may have one name
KINDS = {
    "openstack_network": ("networks", Reason.NETWORK_MISSING, True),
    "openstack_subnet": ("subnets", Reason.NETWORK_MISSING, True),
    "openstack_security_group": ("groups", Reason.SECURITY_GROUP_MISSING, True),
    "openstack_server_group": ("server_groups", Reason.NAME_UNKNOWN_TO_CLOUD, True),
    "openstack_volume_type": ("volume_types", Reason.NAME_UNKNOWN_TO_CLOUD, False),
    "openstack_key_pair": ("key_pairs", Reason.NAME_UNKNOWN_TO_CLOUD, False),
}


def names(settings: Settings, **changes: str) -> Names:
    given = settings.model_copy(update=changes)
    return Names(Access(given), given)


def problems(settings: Settings, **changes: str) -> list[str]:
    return OpenstackCloud(settings.model_copy(update={"openstack_nfs_host": "", **changes}), OURS).site_problems()


def refusal(settings: Settings, **changes: str) -> CloudError:
    """Why no machine is begun."""
    with pytest.raises(CloudError) as caught:
        names(settings, **changes).resolved()
    return caught.value


@pytest.mark.parametrize("setting", KINDS)
def test_what_is_not_there_is_named_with_its_setting_by_the_doctor_and_by_the_job(
    settings: Settings, api: Double, setting: str
) -> None:
    error = refusal(settings, **{setting: "nope"})
    assert cause(error) is KINDS[setting][1]
    assert "nope" in error.message
    assert error.message.endswith(f"make it, or correct the setting {setting}")
    assert error.message in problems(settings, **{setting: "nope"})


@pytest.mark.parametrize("setting", [name for name, (_, _, many) in KINDS.items() if many])
def test_a_name_of_several_things_is_refused_with_their_ids_and_each_id_is_taken(
    settings: Settings, api: Double, setting: str
) -> None:
    setattr(api, KINDS[setting][0], ["twice", "other", "twice"])
    if setting != "openstack_network":
        api.networks = ["cumulus"]
    error = refusal(settings, **{setting: "twice"})
    first, second = sorted([id_of("twice", 0), id_of("twice", 1)])
    assert cause(error) is Reason.NAME_AMBIGUOUS
    assert f"({first}, {second}): give the id of one in the setting {setting}" in error.message
    assert error.message in problems(settings, **{setting: "twice"})
    for identifier in (first, second):
        assert identifier in vars(names(settings, **{setting: identifier}).resolved()).values()


@pytest.mark.parametrize("setting", KINDS)
def test_a_name_becomes_what_terraform_takes(settings: Settings, api: Double, setting: str) -> None:
    setattr(api, KINDS[setting][0], ["this", "that"])
    found = vars(names(settings, **{setting: "that"}).resolved())[setting.removeprefix("openstack_")]
    assert found == (id_of("that") if setting not in ("openstack_volume_type", "openstack_key_pair") else "that")


def test_another_thing_that_is_called_as_an_id_is_not_that_id(settings: Settings, api: Double) -> None:
    api.networks = ["cumulus", id_of("cumulus")]
    assert names(settings, openstack_network=id_of("cumulus")).resolved().network == id_of("cumulus")


@pytest.mark.parametrize(
    ("setting", "zones", "use"),
    [("openstack_availability_zone", "zones", "compute"), ("openstack_volume_availability_zone", "volume_zones", "volumes")],
)
def test_machines_and_volumes_have_zones_of_their_own(
    settings: Settings, api: Double, setting: str, zones: str, use: str
) -> None:
    setattr(api, zones, {"west": True, "east": False})
    for wanted, text in (("nova" if use == "volumes" else "disks", "has no availability zone"), ("east", "is not available")):
        error = refusal(settings, **{setting: wanted})
        assert cause(error) is Reason.ZONE_UNUSABLE
        assert (text in error.message, use in error.message, setting in error.message) == (True, True, True)
        assert error.message in problems(settings, **{setting: wanted})
    flavor = read_flavors(settings.flavors)["m1.4xlarge"]
    api.add_snapshot("s", metadata={"cumulus_template": "cumulus-template", "cumulus_promoted": "1"}, id="5")
    made = OpenstackCloud(settings.model_copy(update={setting: "west"}), OURS).terraform_vars("job-1", flavor)
    both = (made["availability_zone"], made["volume_availability_zone"])
    assert both == (("west", "") if use == "compute" else ("", "west"))


def test_terraform_gets_ids_and_no_name_that_it_would_have_to_look_up(settings: Settings, api: Double) -> None:
    api.add_snapshot("s", metadata={"cumulus_template": "cumulus-template", "cumulus_promoted": "1"}, id="5")
    made = OpenstackCloud(settings, OURS).terraform_vars("job-1", read_flavors(settings.flavors)["m1.4xlarge"])
    found = {name: made[name] for name in ("network_id", "subnet_id", "security_group_id", "server_group_id", "snapshot_id")}
    assert found == {
        "network_id": id_of("cumulus"),
        "subnet_id": "",
        "security_group_id": id_of("cumulus-worker"),
        "server_group_id": "",
        "snapshot_id": "5",
    }


def test_names_are_looked_up_once_a_minute_and_what_was_made_anew_is_found_then(settings: Settings, api: Double) -> None:
    now = [0.0]
    looked = Names(Access(settings), settings, lambda: now[0])
    assert looked.resolved() is looked.resolved()
    asked = len(api.calls)
    now[0] = REMEMBERED_S
    looked.resolved()
    assert len(api.calls) == asked
    api.networks = []
    now[0] = REMEMBERED_S + 1
    with pytest.raises(CloudError, match="the cloud has no network cumulus"):
        looked.resolved()


def test_an_image_of_a_name_that_several_have_is_refused_with_their_ids(settings: Settings, api: Double) -> None:
    two = sorted([api.add_image("debian"), api.add_image("debian")])
    api.add_image("debian", status="queued")
    given = {"openstack_template_image": "debian"}
    with pytest.raises(CloudError, match=f"the name debian is that of more than one image \\({two[0]}, {two[1]}\\)") as caught:
        names(settings, **given).image()
    assert caught.value.reason is Reason.NAME_AMBIGUOUS
    assert caught.value.message in problems(settings, **given)
    assert names(settings, openstack_template_image=two[1]).image() == two[1]


def test_an_image_that_is_gone_is_no_trouble_once_there_is_a_snapshot(settings: Settings, api: Double) -> None:
    assert any("no image debian" in line for line in problems(settings, openstack_template_image="debian"))
    api.add_snapshot("s", metadata={"cumulus_template": "cumulus-template", "cumulus_promoted": "1"})
    assert not any("no image debian" in line for line in problems(settings, openstack_template_image="debian"))
