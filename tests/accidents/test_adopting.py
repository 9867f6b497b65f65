"""A storage is adopted after a loss, and the installation goes on: this start, the next one, and every command."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.storage.identity import identity_path
from tests.accidents.test_restarts import CUMULUS, Site, made
from tests.conftest import eventually

pytestmark = pytest.mark.system


@dataclass
class Apart(Site):
    """Its storage is not in its home."""

    @property
    def storage(self) -> Path:
        return self.top / "storage"

    @property
    def home(self) -> Path:
        return self.top / "home"

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "CUMULUS_STORAGE": str(self.storage)}

    def listed(self) -> dict[int, str]:
        told = self.command("jobs", "--json")
        assert told.returncode == 0, told.stderr
        return {one["id"]: one["state"].upper() for one in json.loads(told.stdout)}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Apart]:
    with made(tmp_path, Apart) as found:
        assert isinstance(found, Apart)
        yield found


def lose_the_home(site: Apart) -> None:
    shutil.rmtree(site.home)


def lose_home_and_id(site: Apart) -> None:
    shutil.rmtree(site.home)
    identity_path(site.storage).unlink()


def lose_the_home_and_spoil_the_id(site: Apart) -> None:
    shutil.rmtree(site.home)
    identity_path(site.storage).write_text("garbage")


def spoil_the_id(site: Apart) -> None:
    identity_path(site.storage).write_text("garbage")


def lose_the_storage(site: Apart) -> None:
    shutil.rmtree(site.storage)
    site.storage.mkdir()


def lose_the_homes_id(site: Apart) -> None:
    (site.home / "installation-id").unlink()
    shutil.rmtree(site.home / "terraform", ignore_errors=True)
    (site.home / "terraform" / "local-worker" / "state").mkdir(parents=True)


LOSSES = (lose_the_home, lose_home_and_id, lose_the_home_and_spoil_the_id, spoil_the_id, lose_the_storage, lose_the_homes_id)


@pytest.mark.parametrize("lose", LOSSES)
def test_it_goes_on_after_each_loss_and_each_start_after_it(site: Apart, lose: Callable[[Apart], None]) -> None:
    site.start()
    job = site.submit("a")
    eventually(lambda: site.state(job) == "DONE")
    assert site.command("drain", "--reason", "the roof leaks").returncode == 0
    eventually(lambda: "the roof leaks" in (site.storage / ".cumulus.ledger" / "switches").read_text())
    site.stop()
    lose(site)
    site.start()
    assert site.ended(), site.log()
    assert "cumulus storage adopt" in site.log()
    told = site.command("storage", "adopt")
    assert told.returncode == 0, told.stderr
    for _ in range(2):
        site.start()
        assert site.ended() is None, site.log()
        assert site.listed() == {job: "DONE"}
        site.stop()
        assert site.listed() == {job: "DONE"}


def test_a_running_controller_keeps_its_storage(site: Apart) -> None:
    site.start()
    own = identity_path(site.storage).read_text()
    other = Apart(site.top / "other")
    environment = {**site.environment, "CUMULUS_HOME": str(other.home)}
    identity_path(site.storage).unlink()
    command = [CUMULUS, "storage", "adopt"]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert told.returncode == 1
    assert "works on the storage" in told.stderr or "belongs to the installation" in told.stderr
    eventually(lambda: identity_path(site.storage).is_file())
    assert json.loads(identity_path(site.storage).read_text())["installation"] == json.loads(own)["installation"]
    identity_path(site.storage).write_text(own.replace(json.loads(own)["installation"], "c0123456789ab"))
    eventually(lambda: site.ask("/healthz").status_code == 503)
    assert site.ask("/healthz").json()["error"]["code"] == "storage_taken"
    identity_path(site.storage).unlink()
    eventually(lambda: site.ask("/healthz").status_code == 200)
    job = site.submit("a")
    eventually(lambda: site.state(job) == "DONE")
