"""Waiting for a cloud that takes its time, and has bad moments meanwhile."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from server.errors import CloudError, InvalidInput
from server.reasons import Reason
from server.settings import Settings, load_settings
from server.workers.clouds.openstack.client.access import Access, told_to_terraform
from server.workers.clouds.openstack.resources import Limits, Resources
from server.workers.clouds.openstack.resuming import ADDRESSES, Resumption
from server.workers.clouds.openstack.waiting import Limit, Waiting
from server.workers.terraform.process import TerraformError
from tests.workers.clouds.openstack.double import OURS, Double
from tests.workers.clouds.openstack.test_resuming import JOB, Recorded

BUSY = CloudError("it gets too many requests", Reason.CLOUD_BUSY)


class Clock:
    """Goes on by what is paused."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def looks(*found: object) -> Any:
    """A look that finds those, one after the other, and the last for ever."""
    ahead = list(found)

    def look() -> object:
        one = ahead.pop(0) if len(ahead) > 1 else ahead[0]
        if isinstance(one, Exception):
            raise one
        return one

    return look


def test_bad_moments_end_no_waiting(clock: Clock) -> None:
    waiting = Waiting(clock, clock.pause, patience_s=2)
    assert waiting.until(looks(*[None, BUSY, BUSY] * 40, "there"), Limit(1000), "late") == "there"


def test_a_cloud_that_answers_nothing_for_longer_than_the_patience_does(clock: Clock) -> None:
    with pytest.raises(CloudError, match="too many requests"):
        Waiting(clock, clock.pause, patience_s=5).until(looks(None, BUSY), Limit(1000), "late")
    assert clock.now < 10


def test_another_refusal_ends_it_at_once(clock: Clock) -> None:
    with pytest.raises(CloudError, match="no"):
        Waiting(clock, clock.pause).until(looks(CloudError("no", Reason.CLOUD_REFUSED)), Limit(1000), "late")
    assert clock.now == 0


def test_the_limit_is_named(clock: Clock, settings: Settings) -> None:
    with pytest.raises(CloudError, match="is not ready after 3600 s: the setting openstack_volume_create_s is the limit"):
        Waiting(clock, clock.pause).until(looks(None), Limit.of(settings, "volume_create"), "the copy is not ready")


class Slow(Recorded):
    """Terraform that waits for a volume no longer than ``limit_s``; the copy goes on, and ends after ``copy_s``."""

    def __init__(self, home: Path, api: Double, clock: Clock, limit_s: float, copy_s: float) -> None:
        super().__init__(home)
        self.api, self.clock, self.limit_s, self.copy_s = api, clock, limit_s, copy_s
        self.volume = ""
        self.applied = 0

    def apply(self, workspace: str, variables: Mapping[str, object], timeout_s: float) -> dict[str, Any]:
        self.applied += 1
        self.store.variable_files.write(workspace, variables)
        if not self.volume:
            self.volume = self.api.add_volume(workspace, status="copying")
            self.write(volume=(self.volume, True))
        if not self.adopted:
            self.clock.now += self.limit_s
            self.api.volumes[self.volume]["status"] = "downloading"
            raise TerraformError(
                f"Error waiting for openstack_blockstorage_volume_v3 {self.volume} to become ready: timeout "
                "while waiting for state to become 'available'"
            )
        return {"id": "1"}


def made_in(copy_s: float, limit_s: float, api: Double, clock: Clock, settings: Settings, home: Path) -> Slow:
    """A machine whose disk is copied for ``copy_s``."""
    module = Slow(home, api, clock, limit_s, copy_s)

    def pause(seconds: float) -> None:
        clock.pause(seconds)
        if module.volume and clock.now >= copy_s:
            api.volumes[module.volume]["status"] = "available"

    waiting = Waiting(clock, pause)
    holdings = Resources(Access(settings), OURS, Limits.of(settings), waiting)
    resumption = Resumption(holdings, waiting, Limit(limit_s, "openstack_volume_create_s"), Limit(60))
    resumption.make(module, JOB, {"worker": JOB}, 100)
    return module


def test_a_copy_that_takes_longer_than_its_limit_is_gone_on_with(
    api: Double, clock: Clock, settings: Settings, tmp_path: Path
) -> None:
    module = made_in(90, 60, api, clock, settings, tmp_path)
    assert module.applied == 2
    assert module.adopted == {ADDRESSES["volume"]: module.volume}
    assert list(api.volumes) == [module.volume]


def test_a_copy_that_never_ends_is_given_up_and_the_limit_named(
    api: Double, clock: Clock, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(CloudError, match="still being copied: the setting openstack_volume_create_s is the limit"):
        made_in(1e9, 60, api, clock, settings, tmp_path)
    assert 120 < clock.now < 150


def test_our_own_limits_are_no_shorter_than_what_terraform_waits_for(settings: Settings) -> None:
    limits = told_to_terraform(settings)["limits"]
    assert limits == settings.terraform_limits()
    parts = [settings.openstack_volume_create_s, settings.openstack_port_create_s, settings.openstack_server_create_s]
    assert settings.making_limit_s > sum(parts)
    assert settings.removal_limit_s > 600 + 300 + 600
    assert settings.provisioning_limit_s >= settings.making_limit_s + settings.openstack_volume_create_s


def test_an_attempt_that_would_end_before_terraform_gives_up_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"cloud": "openstack", "home": tmp_path}
    with pytest.raises(InvalidInput, match=r"provisioning_timeout_s = 1800 would end .* openstack_volume_create_s"):
        load_settings(**given, provisioning_timeout_s=1800)
    assert load_settings(**given, provisioning_timeout_s=0).provisioning_limit_s == 0
    assert load_settings(**given, provisioning_timeout_s=1800, openstack_volume_create_s=300).provisioning_limit_s == 1800
    assert load_settings(home=tmp_path, provisioning_timeout_s=60).provisioning_limit_s == 60
