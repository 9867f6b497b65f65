"""A log that a killed controller left beside its database, and a backup that is put in the database's place."""

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.cli.main import main
from server.db.connection import open_database
from server.db.dialects.own_log import begin_log, has_foreign_log, require_sound
from server.db.errors import DatabaseDamaged
from server.db.models import Job
from server.db.transitions import Change, create
from server.engine.records.database_owner import take_as_own
from server.home.installation import installation_id
from server.settings import Settings
from server.states import JobState

JOBS = 300


@pytest.fixture
def home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """For commands."""
    monkeypatch.setenv("CUMULUS_HOME", str(settings.home))
    monkeypatch.setenv("CUMULUS_CLOUD", "local")
    monkeypatch.setenv("CUMULUS_FLAVORS", str(settings.flavors))
    monkeypatch.setenv("CUMULUS_APPS", str(settings.apps))
    return settings


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words, catch_exceptions=False)


def add_jobs(number: int) -> None:
    for _ in range(number):
        fields = {"owner": "ada", "app": "a", "flavor": "f", "weight": 1, "settings": "{}", "folder": f"x{time.monotonic_ns()}"}
        create(Job, Change(0.0, text="x" * 300), state=JobState.UPLOADING, **fields)


@pytest.fixture
def backup(home: Settings, tmp_path: Path) -> Iterator[Path]:
    """Of an installation whose controller was killed later, with a log beside its database."""
    database = open_database(home.database)
    take_as_own(database, home, installation_id(home.home))
    begin_log(database, home.database)
    add_jobs(JOBS)
    made = tmp_path / "backup"
    assert run("db", "backup", str(made)).exit_code == 0
    add_jobs(JOBS)
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    add_jobs(JOBS)
    for suffix in ("", "-wal"):  # as a kill leaves them: nobody closes the database
        shutil.copy(f"{home.database}{suffix}", tmp_path / f"killed{suffix}")
    database.close()
    home.database.with_name("cumulus.sqlite-shm").unlink(missing_ok=True)
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / f"killed{suffix}", f"{home.database}{suffix}")
    yield made
    Job._meta.database.close()


def jobs_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as found:
        assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(found.execute("SELECT count(*) FROM job").fetchone()[0])


def test_the_log_of_a_killed_controller_is_its_own(backup: Path, settings: Settings) -> None:
    assert backup.exists()
    require_sound(settings.database)
    assert jobs_of(settings.database) == 3 * JOBS


def test_a_backup_does_not_get_the_log_of_what_was_in_its_place(
    backup: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(backup, settings.database)  # into the same file
    assert has_foreign_log(settings.database)
    require_sound(settings.database)
    assert "was another database's" in "".join(capsys.readouterr())
    assert len(list(settings.home.glob("cumulus.sqlite.before-*-wal"))) == 1
    assert jobs_of(settings.database) == JOBS


@pytest.mark.parametrize("words", [("jobs",), ("queue",), ("priority", "1", "5"), ("db", "backup")])
def test_no_command_mixes_them(backup: Path, settings: Settings, words: tuple[str, ...]) -> None:
    shutil.copy(backup, settings.database)
    said = run(*words)
    assert said.exit_code == 1
    assert said.output.count("\n") == 1
    assert "is of the database that was in its place before" in said.output
    assert settings.database.read_bytes() == backup.read_bytes()


def test_a_copy_of_an_earlier_start_is_told_from_the_file_of_this_one(backup: Path, settings: Settings, tmp_path: Path) -> None:
    assert backup.exists()
    database = open_database(settings.database)
    database.close()
    shutil.copy(settings.database, tmp_path / "copy")  # by no command of ours, while no controller ran
    database = open_database(settings.database)
    begin_log(database, settings.database)
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    add_jobs(1)
    log = settings.database.with_name("cumulus.sqlite-wal").read_bytes()
    database.close()
    settings.database.with_name("cumulus.sqlite-wal").write_bytes(log)
    assert not has_foreign_log(settings.database)
    shutil.copy(tmp_path / "copy", settings.database)
    assert has_foreign_log(settings.database)


@pytest.mark.parametrize("mark", [None, b"", b"garbage"])
def test_without_a_note_a_mixed_database_is_refused(backup: Path, settings: Settings, mark: bytes | None) -> None:
    """As a version before has left it."""
    note = settings.database.with_name("cumulus.sqlite-mark")
    note.unlink()
    if mark is not None:
        note.write_bytes(mark)
    require_sound(settings.database)
    shutil.copy(backup, settings.database)
    with pytest.raises(DatabaseDamaged, match="cumulus db rebuild"):
        require_sound(settings.database)


def damage_the_oldest(path: Path) -> None:
    """Garbage over the page of the oldest jobs; the newest are read first."""
    with closing(sqlite3.connect(path)) as found:
        found.execute("PRAGMA journal_mode=wal")
        found.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = found.execute("PRAGMA page_size").fetchone()[0]
        leaves = "SELECT pageno FROM dbstat WHERE name = 'job' AND pagetype = 'leaf' ORDER BY path"
        pages = [number for (number,) in found.execute(leaves)]
    with path.open("rb+") as file:
        file.seek((pages[0] - 1) * size)
        file.write(b"\xa5" * size)


def test_a_page_that_is_damaged_ends_a_command_with_one_line(home: Settings) -> None:
    database = open_database(home.database)
    take_as_own(database, home, installation_id(home.home))
    add_jobs(JOBS)
    database.close()
    damage_the_oldest(home.database)
    said = run("jobs", "--number", "-1")
    assert said.exit_code == 1
    assert "is damaged" in said.output
    assert said.output.count("\n") == 1
