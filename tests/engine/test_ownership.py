"""A storage is taken only by the installation that it belongs to."""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from server.app import Controller, rebuild_database
from server.cli.main import main
from server.db.connection import open_database
from server.db.models import Job
from server.db.opening import OWNER
from server.db.settings_store import drain, read_setting, why_drained
from server.db.transitions import Change
from server.engine.records.database_owner import take_as_own, why_lost
from server.engine.records.manifests import Manifests
from server.engine.records.storage_owner import StorageNotOurs, adopt_storage, own_storage, require_own_storage
from server.home.installation import IdLost, installation_id
from server.progress import Lines
from server.settings import Settings
from server.storage.identity import IdentityUnreadable, StorageInUse, identity_path, read_identity, write_identity
from tests.conftest import submission
from tests.engine.former_site import FormerSite


@pytest.fixture
def other(settings: Settings, tmp_path: Path) -> Settings:
    """Another installation that is set to the same storage."""
    return settings.model_copy(update={"home": tmp_path / "other", "database": tmp_path / "other" / "cumulus.sqlite"})


@pytest.fixture
def upgraded(controller: Controller) -> Settings:
    """An installation of a version without ids: some jobs, their folders, its database."""
    for _ in range(3):
        controller.jobs.submit(*submission())
    controller.database.close()
    return controller.settings


def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    values = {"HOME": settings.home, "APPS": settings.apps, "FLAVORS": settings.flavors, "STORAGE": settings.storage}
    for name, value in {**values, "CLOUD": "local"}.items():
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))
    return CliRunner().invoke(main, list(arguments))


def test_an_empty_storage_gets_the_id_of_who_comes_first(settings: Settings, other: Settings) -> None:
    require_own_storage(settings)
    assert read_identity(settings.storage) == installation_id(settings.home)
    with pytest.raises(StorageNotOurs, match="belongs to the installation"):
        require_own_storage(other)
    require_own_storage(settings)


def test_of_many_that_come_at_once_one_gets_it(settings: Settings, tmp_path: Path) -> None:
    ids = [f"c{number}" for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda one: write_identity(settings.storage, one), ids))
    assert len(found) == 1
    assert [path.name for path in settings.storage.iterdir()] == [".cumulus-installation"]


def test_an_upgrade_needs_no_word(upgraded: Settings) -> None:
    require_own_storage(upgraded)
    assert read_identity(upgraded.storage) == installation_id(upgraded.home)


def test_folders_that_the_own_database_does_not_know_are_refused(upgraded: Settings, other: Settings) -> None:
    with pytest.raises(StorageNotOurs, match="holds 3 job folders") as refused:
        require_own_storage(other)
    assert "cumulus storage adopt" in refused.value.message
    assert read_identity(upgraded.storage) is None


def test_a_former_servers_storage_is_refused_before_anything_is_written(settings: Settings, tmp_path: Path) -> None:
    site = FormerSite(tmp_path / "former")
    site.add()
    site.add("CANCELLED")
    before = site.snapshot()
    theirs = settings.model_copy(update={"storage": site.storage})
    for take in (require_own_storage, adopt_storage):
        with pytest.raises(StorageNotOurs, match="import-former"):
            take(theirs)
    assert site.snapshot() == before


def test_a_storage_that_is_not_mounted_is_not_taken_for_a_new_one(upgraded: Settings) -> None:
    require_own_storage(upgraded)
    away = upgraded.storage.rename(upgraded.storage.with_name("unmounted"))
    upgraded.storage.mkdir()
    with pytest.raises(StorageNotOurs, match="is it mounted"):
        require_own_storage(upgraded)
    upgraded.storage.rmdir()
    away.rename(upgraded.storage)
    require_own_storage(upgraded)


def test_a_lost_database_needs_no_word(upgraded: Settings) -> None:
    require_own_storage(upgraded)
    upgraded.database.unlink()
    require_own_storage(upgraded)


def test_a_lost_home_is_replaced_on_purpose_and_finds_its_machines_again(
    upgraded: Settings, other: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_own_storage(upgraded)
    was = installation_id(upgraded.home)
    shutil.rmtree(upgraded.home / "terraform", ignore_errors=True)
    told = run(other, monkeypatch, "db", "rebuild")
    assert told.exit_code == 1
    assert "cumulus storage adopt" in told.stderr
    told = run(other, monkeypatch, "storage", "adopt")
    assert told.exit_code == 0, told.stderr
    assert "takes the place of the lost home" in told.stdout
    assert installation_id(other.home) == was
    assert run(other, monkeypatch, "db", "rebuild").exit_code == 0
    open_database(other.database)
    assert [job.id for job in Job.select().order_by(Job.id)] == [1, 2, 3]


def test_a_home_with_jobs_of_its_own_takes_no_other_storage(upgraded: Settings, other: Settings, tmp_path: Path) -> None:
    write_identity(tmp_path / "foreign", "c0ffee")
    with pytest.raises(StorageNotOurs, match="has jobs or machines of its own"):
        adopt_storage(upgraded.model_copy(update={"storage": tmp_path / "foreign"}))
    assert installation_id(upgraded.home) != "c0ffee"


def test_job_folders_without_an_id_are_adopted_on_purpose(upgraded: Settings, other: Settings) -> None:
    assert "the next start makes the database" in adopt_storage(other)
    require_own_storage(other)
    assert "already" in adopt_storage(other)
    with pytest.raises(StorageNotOurs):
        require_own_storage(upgraded)


@pytest.mark.parametrize("kind", ["empty", "garbage", "folder", "fifo", "link", "huge"])
def test_an_id_that_cannot_be_read_is_named_and_set_aside_on_purpose(upgraded: Settings, kind: str) -> None:
    path = identity_path(upgraded.storage)
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/etc/hostname")
    else:
        path.write_text({"empty": "", "garbage": json.dumps({"installation": "../x"}), "huge": " " * 100_000}[kind])
    with pytest.raises(IdentityUnreadable, match="cumulus storage adopt"):
        require_own_storage(upgraded)
    adopt_storage(upgraded)
    require_own_storage(upgraded)
    assert len(list(upgraded.storage.glob(".cumulus-installation.unreadable-*"))) == 1


def test_a_copy_of_the_home_finds_the_storage_in_use(settings: Settings, other: Settings) -> None:
    with own_storage(settings):
        shutil.copytree(settings.home, other.home)
        with pytest.raises(StorageInUse, match="another controller"), own_storage(other):
            pass
    with own_storage(other):
        pass


def test_a_killed_holder_holds_nothing(settings: Settings) -> None:
    require_own_storage(settings)
    code = (
        "import pathlib, sys; from server.storage.holding import Hold\n"
        "Hold(pathlib.Path(sys.argv[1])).take(); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(settings.storage)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.readline()
    with pytest.raises(StorageInUse), own_storage(settings):
        pass
    child.kill()
    child.communicate()
    with own_storage(settings):
        pass


@pytest.mark.parametrize(
    "command",
    [("serve", "--port", "0"), ("db", "rebuild"), ("storage", "clean"), ("storage", "restore", "1")],
    ids=["serve", "rebuild", "clean", "restore"],
)
def test_what_writes_is_refused_on_a_storage_of_another(
    upgraded: Settings, other: Settings, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    require_own_storage(upgraded)
    if is_for_who_has_one := command[0] == "storage":
        installation_id(other.home)
        open_database(other.database).close()
    before = sorted(str(path) for path in upgraded.storage.rglob("*"))
    told = run(other, monkeypatch, *command)
    assert told.exit_code == 1
    assert "belongs to the installation" in told.stderr
    assert sorted(str(path) for path in upgraded.storage.rglob("*")) == before
    assert other.database.exists() is is_for_who_has_one


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("db", "rebuild"), ("storage", "adopt")], ids=lambda one: one[0])
def test_a_pipe_in_the_databases_place_is_named_and_holds_nobody_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    (settings.storage / "jobs" / "Job_1_ada_probe_1.0_1700000000").mkdir(parents=True)
    settings.home.mkdir(parents=True, exist_ok=True)
    os.mkfifo(settings.database)
    told = run(settings, monkeypatch, *command)
    if told.exit_code == 0:
        assert command == ("storage", "adopt")  # asks no database of this installation
    else:
        assert f"{settings.database}" in told.stderr
        assert "a pipe (FIFO)" in told.stderr


def test_an_id_that_the_home_has_lost_is_had_back_from_the_storage(settings: Settings) -> None:
    own = installation_id(settings.home)
    require_own_storage(settings)
    (settings.home / "terraform" / "local-worker" / "state").mkdir(parents=True)
    (settings.home / "installation-id").unlink()
    with pytest.raises(IdLost, match="cumulus storage adopt"):
        installation_id(settings.home)
    assert f"({own}) already" in adopt_storage(settings)
    assert installation_id(settings.home) == own
    (settings.home / "installation-id").write_text("garbage\0")  # the copy beside Terraform's files knows it from now on
    assert installation_id(settings.home) == own


def test_an_id_that_home_and_storage_have_lost_is_not_made_up(settings: Settings) -> None:
    require_own_storage(settings)
    (settings.home / "terraform" / "local-worker" / "state").mkdir(parents=True)
    (settings.home / "installation-id").unlink()
    identity_path(settings.storage).write_text("garbage")
    with pytest.raises(IdLost):
        adopt_storage(settings)
    assert identity_path(settings.storage).read_text() == "garbage"


def test_a_storage_adopted_without_its_id_takes_no_switch_of_the_former_home_for_its_own(
    controller: Controller, settings: Settings, other: Settings
) -> None:
    """The storage remembers whose its database was, beside the other switches."""
    job = controller.jobs.submit(*submission())
    take_as_own(controller.database, settings, installation_id(settings.home))
    drain("the roof leaks", Change(1.0, who="root"))
    Manifests(controller.storage).keep_up()
    ledger = controller.storage.ledger
    of_then = {"name": OWNER, "value": installation_id(settings.home), "at": 1.0, "who": "controller"}
    ledger.keep_switches(json.dumps([*json.loads(ledger.switches_text()), of_then]))  # as an earlier version wrote them
    controller.database.close()
    identity_path(settings.storage).write_text("garbage")
    adopt_storage(other)
    own = installation_id(other.home)
    assert why_lost(other, own) == "it is not there"
    rebuild_database(other, time.time(), Lines(lambda _: None))
    assert why_lost(other, own) == ""
    database = open_database(other.database)
    take_as_own(database, other, own)
    assert (why_drained(), read_setting(OWNER), Job.get().id) == ("the roof leaks", own, job.id)
    database.close()


def test_a_submission_that_was_broken_off_does_not_make_the_database_an_old_one(
    controller: Controller, settings: Settings
) -> None:
    job = controller.jobs.submit(*submission())
    name = f"Job_{job.id + 1}_ada_probe_1.0_1700000000"
    controller.storage.ledger.begin(job.id + 1, name)
    controller.storage.folder(name).create("{}")
    with capture_logs() as said:
        take_as_own(controller.database, settings, installation_id(settings.home))
        controller.jobs.finish_interrupted()
    assert [one["event"] for one in said] == ["an interrupted submission is forgotten"]
    assert not controller.storage.folder(name).path.exists()
    assert controller.jobs.submit(*submission()).id == job.id + 2


def test_a_former_folder_that_was_not_taken_over_is_no_job_of_a_rebuild(settings: Settings, tmp_path: Path) -> None:
    site = FormerSite(tmp_path / "former")
    site.add("CANCELLED")
    (site.folder(1) / ".cumulus.stop").unlink()
    theirs = settings.model_copy(update={"storage": site.storage})
    write_identity(site.storage, installation_id(theirs.home))
    made = rebuild_database(theirs, time.time(), Lines(lambda _: None))
    assert (made.jobs, made.left_alone) == ({}, (site.folder(1).name,))
