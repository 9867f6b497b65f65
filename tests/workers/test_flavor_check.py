"""The machine sizes of flavors.tsv beside those of a cloud."""

import pytest

from server.catalog.flavors import Flavor
from server.workers.clouds.capabilities import CloudFlavor
from server.workers.flavor_check import Difference, compare, in_whole_gb

FLAVOR = Flavor("m1", weight=1, cpus=4, memory_gb=16)


def only(flavor: Flavor, *sizes: CloudFlavor, disk_gb: int = 20) -> Difference:
    (found,) = compare([flavor], sizes, disk_gb)
    return found


def test_what_is_the_same_is_not_told() -> None:
    assert compare([FLAVOR], [CloudFlavor("m1", 4, 16.0), CloudFlavor("m2", 8, 32.0)], 20) == []


def test_a_size_that_the_cloud_lacks_cannot_be_corrected_but_may_have_a_twin() -> None:
    found = only(FLAVOR, CloudFlavor("c2.small", 4, 16.0), CloudFlavor("c2.large", 8, 16.0))
    assert (found.text, found.cells) == ("the cloud has no such size", {})
    assert found.cure.endswith("or name one of its size: c2.small")
    assert "c2" not in only(FLAVOR, CloudFlavor("c2.large", 8, 16.0)).cure


def test_every_number_that_differs_is_told_at_once() -> None:
    found = only(FLAVOR, CloudFlavor("m1", 8, 32.0, least_disk_gb=40))
    assert (
        found.text
        == "CPU is 4, the cloud has 8; RAM is 16, the cloud has 32 GB; DISK is 20 by worker_disk_gb, the snapshot needs 40"
    )
    assert found.cells == {"CPU": 8, "RAM": 32, "DISK": 40}
    assert found.cure == "write CPU 8, RAM 32, DISK 40 into its line"


def test_a_disk_may_be_larger_than_the_snapshot_needs_and_not_smaller() -> None:
    large, small = Flavor("m1", 1, 4, 16, 100), Flavor("m1", 1, 4, 16, 30)
    assert compare([large], [CloudFlavor("m1", 4, 16.0, 40)], 20) == []
    assert only(small, CloudFlavor("m1", 4, 16.0, 40)).text == "DISK is 30, the snapshot needs 40"


@pytest.mark.parametrize(("cloud_gb", "file_gb"), [(0.5, 1), (15.625, 16), (16.0, 16), (16.4, 16), (29.3, 29)])
def test_memory_is_compared_as_the_file_can_say_it(cloud_gb: float, file_gb: int) -> None:
    assert in_whole_gb(cloud_gb) == file_gb
    assert compare([Flavor("m1", 1, 4, file_gb)], [CloudFlavor("m1", 4, cloud_gb)], 20) == []
    assert only(Flavor("m1", 1, 4, file_gb + 1), CloudFlavor("m1", 4, cloud_gb)).cells == {"RAM": file_gb}
