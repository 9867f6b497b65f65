"""A storage stays with the controller that holds it, whatever becomes of the files that say so."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.app import Controller, make_controller
from server.db.models import Job
from server.engine.records.storage_owner import adopt_storage, own_storage
from server.home.installation import installation_id
from server.settings import Settings
from server.storage.folders import StorageUnusable, folder_name
from server.storage.holding import Hold, StorageTaken
from server.storage.identity import StorageInUse, identity_path, read_identity
from server.workers.clouds.local import LocalCloud
from tests.api.serving import listening
from tests.api.test_desktop import START
from tests.api.test_http import Door
from tests.conftest import eventually, submission

OTHER = '{"installation": "c0123456789ab", "since": 0}'


@pytest.fixture
def own(settings: Settings) -> str:
    return installation_id(settings.home)


@pytest.fixture
def hold(settings: Settings) -> Iterator[Hold]:
    with own_storage(settings) as held:
        (settings.storage / "jobs").mkdir()
        yield held


@pytest.fixture
def other(settings: Settings, tmp_path: Path) -> Settings:
    """Another installation that is set to the same storage."""
    return settings.model_copy(update={"home": tmp_path / "other", "database": tmp_path / "other" / "cumulus.sqlite"})


def remove_the_id(root: Path) -> None:
    identity_path(root).unlink()


def spoil_the_id(root: Path) -> None:
    identity_path(root).write_text("garbage")


def make_the_id_a_folder(root: Path) -> None:
    identity_path(root).unlink()
    identity_path(root).mkdir()


def remove_the_lock(root: Path) -> None:
    (root / ".cumulus.ledger" / "lock").unlink()


def remove_all_that_tells(root: Path) -> None:
    identity_path(root).unlink()
    shutil.rmtree(root / ".cumulus.ledger")


LOSSES = (remove_the_id, spoil_the_id, make_the_id_a_folder, remove_the_lock, remove_all_that_tells)


@pytest.mark.parametrize("lose", LOSSES)
def test_what_is_lost_is_made_again_and_held(
    settings: Settings, other: Settings, own: str, hold: Hold, lose: Callable[[Path], None]
) -> None:
    lose(settings.storage)
    hold.look(own)
    hold.require_own()
    assert read_identity(settings.storage) == own
    shutil.copytree(settings.home, other.home)
    for name in (".cumulus-installation", ".cumulus.ledger/lock"):  # each alone keeps others out
        (settings.storage / name).rename(settings.storage / "away")
        with pytest.raises(StorageInUse), own_storage(other):
            pass
        for again in (settings.storage / name).parent.glob((settings.storage / name).name):
            again.unlink()
        (settings.storage / "away").rename(settings.storage / name)


def test_it_is_looked_after_while_it_is_held(settings: Settings, own: str, hold: Hold) -> None:
    with hold.kept(own):
        remove_the_id(settings.storage)
        eventually(lambda: identity_path(settings.storage).exists())
        identity_path(settings.storage).write_text(OTHER)
        eventually(lambda: bool(_refusal(hold)))


def _refusal(hold: Hold) -> str:
    try:
        hold.require_own()
    except StorageTaken as problem:
        return problem.message
    return ""


@pytest.mark.parametrize("lose", [remove_the_id, spoil_the_id])
def test_nobody_adopts_what_a_controller_works_on(
    settings: Settings, other: Settings, hold: Hold, lose: Callable[[Path], None]
) -> None:
    lose(settings.storage)
    before = sorted(settings.storage.rglob("*"))
    with pytest.raises(StorageInUse):
        adopt_storage(other)
    assert sorted(settings.storage.rglob("*")) == before


def test_who_comes_in_between_is_kept_out_and_leaves_no_id(settings: Settings, tmp_path: Path, hold: Hold) -> None:
    """A copy of the home that has an id of its own knows the jobs, so that only the lock keeps it out."""
    remove_the_id(settings.storage)
    copied = settings.model_copy(update={"home": tmp_path / "copied"})
    with pytest.raises(StorageInUse), own_storage(copied):
        pass
    assert not identity_path(settings.storage).exists()


def test_another_installations_storage_takes_nothing_until_it_is_ours_again(settings: Settings, own: str, hold: Hold) -> None:
    controller = make_controller(settings, LocalCloud(settings, own), require_storage=hold.require_own)
    with listening(controller) as port:
        door = Door(port)
        job = controller.jobs.submit(*submission())
        identity_path(settings.storage).write_text(OTHER)
        hold.look(own)
        before = sorted(settings.storage.rglob("*"))
        status, body = door.send("GET", "/healthz")
        assert (status, body["error"]["code"]) == (503, "storage_taken")
        assert "c0123456789ab" in body["error"]["message"]
        status, (said, nothing) = door.post("/start", START)
        assert (status, nothing, "c0123456789ab" in said) == (200, "", True)
        assert "c0123456789ab" in door.send("GET", f"/delete/ada/{job.id}")[1]
        with pytest.raises(StorageTaken):
            controller.loop.turn()
        assert sorted(settings.storage.rglob("*")) == before
        remove_the_id(settings.storage)
        hold.look(own)
        assert door.send("GET", "/healthz")[0] == 200
        assert controller.jobs.submit(*submission()).id == job.id + 1
    controller.database.close()


@pytest.mark.parametrize("is_empty_place", [True, False])
def test_a_storage_that_is_away_is_no_loss(settings: Settings, own: str, hold: Hold, *, is_empty_place: bool) -> None:
    away = settings.storage.rename(settings.storage.with_name("away"))
    if is_empty_place:
        settings.storage.mkdir()
    hold.look(own)
    hold.require_own()
    if is_empty_place:
        assert list(settings.storage.iterdir()) == []
        settings.storage.rmdir()
    away.rename(settings.storage)
    hold.look(own)
    hold.require_own()


def test_a_jobs_folder_that_is_there_already_is_not_taken(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another controller, whose user has the same name: it gave the same number in the same second."""
    monkeypatch.setattr(controller.jobs._store, "_clock", lambda: 1_700_000_000.0)
    who, asked = submission()
    theirs = controller.storage.folder(folder_name(1, who.name, asked.app, 1_700_000_000.0))
    theirs.create('{"whose": "theirs"}')
    with pytest.raises(StorageUnusable, match="exists"):
        controller.jobs.submit(who, asked)
    assert theirs.private_text("settings") == '{"whose": "theirs"}'
    assert (Job.select().count(), controller.storage.ledger.submitting()) == (0, [])
