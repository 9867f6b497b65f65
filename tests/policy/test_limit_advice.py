"""Which setting a message of Terraform is about."""

import pytest

from server.policy.error_classification import classify
from server.policy.limit_advice import limit_named
from server.reasons import Reason

TIMEOUT = "timeout while waiting for state to become 'available' (last state: 'creating', timeout: 1h0m0s)"


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        (f"Error waiting for openstack_blockstorage_volume_v3 3f-1 to become ready: {TIMEOUT}", "openstack_volume_create_s"),
        (f"Error waiting for openstack_blockstorage_volume_v3 3f-1 to Delete:  {TIMEOUT}", "openstack_volume_delete_s"),
        (f"Error waiting for openstack_networking_port_v2 3f-1 to become\n│ available: {TIMEOUT}", "openstack_port_create_s"),
        (f"Error waiting for openstack_networking_port_v2 3f-1 to Delete:  {TIMEOUT}", "openstack_port_delete_s"),
        (f"Error waiting for instance (3f-1) to become ready: {TIMEOUT}", "openstack_server_create_s"),
        (f"Error waiting for instance (3f-1) to Delete:  {TIMEOUT}", "openstack_server_delete_s"),
        (
            "Error waiting for openstack_blockstorage_volume_v3 3f-1 to become ready: context deadline exceeded",
            "openstack_volume_create_s",
        ),
        ("terraform apply took longer than 300 s", "create_timeout_s"),
        ("terraform destroy took longer than 120 s", "delete_timeout_s"),
    ],
)
def test_what_took_too_long_names_its_limit_once(text: str, setting: str) -> None:
    told = limit_named(text)
    assert told == f"{text} (the setting {setting} is the limit)"
    assert limit_named(told) == told
    assert classify(told) is Reason.CREATION_TIMEOUT


def test_another_failure_names_none() -> None:
    text = "Error waiting for instance (3f-1) to become ready: unexpected state 'ERROR', wanted target 'ACTIVE'"
    assert limit_named(text) == text
