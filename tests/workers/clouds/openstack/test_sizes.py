"""The flavors of a cloud as its machine sizes."""

import pytest

from server.states import Reason
from server.workers.clouds.base import CloudError, Size
from server.workers.clouds.openstack.cloud import OpenstackCloud
from tests.workers.clouds.openstack.recorded import RecordedCloud, size, snapshot


def test_every_page_is_read_and_what_is_switched_off_left_out(cloud: OpenstackCloud, api: RecordedCloud) -> None:
    api.sizes = [size(str(number), f"m{number}", number, 512 * number) for number in range(1, 6)]
    api.sizes[2]["OS-FLV-DISABLED:disabled"] = True
    assert cloud.sizes() == [Size("m1", 1, 0.5), Size("m2", 2, 1.0), Size("m4", 4, 2.0), Size("m5", 5, 2.5)]


def test_no_disk_is_smaller_than_the_promoted_snapshot(cloud: OpenstackCloud, api: RecordedCloud) -> None:
    api.sizes = [size("1", "m1.4xlarge", 16, 65536)]
    promoted = snapshot("s1", "template-1", cumulus_template="cumulus-template", cumulus_promoted="5")
    api.snapshots = [{**promoted, "size": 40}]
    assert cloud.sizes() == [Size("m1.4xlarge", 16, 64.0, least_disk_gb=40)]


def test_a_cloud_that_fails_is_an_error_of_its_own(cloud: OpenstackCloud, api: RecordedCloud) -> None:
    api.failing = {"/flavors": (503, {"computeFault": {"code": 503, "message": "no"}})}
    with pytest.raises(CloudError) as caught:
        cloud.sizes()
    assert caught.value.reason is Reason.CLOUD_BUSY
