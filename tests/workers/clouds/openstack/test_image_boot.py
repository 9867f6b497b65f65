"""Machines that boot from an image: a cloud without Cinder, which is never asked for."""

from collections.abc import Iterator

import pytest

from server.catalog.flavors import read_flavors
from server.errors import CloudError, InvalidInput
from server.progress import Lines
from server.reasons import Reason
from server.settings import OpenstackBoot, Settings
from server.workers.clouds.base import Resource
from server.workers.clouds.openstack.cloud import OpenstackCloud
from tests.workers.clouds.openstack.building import NAME, Killed, Site, Steps, broken_off
from tests.workers.clouds.openstack.double import OURS, Double, id_of

PROMOTED = {"cumulus_template": "cumulus-template", "cumulus_promoted": "1000"}


@pytest.fixture
def imaged(site: Site) -> Iterator[Site]:
    """A site without Cinder: its catalogue lacks it, and whoever asks for it fails."""
    site.double.has_cinder = False
    site.settings_given |= {"openstack_boot": OpenstackBoot.IMAGE}
    begun = len(site.double.calls)
    yield site
    assert not [call for call in site.double.calls[begun:] if "/volume/" in call]


@pytest.fixture
def settings_on_images(settings: Settings, api: Double) -> Settings:
    api.has_cinder = False
    return settings.model_copy(update={"openstack_boot": OpenstackBoot.IMAGE, "openstack_nfs_host": ""})


def template_servers(site: Site) -> list[tuple[str, str]]:
    return [(one["metadata"]["cumulus_worker"], one["status"]) for one in site.double.servers.values()]


def left(site: Site) -> list[object]:
    """What should not be there beside the template's machine, which is off, and promoted images."""
    half = [one for one in site.double.images.values() if "cumulus_template" in one and not one.get("cumulus_promoted")]
    running = [one for one in site.double.servers.values() if one["status"] != "SHUTOFF"]
    return [*half, *running, *site.double.volumes.values()]


def test_the_template_is_a_machine_that_is_off_and_its_copies_are_images(imaged: Site) -> None:
    imaged.build()
    assert template_servers(imaged) == [("template-1", "SHUTOFF")]
    first, second = imaged.take(), imaged.take()
    assert imaged.copied() == [(first, False), (second, True)]
    assert left(imaged) == []
    assert [script for script, mounted in imaged.tried if mounted]  # a machine of the image was tried


def test_a_second_build_finds_the_template(imaged: Site) -> None:
    imaged.build()
    imaged.build()
    assert imaged.told[-1] == "There is a template already"


def test_a_lost_home_finds_the_template_and_starts_it_without_terraform(imaged: Site) -> None:
    imaged.build()
    imaged.home = imaged.home.with_name("other")
    assert imaged.template().boot(Lines(imaged.told.append)).startswith("ssh ")
    assert template_servers(imaged) == [("template-1", "ACTIVE")]
    imaged.template().stop(Lines(imaged.told.append))
    imaged.take()
    assert left(imaged) == []


@pytest.mark.parametrize("what", ["build", "take"])
def test_whatever_step_is_the_last_the_next_try_gets_through_and_leaves_nothing(imaged: Site, what: str) -> None:
    if what == "take":
        imaged.build()
    at = 1
    while broken_off(imaged, Steps(at, Killed), what):
        imaged.build()
        imaged.take()
        assert left(imaged) == [], at
        assert len(template_servers(imaged)) == 1, at
        imaged.double.clear()
        imaged.double.has_cinder = False
        imaged.home = imaged.home.with_name(f"home-{at}")
        if what == "take":
            imaged.build()
        at += 1
    assert at > 5


def test_a_template_made_of_a_promoted_image_hands_no_promotion_on(imaged: Site) -> None:
    imaged.build()
    first = imaged.take()
    (image,) = [one for one in imaged.double.images.values() if one["name"] == first]
    (server,) = imaged.double.servers.values()
    server["image"] = {"id": image["id"]}
    made = imaged.template().copies.make(server["id"], imaged.server_id, "recipe")
    assert not made.promoted
    assert imaged.copied() == [(first, True)]


def test_prune_removes_images_that_no_server_was_made_of(imaged: Site) -> None:
    imaged.build()
    names = [imaged.take() for _ in range(4)]
    used = next(one["id"] for one in imaged.double.images.values() if one["name"] == names[0])
    imaged.double.add_server("job-1", image={"id": used})
    gone = imaged.template().prune(1, Lines(imaged.told.append))
    assert gone == [names[1]]
    assert [name for name, _ in imaged.copied()] == [names[0], names[2], names[3]]


def test_a_volume_for_the_template_is_refused(imaged: Site) -> None:
    imaged.settings_given |= {"openstack_template_volume": "disk"}
    with pytest.raises(InvalidInput, match="needs openstack_boot = volume"):
        imaged.build()


def test_looking_removing_and_quota_ask_nothing_of_cinder(settings_on_images: Settings, api: Double) -> None:
    api.add_image("cumulus-template-1", **PROMOTED, min_disk=1)
    machine, port = api.add_server("job-1"), api.add_port("job-1")
    cloud = OpenstackCloud(settings_on_images, OURS)
    assert cloud.site_problems() == []
    assert [one.name for one in cloud.quota.listed()] == ["instances", "cores", "ram", "ports"]
    cloud.quota.require_room(read_flavors(settings_on_images.flavors)["m1.4xlarge"])
    assert cloud.resources() == [Resource("machine", "job-1", machine, True), Resource("port", "job-1", port, False)]
    assert cloud.console.fault("job-1") == ""
    assert cloud.images.check() == ""
    for one in cloud.resources():
        cloud.delete(one)
    assert cloud.resources() == []
    assert not [call for call in api.calls if "/volume/" in call]


def test_a_machine_is_made_of_the_image_on_its_flavors_disk(settings_on_images: Settings, api: Double) -> None:
    image = api.add_image("cumulus-template-1", **PROMOTED, min_disk=1)
    api.subnets = ["six"]
    given = settings_on_images.model_copy(update={"openstack_subnet": "six", "worker_disk_gb": 1})
    made = OpenstackCloud(given, OURS).terraform_vars("job-1", read_flavors(given.flavors)["m1.4xlarge"])
    assert (made["boot"], made["snapshot"], made["snapshot_id"]) == ("image", "cumulus-template-1", image)
    assert (made["subnet_id"], made["volume_type"]) == (id_of("six"), "")


@pytest.mark.parametrize(("disk", "told"), [(1, "has a disk of 1 GB of its own"), (0, "has no disk of its own")])
def test_a_flavor_without_room_for_the_image_is_refused_before_anything_is_made(
    settings_on_images: Settings, api: Double, disk: int, told: str
) -> None:
    api.add_image("cumulus-template-1", **PROMOTED, min_disk=2)
    for one in api.flavors.values():
        one["disk"] = disk
    cloud = OpenstackCloud(settings_on_images, OURS)
    with pytest.raises(CloudError, match=told) as caught:
        cloud.terraform_vars("job-1", read_flavors(settings_on_images.flavors)["m1.4xlarge"])
    assert caught.value.reason is Reason.FLAVOR_TOO_SMALL
    assert cloud.flavors.listed() == []
    assert any(told in line for line in cloud.site_problems())


def test_the_name_of_the_template_is_that_of_its_images(imaged: Site) -> None:
    imaged.build()
    assert imaged.take() == f"{NAME}-1"
