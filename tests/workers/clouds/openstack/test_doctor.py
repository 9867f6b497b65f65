"""What the doctor says of an OpenStack cloud: each trouble in one line, and what else there is to say all the same."""

import re
import time
from pathlib import Path

from server.services.doctor import examine
from server.services.principal import Principal
from server.settings import Settings
from tests.workers.clouds.openstack.conftest import give_password
from tests.workers.clouds.openstack.double import Double


def missing(settings: Settings) -> list[tuple[str, str]]:
    """Name and text of what is not well with the cloud; this computer is no controller."""
    found = [(one.name, one.text) for one in examine(Principal.local_admin("root"), settings) if not one.ok]
    return [(name, text) for name, text in found if name in ("cloud openstack", "quota", "snapshot", "flavors")]


def test_a_cloud_that_lets_nobody_in_says_so_once(settings: Settings, api: Double, tmp_path: Path) -> None:
    give_password(tmp_path, api, "wrong")
    told = [text for _, text in missing(settings)]
    assert len([text for text in told if "does not accept the credentials" in text]) == 1
    assert not [text for text in told if "snapshot" in text]


def test_a_cloud_that_does_not_answer_says_so_once_and_soon(settings: Settings, tmp_path: Path) -> None:
    """A controller would go on asking for a minute, and each of three requests alone (170 s in all)."""
    settings = settings.model_copy(update={"openstack_retries": Settings.model_fields["openstack_retries"].default})
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text(re.sub("http://[^/]*/", "http://127.0.0.1:9/", clouds.read_text()))
    begin = time.monotonic()
    assert len([text for _, text in missing(settings) if text.startswith("the OpenStack cloud: it does not answer")]) == 1
    assert time.monotonic() - begin < 30


def test_the_cloud_s_trouble_is_told_once_beside_a_setting_that_is_missing(
    settings: Settings, api: Double, tmp_path: Path
) -> None:
    give_password(tmp_path, api, "wrong")
    told = [text for _, text in missing(settings.model_copy(update={"openstack_network": ""}))]
    assert any("the setting openstack_network is empty" in text for text in told)
    assert len([text for text in told if "does not accept the credentials" in text]) == 1


def test_a_snapshot_that_is_missing_is_told_where_all_else_is_well(settings: Settings) -> None:
    (told,) = [text for name, text in missing(settings) if name == "snapshot"]
    assert "the cloud has no promoted snapshot of cumulus-template" in told


def test_a_service_that_fails_after_the_others_were_asked_is_told(settings: Settings, api: Double) -> None:
    api.failing["snapshots/detail"] = (403, {"forbidden": {"message": "Policy doesn't allow volume:get_all_snapshots"}})
    assert any("the credentials do not allow that" in text for _, text in missing(settings))


def test_a_table_of_flavors_that_cannot_be_read_hides_nothing_else(settings: Settings, api: Double) -> None:
    api.networks = []
    settings.flavors.unlink()
    names = [name for name, _ in missing(settings)]
    assert "flavors" in names
    assert any("no network cumulus" in text for _, text in missing(settings))
