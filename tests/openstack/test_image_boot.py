"""Machines that boot from an image, on a real OpenStack cloud: a template's machine, images that Nova makes of it, jobs.

Cinder is used once, to make an image of the snapshot that the other tests' workers are made of, so that no play is needed. Where
``TEST_OPENSTACK_SUBNET6`` names a subnet of IPv6 there, and ``TEST_OPENSTACK_ADDRESS6`` this computer's address in it, one
job runs on a machine without another address; ``TEST_OPENSTACK_SUBNET`` is the other machines' subnet then.
``TEST_OPENSTACK_PREPARE`` is shell text for the template's machine, for an image whose boot does not set up such an address.
"""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from server.progress import Lines
from server.settings import Settings
from server.workers.clouds.build_hash import build_hash
from server.workers.clouds.images import SmokeTest
from server.workers.clouds.openstack.client.access import Access
from server.workers.clouds.openstack.template.build import OpenstackTemplate
from server.workers.clouds.openstack.template.cinder_copies import CinderCopies
from server.workers.clouds.openstack.template.snapshots import Snapshots
from server.workers.clouds.qemu.network.nfs import NfsServer
from server.workers.clouds.qemu.paths import QemuHome
from tests.e2e.conftest import served, until
from tests.openstack.conftest import LIMIT_S, Lab, MakeLab, told

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(2400)]
say = Lines(partial(print, flush=True))
TRIAL = SmokeTest([("probe_1.0", "echo probe 1.0")], ["sh"])


@pytest.fixture(scope="module")
def image(site: dict[str, str], template: str) -> Iterator[str]:
    """The id of an image of the promoted snapshot."""
    access = Access(Settings(**site))
    snapshot = Snapshots(CinderCopies(access, template)).current()
    with access.use() as cloud:
        volume = cloud.block_storage.create_volume(size=snapshot.size_gb, snapshot_id=snapshot.identifier, name="image-boot")
        cloud.block_storage.wait_for_status(volume, "available", ["error"], wait=int(LIMIT_S))
        options = {"disk_format": "qcow2", "container_format": "bare", "visibility": "private"}
        made = cloud.block_storage.upload_volume_to_image(volume, f"image-boot-{os.getpid()}", **options)["image_id"]
        cloud.image.wait_for_status(cloud.image.get_image(made), "active", ["killed"], wait=int(LIMIT_S))
        cloud.block_storage.wait_for_status(volume, "available", ["error"], wait=int(LIMIT_S))
        cloud.block_storage.delete_volume(volume)
        cloud.block_storage.wait_for_delete(volume, wait=int(LIMIT_S))  # the volumes are counted
        yield str(made)
        cloud.image.delete_image(made)


def built(lab: Lab) -> OpenstackTemplate:
    """A template on a machine of the image, which has all on it already."""
    template = lab.cloud.images.template()
    machine = template.making().machine
    login = machine.start(None, "template-1", say)
    if told("PREPARE"):
        machine.guests.run(login, told("PREPARE"), 60)
    (original,) = template.originals.fetch()
    machine.seal(original, login, say, build_hash())
    return template


def cleared(template: OpenstackTemplate) -> None:
    for one in [*template.copies.fetch(), *template.copies.unfinished()]:
        template.copies.remove(one)
    for original in template.originals.fetch():
        template.originals.remove(original)


def test_a_template_its_image_and_jobs_need_no_volume(make_lab: MakeLab, image: str, tmp_path: Path) -> None:
    own = {
        "openstack_boot": "image",
        "openstack_template": f"image-boot-{os.getpid()}",
        "openstack_template_image": image,
        "openstack_subnet": told("SUBNET"),
    }
    lab = make_lab(**own)
    before = volumes(lab)
    try:
        template = built(lab)
        taken = template.take_snapshot(TRIAL, say)
        assert [(one.name, one.promoted) for one in template.snapshots()] == [(taken.name, True)]
        assert not [one for one in lab.cloud.site_problems() if "NFS" not in one]
        require_done(lab)
        if told("SUBNET6"):
            job_over_ipv6(lab, make_lab, own, tmp_path)
        (lab.settings.home / "terraform" / "openstack-template" / "state").rename(tmp_path / "lost")  # as an erased home
        assert template.boot(say).startswith("ssh ")
        template.stop(say)
        assert volumes(lab) == before
    finally:
        cleared(lab.cloud.images.template())


def job_over_ipv6(lab: Lab, make_lab: MakeLab, own: dict[str, str], tmp_path: Path) -> None:
    """A machine in that subnet alone, which mounts the storage from an address of IPv6."""
    storage = lab.settings.storage
    nfs = NfsServer(QemuHome(tmp_path / "six"), "site", storage / "data", storage / "jobs", user=os.getuid(), address="::")
    where = {"openstack_subnet": told("SUBNET6"), "openstack_nfs_host": told("ADDRESS6"), "openstack_nfs_port": nfs.start()}
    try:
        address = require_done(make_lab(**{**own, **where}))
        assert ":" in address
    finally:
        nfs.stop()


def require_done(lab: Lab) -> str:
    """A job runs to its end on a machine without a volume; returns the machine's address."""
    with served(lab.settings, lab.log) as (client, _):
        job_id, folder = lab.submit(client)
        until(lambda: len(lab.held()) == 2, lab.log, LIMIT_S)
        assert {(one.kind, one.worker) for one in lab.held()} == {(kind, f"job-{job_id}") for kind in ("machine", "port")}
        with lab.access.use() as cloud:
            (server,) = [one for one in cloud.compute.servers() if one.name == f"job-{job_id}"]
            until(lambda: bool(cloud.compute.get_server(server.id).addresses), lab.log, LIMIT_S)
            addresses = [one["addr"] for net in cloud.compute.get_server(server.id).addresses.values() for one in net]
        lab.require_done(client, job_id)
        assert (folder.output / "result.txt").read_text() == "hello\n"
    assert len(addresses) == 1
    return str(addresses[0])


def volumes(lab: Lab) -> int:
    with lab.access.use() as cloud:
        return len(list(cloud.block_storage.volumes()))
