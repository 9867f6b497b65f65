"""A worker whose making broke off, on a cloud that went on meanwhile: what is there is taken into Terraform's state."""

import json
from pathlib import Path
from typing import Any

import pytest

from server.errors import CloudError, StillCopying
from server.reasons import Reason
from server.settings import Settings
from server.workers.clouds.openstack.cloud import OpenstackCloud
from server.workers.clouds.openstack.resuming import ADDRESSES
from server.workers.terraform.module import TerraformModule
from tests.workers.clouds.openstack.double import OURS, Double

JOB = "job-7"


class Recorded(TerraformModule):
    """The worker's module with a real state; what Terraform would be told about it is written down."""

    def __init__(self, home: Path) -> None:
        super().__init__(home / "source", home / "terraform", "no-terraform", dict)
        self.adopted: dict[str, str] = {}

    def write(self, **things: tuple[str, bool]) -> None:
        """The state: kind -> id, and whether it is tainted."""
        listed: list[dict[str, Any]] = [{"mode": "data", "type": "openstack_networking_network_v2", "name": "x", "instances": []}]
        for kind, (identifier, tainted) in things.items():
            type_, _, name = ADDRESSES[kind].removesuffix("[0]").partition(".")
            number = {"index_key": 0} if ADDRESSES[kind].endswith("[0]") else {}
            instance = {"attributes": {"id": identifier}, **number, **({"status": "tainted"} if tainted else {})}
            listed.append({"mode": "managed", "type": type_, "name": name, "instances": [instance]})
        self.store.state_file(JOB).parent.mkdir(parents=True, exist_ok=True)
        self.store.state_file(JOB).write_text(json.dumps({"version": 4, "serial": 1, "resources": listed}))

    def adopt(self, workspace: str, address: str, identifier: str, timeout_s: float) -> None:
        """Write it down."""
        assert workspace == JOB
        self.adopted[address] = identifier


@pytest.fixture
def module(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path)


def test_a_volume_whose_poll_failed_is_gone_on_with_when_it_is_copied(
    cloud: OpenstackCloud, api: Double, module: Recorded
) -> None:
    volume = api.add_volume(JOB, status="creating")
    module.write(volume=(volume, True))
    assert cloud.resumption.is_copying(JOB)
    with pytest.raises(StillCopying, match="the setting openstack_volume_create_s is the limit") as caught:
        cloud.resumption.take_up(JOB, module)
    assert caught.value.reason is Reason.CREATION_TIMEOUT
    assert module.adopted == {}
    api.volumes[volume]["status"] = "available"
    assert cloud.resumption.is_copying(JOB)  # it ended after Terraform had given it up
    cloud.resumption.take_up(JOB, module)
    assert module.adopted == {ADDRESSES["volume"]: volume}
    api.add_server(JOB, volume)
    assert not cloud.resumption.is_copying(JOB)


def test_a_volume_that_terraform_never_heard_of_is_taken_and_one_of_two_only(
    cloud: OpenstackCloud, api: Double, module: Recorded
) -> None:
    api.add_volume(JOB, status="creating")
    volume = api.add_volume(JOB)
    api.add_volume("job-8")
    module.write()
    cloud.resumption.take_up(JOB, module)
    assert module.adopted == {ADDRESSES["volume"]: volume}


def test_a_server_that_was_built_meanwhile_is_taken_with_its_port_and_volume(
    cloud: OpenstackCloud, api: Double, module: Recorded
) -> None:
    volume = api.add_volume(JOB)
    server, port = api.add_server(JOB, volume), api.add_port(JOB)
    module.write(volume=(volume, False))
    cloud.resumption.take_up(JOB, module)
    assert module.adopted == {ADDRESSES["port"]: port, ADDRESSES["machine"]: server}


def test_a_server_that_came_to_nothing_says_why(cloud: OpenstackCloud, api: Double, module: Recorded) -> None:
    volume = api.add_volume(JOB)
    server = api.add_server(JOB, volume, status="ERROR", fault={"message": "No valid host was found."})
    module.write(volume=(volume, False), machine=(server, True))
    with pytest.raises(CloudError, match="No valid host") as caught:
        cloud.resumption.take_up(JOB, module)
    assert caught.value.reason is Reason.NO_VALID_HOST
    assert module.adopted == {}


def test_a_server_that_is_still_built_is_waited_for(settings: Settings, api: Double, module: Recorded) -> None:
    settings.openstack_server_create_s = 0
    server = api.add_server(JOB, api.add_volume(JOB), status="BUILD")
    module.write(machine=(server, True))
    with pytest.raises(CloudError, match="not ready after 0 s: the setting openstack_server_create_s is the limit"):
        OpenstackCloud(settings, OURS).resumption.take_up(JOB, module)


@pytest.mark.parametrize("status", ["error", "deleting", "error_deleting"])
def test_a_volume_that_is_of_no_use_is_left_to_terraform(
    cloud: OpenstackCloud, api: Double, module: Recorded, status: str
) -> None:
    module.write(volume=(api.add_volume(JOB, status=status), True))
    cloud.resumption.take_up(JOB, module)
    assert module.adopted == {}


def test_what_is_whole_is_not_asked_for(cloud: OpenstackCloud, api: Double, module: Recorded) -> None:
    module.write(volume=("1", False), port=("2", False), machine=("3", False))
    cloud.resumption.take_up(JOB, module)
    assert api.calls == []
