"""What the Makefile refuses."""

import pytest

from tests.scripts.checkout import Checkout


@pytest.mark.parametrize("cloud", ["nonsense", "qemu local", ""])
@pytest.mark.parametrize("target", ["demo", "help", "clean", "setup"])
def test_an_unknown_cloud_is_refused_in_a_line_by_every_target(checkout: Checkout, target: str, cloud: str) -> None:
    result = checkout.run("make", target, f"CLOUD={cloud}")
    assert result.code != 0
    assert len(result.lines) == 1
    assert f"CLOUD can be qemu, openstack or local; '{cloud}' is none of them" in result.text
    assert not (checkout.world / "calls").exists() or checkout.calls("apt-get") == []
