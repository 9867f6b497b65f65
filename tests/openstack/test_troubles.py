"""The site's troubles on a real OpenStack cloud: a line that says what to do, and jobs that wait until it is done."""

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from server.settings import Settings
from server.workers.clouds.openstack.client.access import FILE, Access
from tests.e2e.conftest import served, until
from tests.openstack.conftest import LIMIT_S, Lab, MakeLab, told, usual_flavor
from tests.openstack.installation import CUMULUS

NOWHERE = "CUSTOM_CUMULUS_TEST_NOWHERE"  # what no host has
pytestmark = [pytest.mark.openstack, pytest.mark.timeout(2400)]


def doctor() -> str:
    """What the administrator's command says; it finds something to complain of."""
    done = subprocess.run([CUMULUS, "doctor"], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("openstack_network", "the cloud has no network no-such-thing: make it, or correct the setting openstack_network"),
        ("openstack_security_group", "the cloud has no security group no-such-thing: make it"),
        ("openstack_key_pair", "the cloud has no key pair no-such-thing: make it"),
        ("openstack_server_group", "the cloud has no server group no-such-thing: make it"),
        ("openstack_volume_type", "the cloud has no volume type no-such-thing: make it"),
        ("openstack_template", "no promoted snapshot"),
        ("flavor", "the cloud does not know the flavor no-such-thing"),
        ("openstack_cloud", "its credentials are not complete"),
    ],
)
def test_the_doctor_names_what_the_cloud_does_not_have(make_lab: MakeLab, setting: str, line: str) -> None:
    make_lab(**{setting: "no-such-thing"})
    (said,) = [one for one in doctor().splitlines() if "no-such-thing" in one or line in one]
    assert line in said


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("password", "wrong", "it does not accept the credentials"),
        ("auth_url", "http://127.0.0.1:9/v3", "it does not answer"),
    ],
)
def test_the_doctor_says_in_one_line_why_nobody_gets_in(
    make_lab: MakeLab, own_clouds: Callable[..., None], name: str, value: str, line: str
) -> None:
    make_lab()
    own_clouds(**{name: value})
    (said,) = [one for one in doctor().splitlines() if "the OpenStack cloud: " in one]
    assert line in said


def test_a_job_waits_while_the_credentials_are_wrong_and_is_done_then(make_lab: MakeLab, own_clouds: Callable[..., None]) -> None:
    lab = make_lab()
    own_clouds(password="wrong")
    with served(lab.settings, lab.log) as (client, _):
        job_id, _ = lab.submit(client)
        until(lambda: "does not accept the credentials" in lab.log.read_text(), lab.log, LIMIT_S)
        assert client.job(job_id)["status"] in ("PENDING", "PREPARING")
        own_clouds()
        lab.require_done(client, job_id)


@pytest.fixture
def own_clouds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes the clouds.yaml that the environment names from now on, with changes of the credentials."""
    if not os.environ.get(FILE):
        pytest.skip(f"{FILE} names no file")
    name, file = os.environ["OS_CLOUD"], tmp_path / "clouds.yaml"
    right = yaml.safe_load(Path(os.environ[FILE]).read_text())["clouds"][name]

    def write(**changes: str) -> None:
        file.touch(0o600)
        file.write_text(yaml.safe_dump({"clouds": {name: {**right, "auth": {**right["auth"], **changes}}}}))
        monkeypatch.setenv(FILE, str(file))

    return write


def test_a_job_whose_server_no_host_takes_waits_with_novas_word_and_is_done_then(make_lab: MakeLab) -> None:
    if not told("ADMIN"):
        pytest.skip("TEST_OPENSTACK_ADMIN names no cloud that may make flavors")
    with flavor_of_no_host() as (name, cure):
        lab = make_lab(flavor=name)
        with served(lab.settings, lab.log) as (client, _):
            job_id, folder = lab.submit(client)
            until(lambda: "No valid host was found" in lab.log.read_text(), lab.log, LIMIT_S)
            assert client.job(job_id)["status"] in ("PENDING", "PREPARING")
            assert any("No valid host" in file.read_text() for file in folder.path.glob(".cumulus.failure.*"))
            until(lambda: one_at_most(lab), lab.log, LIMIT_S)
            cure()
            lab.require_done(client, job_id)
        assert lab.orphans() == ""


def one_at_most(lab: Lab) -> bool:
    """Whether no server in ERROR is left beside that of the next attempt."""
    return len(lab.held("machine")) <= 1


@contextmanager
def flavor_of_no_host() -> Iterator[tuple[str, Callable[[], None]]]:
    """A flavor like the usual one that no host takes, and the function that has every host take it."""
    name, admin = f"cumulus-test-{secrets.token_hex(4)}", Access(Settings(openstack_cloud=told("ADMIN")))
    with admin.use() as cloud:
        usual = cloud.compute.find_flavor(usual_flavor(), ignore_missing=False)
        made = cloud.compute.create_flavor(name=name, ram=usual.ram, vcpus=usual.vcpus, disk=usual.disk)
        cloud.placement.put(f"/traits/{NOWHERE}", microversion="1.6").raise_for_status()
        cloud.compute.create_flavor_extra_specs(made, {f"trait:{NOWHERE}": "required"})

    def cure() -> None:
        with admin.use() as cloud:
            cloud.compute.delete_flavor_extra_specs_property(made, f"trait:{NOWHERE}")

    try:
        yield name, cure
    finally:
        with admin.use() as cloud:
            cloud.compute.delete_flavor(made)
            cloud.placement.delete(f"/traits/{NOWHERE}", microversion="1.6")
