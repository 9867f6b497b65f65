"""The database's files are removed, replaced, emptied or overwritten while a controller uses them."""

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from peewee import OperationalError

from programs.database.file import SHORT_S, DatabaseFile
from programs.database.sqlite import Lost
from programs.database.watch import watched
from server.app import Controller
from server.db.connection import open_database
from server.db.models import Job, Worker
from server.db.opening import ForeignDatabase
from server.db.transactions import exclusive
from server.db.transitions import Change, create
from server.engine.records.database_owner import take_as_own, why_lost
from server.home.installation import installation_id
from server.settings import Settings
from server.states import JobState
from server.workers.clouds.local import LocalCloud
from tests.api.serving import listening
from tests.api.test_desktop import START
from tests.api.test_http import Door
from tests.conftest import eventually, state_of, submission, turning


def wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def shm(path: Path) -> Path:
    return path.with_name(f"{path.name}-shm")


def remove_main(path: Path) -> None:
    path.unlink()


def remove_log(path: Path) -> None:
    wal(path).unlink()


def remove_index(path: Path) -> None:
    shm(path).unlink()


def remove_all(path: Path) -> None:
    for file in (path, wal(path), shm(path)):
        file.unlink()


def another(path: Path) -> Path:
    """A sound database of another installation."""
    made = path.with_name("another.sqlite")
    connection = sqlite3.connect(made)
    with sqlite3.connect(path) as own:
        own.backup(connection)
    connection.execute("DELETE FROM job")
    connection.execute("INSERT OR REPLACE INTO switch VALUES ('installation', 'c0123456789ab', 0, 'controller')")
    connection.execute("PRAGMA application_id = 12345")
    connection.commit()
    connection.close()
    return made


def replace(path: Path) -> None:
    another(path).replace(path)


def replace_by_a_copy_of_its_own(path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def replace_by_another_programs(path: Path) -> None:
    made = path.with_name("strange.sqlite")
    with sqlite3.connect(made) as strange:
        strange.execute("CREATE TABLE recipe (name TEXT)")
    made.replace(path)


def replace_by_an_empty_file(path: Path) -> None:
    path.with_name("empty").touch()
    path.with_name("empty").replace(path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def overwrite(path: Path) -> None:
    path.write_bytes(another(path).read_bytes())


def overwrite_with_garbage(path: Path) -> None:
    path.write_bytes(b"garbage " * 4096)


def overwrite_with_another_schema(path: Path) -> None:
    made = path.with_name("old.sqlite")
    with sqlite3.connect(made) as old:
        old.execute("CREATE TABLE migration (number INTEGER PRIMARY KEY, at REAL NOT NULL)")
        old.execute("PRAGMA application_id = 77")
    path.write_bytes(made.read_bytes())


def cut(path: Path) -> None:
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size // 2)


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = (
    remove_main,
    remove_log,
    remove_index,
    remove_all,
    replace,
    replace_by_a_copy_of_its_own,
    replace_by_another_programs,
    replace_by_an_empty_file,
    empty,
    overwrite,
    overwrite_with_garbage,
    overwrite_with_another_schema,
    make_a_folder,
)
KEPT = (remove_log, remove_index)  # all that was committed is in the main file


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder but locks, which say nothing."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and not path.name.endswith("-shm")}


@pytest.fixture
def door(controller: Controller) -> Iterator[Door]:
    with listening(controller) as port:
        yield Door(port)


@pytest.fixture
def own(controller: Controller, settings: Settings) -> Controller:
    """With a database that says whose it is, and whose file has all of it."""
    take_as_own(controller.database, settings, installation_id(settings.home))
    controller.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return controller


@pytest.mark.parametrize("damage", DAMAGES)
def test_it_is_told_at_once_and_nothing_is_written(
    own: Controller, door: Door, settings: Settings, damage: Callable[[Path], None]
) -> None:
    job = own.jobs.submit(*submission())
    assert door.send("GET", "/healthz")[0] == 200
    damage(settings.database)
    before = contents(settings.home)
    status, body = door.send("GET", "/healthz")
    assert (status, body["error"]["code"]) == (503, "database_lost")
    assert str(settings.database) in body["error"]["message"]
    status, (said, nothing) = door.post("/start", START)
    assert (status, nothing, "lost" in said) == (200, "", True)
    for route in ("cancel", "delete"):
        status, said = door.send("GET", f"/{route}/ada/{job.id}")
        assert (status, "lost" in said) == (200, True)
    assert door.post("/search", {"owner": "ada"}) == (200, [])
    with pytest.raises(OperationalError, match="while it was in use"):
        own.loop.turn()
    with pytest.raises(Lost):
        Worker.update(message="x").execute()
    assert contents(settings.home) == before
    assert [path.name for path in own.storage.jobs.iterdir()] == [job.folder]


def a_job() -> int:
    """The number of a row that is made past the service."""
    fields = {"owner": "ada", "app": "a", "flavor": "f", "weight": 1, "settings": "{}", "folder": f"x{time.monotonic_ns()}"}
    return int(create(Job, Change(0.0), state=JobState.UPLOADING, **fields).id)


def test_a_transaction_that_was_begun_before_is_not_ended_after_it(own: Controller, settings: Settings) -> None:
    away = settings.database.with_name("away")

    def change() -> None:
        with exclusive(own.database):
            a_job()
            settings.database.rename(away)

    with pytest.raises(Lost):
        change()
    away.rename(settings.database)
    assert Job.select().count() == 0
    assert a_job()  # the file is in its place again, so all goes on


def test_a_file_that_was_cut_is_told_when_it_stays_short(tmp_path: Path) -> None:
    clock = [0.0]
    database = open_database(tmp_path / "cumulus.sqlite")
    mark = database.guard()
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    file = DatabaseFile(tmp_path / "cumulus.sqlite", mark, lambda: clock[0])
    cut(tmp_path / "cumulus.sqlite")
    assert file.failure() == ""  # as for a moment while SQLite writes
    clock[0] += SHORT_S
    assert "was cut short" in file.failure()
    database.close()


def test_a_checkpoint_a_vacuum_and_other_programs_are_no_loss(own: Controller, settings: Settings) -> None:
    for number in range(30):
        own.jobs.submit(*submission())
        with sqlite3.connect(settings.database, isolation_level=None) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)" if number % 2 else "VACUUM")
        other.close()
    assert own.database.failure() == ""
    own.database.close()  # the last connection takes its log away
    assert Job.select().count() == 30
    assert own.database.failure() == ""


def test_another_database_in_its_place_after_all_connections_were_closed_is_refused(own: Controller, settings: Settings) -> None:
    made = another(settings.database)
    own.database.close()
    made.replace(settings.database)
    with pytest.raises(OperationalError, match="was replaced by another database"):
        Job.select().count()


def test_the_log_tells_it_within_seconds_and_that_it_is_over(
    own: Controller, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[str] = []

    def told(words: str) -> bool:
        heard.append("".join(capsys.readouterr()))
        return words in "".join(heard)

    with watched(own.database, "restart it", poll_s=0.05):
        settings.database.rename(settings.database.with_name("away"))
        eventually(lambda: told("nothing more is written"))
        settings.database.with_name("away").rename(settings.database)
        eventually(lambda: told("in its place again"))
    assert "was removed while it was in use" in "".join(heard)
    assert "restart it" in "".join(heard)


def test_a_database_with_a_damaged_page_is_told_in_one_line(
    own: Controller, door: Door, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    own.jobs.submit(*submission())
    own.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    size = own.database.execute_sql("PRAGMA page_size").fetchone()[0]
    root = own.database.execute_sql("SELECT rootpage FROM sqlite_master WHERE name = 'job'").fetchone()[0]
    with settings.database.open("rb+") as file:
        file.seek((root - 1) * size)
        file.write(b"\xa5" * size)
    with turning(own):
        eventually(lambda: own.loop.damage is not None)
        status, body = door.send("GET", "/healthz")
        assert (status, body["error"]["code"]) == (503, "database_damaged")
        assert "cumulus db rebuild" in body["error"]["message"]
        assert door.send("GET", "/joblist/0/100") == (200, [])
    said = "".join(capsys.readouterr())
    assert "database_damaged" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("damage", KEPT)
def test_a_removed_log_loses_nothing(own: Controller, settings: Settings, damage: Callable[[Path], None]) -> None:
    jobs = [own.jobs.submit(*submission()).id for _ in range(5)]
    with watched(own.database, "restart it", poll_s=0.05):
        eventually(lambda: wal(settings.database).stat().st_size > 0)
        damage(settings.database)
        eventually(lambda: in_the_main_file(settings.database) == jobs)


def in_the_main_file(path: Path) -> list[int]:
    """The numbers of the jobs that a program sees that opens only that file."""
    copy = path.with_name("seen")
    shutil.copy(path, copy)
    with sqlite3.connect(copy) as seen:
        found = [number for (number,) in seen.execute("SELECT id FROM job ORDER BY id")]
    seen.close()
    return found


def test_a_job_at_work_goes_on_to_its_end(own: Controller, settings: Settings) -> None:
    job = own.jobs.submit(*submission(settings='{"text": "hello", "seconds": "2", "outcome": "ok"}'))
    folder = own.storage.folder(job.folder)
    folder.mark_arrived()
    with turning(own):
        eventually(lambda: state_of(job.id) is JobState.RUNNING)
        remove_all(settings.database)
        eventually(lambda: (folder.path / ".cumulus.result").exists())
    assert (folder.path / "output" / "result.txt").read_text() == "hello\n"
    assert not settings.database.exists()
    assert why_lost(settings, installation_id(settings.home)) == "it is not there"


@pytest.fixture
def stopped(own: Controller, settings: Settings, cloud: LocalCloud) -> Settings:
    """The settings of an installation with a job, whose controller has ended."""
    own.jobs.submit(*submission())
    own.database.close()
    assert not wal(settings.database).exists()
    return settings


def own_id(settings: Settings) -> str:
    return installation_id(settings.home)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (remove_main, "it is not there"),
        (empty, "it was empty"),
        (replace_by_an_empty_file, "it was empty"),
    ],
)
def test_a_start_without_a_database_makes_it_anew(stopped: Settings, damage: Callable[[Path], None], why: str) -> None:
    assert why_lost(stopped, own_id(stopped)) == ""
    damage(stopped.database)
    assert why_lost(stopped, own_id(stopped)) == why


def test_a_new_database_of_our_own_beside_jobs_is_made_anew(stopped: Settings) -> None:
    stopped.database.unlink()
    open_database(stopped.database).close()  # as a command of an earlier version made it
    assert why_lost(stopped, own_id(stopped)) == "it never had a job"


@pytest.mark.parametrize(
    ("damage", "words"), [(replace, "another installation"), (replace_by_another_programs, "another program")]
)
def test_a_start_with_somebody_elses_database_is_refused(stopped: Settings, damage: Callable[[Path], None], words: str) -> None:
    damage(stopped.database)
    before = stopped.database.read_bytes()
    with pytest.raises(ForeignDatabase, match=words):
        why_lost(stopped, own_id(stopped))
    assert stopped.database.read_bytes() == before


def test_a_database_without_an_id_belongs_to_the_storage_whose_jobs_it_knows(stopped: Settings) -> None:
    with sqlite3.connect(stopped.database) as former:
        former.execute("DELETE FROM switch WHERE name = 'installation'")
    assert why_lost(stopped, own_id(stopped)) == ""
    with sqlite3.connect(stopped.database) as former:
        former.execute("UPDATE job SET folder = 'Job_1_bob_probe_1.0_1'")
    with pytest.raises(ForeignDatabase):
        why_lost(stopped, own_id(stopped))


def test_an_older_copy_is_used_and_gives_no_number_again(own: Controller, settings: Settings) -> None:
    own.jobs.submit(*submission())
    with sqlite3.connect(settings.database) as now, sqlite3.connect(settings.database.with_name("backup")) as backup:
        now.backup(backup)
    newest = [own.jobs.submit(*submission()).id for _ in range(3)][-1]
    own.database.close()
    settings.database.with_name("backup").replace(settings.database)
    assert why_lost(settings, own_id(settings)) == ""
    database = open_database(settings.database)
    take_as_own(database, settings, own_id(settings))
    assert a_job() == newest + 1
    database.close()
