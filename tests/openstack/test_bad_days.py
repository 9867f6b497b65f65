"""A real OpenStack cloud on a bad day: each twentieth request, Terraform's and the controller's, gets 429, 500, 503 or no answer.

``TEST_OPENSTACK_JOBS``: how many jobs go through; default: 50. ``TEST_OPENSTACK_SEED``: another day.
"""

import json
import os
from pathlib import Path

import pytest
import yaml

from server.workers.clouds.openstack.client.access import FILE
from tests.e2e.conftest import FINAL, served, until
from tests.openstack.conftest import Lab, MakeLab, told
from tests.openstack.faulty import Mood, bad_day

JOBS = int(told("JOBS", "50"))
LIMIT_S = 300.0 + 150.0 * JOBS
pytestmark = [pytest.mark.openstack, pytest.mark.timeout(int(LIMIT_S) + 600)]


def go_through(mood: Mood, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the clouds.yaml that the environment names lead through the proxy from now on."""
    if not os.environ.get(FILE):
        pytest.skip(f"{FILE} names no file")
    name = os.environ["OS_CLOUD"]
    cloud = yaml.safe_load(Path(os.environ[FILE]).read_text())["clouds"][name]
    through = mood.through(cloud["auth"]["auth_url"])
    if through == cloud["auth"]["auth_url"]:
        pytest.skip("the cloud is not on this computer, over HTTP: the proxy cannot rewrite its addresses")
    file.touch(0o600)
    file.write_text(yaml.safe_dump({"clouds": {name: {**cloud, "auth": {**cloud["auth"], "auth_url": through}}}}))
    monkeypatch.setenv(FILE, str(file))


def machines_of(lab: Lab, job_id: int) -> list[str]:
    """The attempts of a job that were begun."""
    (folder,) = lab.settings.storage.glob(f"jobs/Job_{job_id}_*")
    return sorted(path.name for path in folder.glob(".cumulus.attempt.*"))


def test_all_jobs_are_done_on_their_first_machines_and_nobody_pauses(
    make_lab: MakeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab()
    with bad_day(Mood(seed=int(told("SEED", "20")))) as mood:
        go_through(mood, tmp_path / "clouds.yaml", monkeypatch)
        with served(lab.settings, lab.log) as (client, _):
            jobs = [lab.submit(client)[0] for _ in range(JOBS)]
            until(lambda: all(client.job(one)["status"] in FINAL for one in jobs), lab.log, LIMIT_S)
            assert [client.job(one)["status"] for one in jobs] == ["DONE"] * JOBS
            until(lab.is_clear, lab.log, LIMIT_S)
        assert lab.orphans() == ""
    print(json.dumps({"asked": mood.asked, "faults": mood.faults}))
    assert [len(machines_of(lab, one)) for one in jobs] == [1] * JOBS
    said = lab.log.read_text()
    assert "no more machines are made for now" not in said
    assert "a job is tried again" not in said
    assert sum(mood.faults.values()) > 0.03 * sum(mood.asked.values())


@pytest.mark.parametrize(
    "what",
    [r"GET .*/volumes/[0-9a-f-]+$", r"POST .*/volumes$", r"POST .*/ports$", r"POST .*/servers$"],
    ids=["poll", "volume", "port", "server"],
)
@pytest.mark.parametrize("kind", ["unanswered", "503 after"])
def test_what_the_cloud_did_and_nobody_heard_of_is_gone_on_with(
    make_lab: MakeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, kind: str
) -> None:
    lab = make_lab(openstack_retries=0)
    with bad_day(Mood(share=0)) as mood:
        go_through(mood, tmp_path / "clouds.yaml", monkeypatch)
        with served(lab.settings, lab.log) as (client, _):
            mood.once = {what: kind}
            job_id = lab.submit(client)[0]
            until(lambda: bool(mood.faults), lab.log, LIMIT_S)
            lab.require_done(client, job_id)
        assert machines_of(lab, job_id) == [".cumulus.attempt.1"]
    assert "a machine is continued later" in lab.log.read_text()
    assert "could not be removed" not in lab.log.read_text()


def test_a_copy_that_takes_longer_than_its_limit_is_gone_on_with(make_lab: MakeLab) -> None:
    lab = make_lab(openstack_volume_create_s=1)
    with served(lab.settings, lab.log) as (client, _):
        job_id = lab.submit(client)[0]
        until(lambda: bool(lab.held("volume")), lab.log, LIMIT_S)
        (volume,) = lab.held("volume")
        until(lambda: bool(lab.held("machine")), lab.log, LIMIT_S)
        assert [one.identifier for one in lab.held("volume")] == [volume.identifier]
        lab.require_done(client, job_id)
    assert machines_of(lab, job_id) == [".cumulus.attempt.1"]
    assert "a machine is continued later" in lab.log.read_text()
