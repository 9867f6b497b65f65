"""Whole lives of jobs on a real OpenStack cloud, through the REST API: what an administrator may rely on there."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from server.settings import Settings
from server.workers.clouds.openstack.client.access import Access
from server.workers.clouds.openstack.template.cinder_copies import CinderCopies
from server.workers.clouds.openstack.template.kept import PROMOTED
from server.workers.clouds.openstack.template.snapshots import Snapshots
from tests.e2e.conftest import served, until
from tests.openstack.conftest import LIMIT_S, Lab, MakeLab, told

OPENSSH_KEY = b"b3BlbnNzaC1rZXktdjE"  # how the text of any private key begins
pytestmark = [pytest.mark.openstack, pytest.mark.timeout(2400)]


def test_a_job_submitted_over_rest_is_done_and_its_machine_gone(make_lab: MakeLab) -> None:
    lab = make_lab()
    with served(lab.settings, lab.log) as (client, _):
        job_id, folder = lab.submit(client)
        until(lambda: len(lab.held()) == 3, lab.log, LIMIT_S)
        assert {(one.kind, one.worker) for one in lab.held()} == {
            (kind, f"job-{job_id}") for kind in ("machine", "volume", "port")
        }
        lab.require_done(client, job_id)
        assert (folder.output / "result.txt").read_text() == "hello\n"
    assert lab.orphans() == ""
    private = [path for path in lab.settings.home.rglob("*") if path.is_file() and OPENSSH_KEY in path.read_bytes()]
    assert [path.relative_to(lab.settings.home).as_posix() for path in private] == ["openstack/key"]  # the controller's own


def test_a_job_cancelled_while_its_server_is_built_leaves_nothing(make_lab: MakeLab) -> None:
    lab = make_lab()
    with served(lab.settings, lab.log) as (client, _):
        job_id, _ = lab.submit(client)
        until(lambda: bool(lab.held("machine")), lab.log, LIMIT_S)
        client.cancel("ada", job_id)
        assert lab.ended(client, job_id)["status"] == "CANCELLED"
        until(lab.is_clear, lab.log, LIMIT_S)


@pytest.mark.parametrize(("changes", "lacking"), [({"cpus": 999}, "cores"), ({"worker_disk_gb": 100_000}, "gigabytes")])
def test_a_job_that_the_quota_has_no_room_for_waits_and_begins_nothing(
    make_lab: MakeLab, changes: dict[str, int], lacking: str
) -> None:
    lab = make_lab(**changes)
    with served(lab.settings, lab.log) as (client, _):
        job_id, _ = lab.submit(client)
        until(lambda: f"{lacking} wanted" in lab.log.read_text(), lab.log, LIMIT_S)
        row = client.job(job_id)
        assert row["status"] in ("PENDING", "PREPARING")
        assert lab.held() == []
        client.cancel("ada", job_id)
        until(lab.is_clear, lab.log, LIMIT_S)


def test_a_job_waits_while_the_quota_of_instances_is_used_up_and_is_done_then(make_lab: MakeLab) -> None:
    if not told("ADMIN"):
        pytest.skip("TEST_OPENSTACK_ADMIN names no cloud that may change the quota")
    lab = make_lab()
    with served(lab.settings, lab.log) as (client, _):
        with no_more_instances(lab):
            job_id, _ = lab.submit(client)
            until(lambda: "instances wanted" in lab.log.read_text(), lab.log, LIMIT_S)
            assert lab.held() == []
        lab.require_done(client, job_id)


@contextmanager
def no_more_instances(lab: Lab) -> Iterator[None]:
    """The project's quota of instances is what it has."""
    limits = {one.name: one for one in lab.cloud.quota.listed()}["instances"]
    admin = Access(Settings(openstack_cloud=told("ADMIN")))
    with lab.access.use() as cloud:
        project = cloud.current_project_id
    set_instances(admin, project or "", limits.used)
    try:
        yield
    finally:
        set_instances(admin, project or "", -1 if limits.limit is None else limits.limit)


def set_instances(admin: Access, project: str, number: int) -> None:
    with admin.use() as cloud:
        cloud.compute.put(
            f"/os-quota-sets/{project}", json={"quota_set": {"instances": number, "force": True}}
        ).raise_for_status()


@pytest.mark.parametrize("whole", [False, True], ids=["the controller alone", "and its terraform"])
def test_a_controller_killed_during_apply_is_followed_by_one_that_carries_on(make_lab: MakeLab, whole: bool) -> None:
    lab = make_lab()
    with served(lab.settings, lab.log) as (client, controller):
        job_id, folder = lab.submit(client)
        until(lambda: bool(lab.held("volume")), lab.log, LIMIT_S)
        kill(controller, whole)
        if whole:
            time.sleep(5)  # the cloud goes on with what nobody has a state of
    with served(lab.settings, lab.log) as (client, _):
        lab.require_done(client, job_id)
        assert folder.log.text().count("probe started") == 1
    assert lab.orphans() == ""


def kill(controller: "subprocess.Popen[bytes]", whole: bool) -> None:
    """As by kill -9, or as where the computer loses its power."""
    children = psutil.Process(controller.pid).children(recursive=True)
    controller.send_signal(signal.SIGKILL)
    controller.wait()
    for child in children if whole else ():
        if child.is_running():
            os.kill(child.pid, signal.SIGKILL)


def test_a_job_whose_server_somebody_deletes_is_run_on_another(make_lab: MakeLab) -> None:
    lab = make_lab()
    with served(lab.settings, lab.log) as (client, _):
        job_id, folder = lab.submit(client, seconds="60")
        until(lambda: "probe started" in folder.log.text(), lab.log, LIMIT_S)
        (machine,) = lab.held("machine")
        with lab.access.use() as cloud:
            cloud.compute.delete_server(machine.identifier, force=True)
        lab.require_done(client, job_id)
        assert len(list(folder.path.glob(".cumulus.attempt.*"))) == 2
    assert lab.orphans() == ""


def test_a_job_waits_while_no_snapshot_is_promoted_and_is_done_then(make_lab: MakeLab) -> None:
    lab = make_lab()
    with served(lab.settings, lab.log) as (client, _):
        with no_promoted_snapshot(lab):
            job_id, _ = lab.submit(client)
            until(lambda: "no promoted snapshot" in lab.log.read_text(), lab.log, LIMIT_S)
            assert client.job(job_id)["status"] in ("PENDING", "PREPARING")
            assert lab.held() == []
        lab.require_done(client, job_id)


@contextmanager
def no_promoted_snapshot(lab: Lab) -> Iterator[None]:
    """All snapshots of the template are as they were before their promotion."""
    promoted = [one for one in Snapshots(CinderCopies(lab.access, lab.settings.openstack_template)).fetch() if one.promoted]
    with lab.access.use() as cloud:
        for one in promoted:
            cloud.block_storage.delete_snapshot_metadata(one.identifier, keys=[PROMOTED])
    try:
        yield
    finally:
        with lab.access.use() as cloud:
            for one in promoted:
                cloud.block_storage.set_snapshot_metadata(one.identifier, **{PROMOTED: one.metadata[PROMOTED]})
