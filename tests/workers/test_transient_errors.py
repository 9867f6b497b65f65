"""What is the cloud's bad moment and what is not."""

import pytest

from server.errors import CumulusError
from server.reasons import Reason
from server.workers.terraform.process import TerraformError
from server.workers.transient_errors import passing
from server.workers.worker_plays import PlayFailed

WAITING = "Error waiting for openstack_blockstorage_volume_v3 1 to become ready: Expected HTTP response code [200] when accessing"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{WAITING} [GET http://c/v3/volumes/1], but got 500 instead: <html>", Reason.CLOUD_BUSY),
        (f"{WAITING} [GET http://c/v3/volumes/1], but\n│ got 429\n│ instead: ", Reason.CLOUD_BUSY),
        (f"{WAITING} [GET http://c/v3/volumes/1], but got 408 instead: <html>", Reason.CLOUD_BUSY),
        ('Post "http://c/v2.1/servers": OpenStack connection error, retries exhausted. Aborting.', Reason.CLOUD_UNREACHABLE),
        ('Error creating openstack_networking_port_v2: Post "http://c/v2.0/ports": EOF', Reason.CLOUD_UNREACHABLE),
        (f"{WAITING} [GET http://c/v3/volumes/1], but got 404 instead: gone", None),
        (f"{WAITING} [POST http://c/v3/volumes], but got 400 instead: invalid size 500", None),
        ("Error: unexpected state 'error', wanted target 'available'", None),
    ],
)
def test_what_the_provider_says_of_a_bad_moment(text: str, reason: Reason | None) -> None:
    assert passing(TerraformError(text)) is reason
    assert passing(TerraformError("terraform apply failed", text)) is reason


@pytest.mark.parametrize("kind", [PlayFailed, CumulusError])
def test_what_others_say_is_another_matter(kind: type[CumulusError]) -> None:
    assert passing(kind("but got 503 instead")) is None
