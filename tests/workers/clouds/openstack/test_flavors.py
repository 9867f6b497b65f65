"""The flavors of a cloud as its machine sizes."""

import pytest

from server.errors import CloudError
from server.reasons import Reason
from server.workers.clouds.capabilities import CloudFlavor
from server.workers.clouds.openstack.cloud import OpenstackCloud
from tests.workers.clouds.openstack.double import Double


def test_every_page_is_read_and_what_is_switched_off_left_out(cloud: OpenstackCloud, api: Double) -> None:
    api.flavors.clear()
    for number in range(1, 6):
        api.add_flavor(f"m{number}", number, 512 * number, disabled=number == 3)
    assert cloud.flavors.listed() == [
        CloudFlavor("m1", 1, 0.5),
        CloudFlavor("m2", 2, 1.0),
        CloudFlavor("m4", 4, 2.0),
        CloudFlavor("m5", 5, 2.5),
    ]


def test_no_disk_is_smaller_than_the_promoted_snapshot(cloud: OpenstackCloud, api: Double) -> None:
    api.flavors.clear()
    api.add_flavor("m1.4xlarge", 16, 65536)
    api.add_snapshot("template-1", size=40, metadata={"cumulus_template": "cumulus-template", "cumulus_promoted": "5"})
    assert cloud.flavors.listed() == [CloudFlavor("m1.4xlarge", 16, 64.0, least_disk_gb=40)]


def test_a_cloud_that_fails_is_an_error_of_its_own(cloud: OpenstackCloud, api: Double) -> None:
    api.failing = {"/flavors": (503, {"computeFault": {"code": 503, "message": "no"}})}
    with pytest.raises(CloudError) as caught:
        cloud.flavors.listed()
    assert caught.value.reason is Reason.CLOUD_BUSY
