"""The administrator's commands on the database."""

import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.app import Controller
from server.cli.main import main
from server.db.models import Job, open_database
from server.home.installation import only_controller
from tests.conftest import submission


@pytest.fixture(autouse=True)
def environment(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = controller.settings
    for name, value in (("HOME", settings.home), ("CLOUD", "local"), ("APPS", settings.apps), ("FLAVORS", settings.flavors)):
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["db", *arguments], catch_exceptions=False)


def test_a_backup_is_a_whole_database_that_nobody_else_may_read(controller: Controller) -> None:
    controller.jobs.submit(*submission())
    with controller.database.atomic("IMMEDIATE"):  # while somebody writes
        path = Path(run("backup").output.strip())
    assert path.parent == controller.settings.home / "backups"
    assert path.stat().st_mode & 0o777 == 0o600
    assert sqlite3.connect(path).execute("SELECT count(*) FROM job").fetchone() == (1,)


def test_a_backup_overwrites_nothing(controller: Controller, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    target.write_text("precious")
    done = run("backup", str(target))
    assert (done.exit_code, "exists already" in done.output) == (1, True)
    assert target.read_text() == "precious"


def test_a_damaged_database_is_not_backed_up(controller: Controller, tmp_path: Path) -> None:
    controller.database.close()
    controller.settings.database.write_bytes(b"garbage" * 1000)
    done = run("backup", str(tmp_path / "copy"))
    assert (done.exit_code, "could not be copied" in done.output) == (1, True)
    assert list(tmp_path.glob("copy*")) == []


def test_a_rebuild_says_what_it_made(controller: Controller) -> None:
    controller.jobs.submit(*submission())
    (controller.storage.jobs / "notes").mkdir()
    controller.database.close()
    assert json.loads(run("rebuild", "--dry-run", "--json").output)["jobs"] == {"uploading": 1}
    told = run("rebuild").output
    assert "1 jobs uploading" in told
    assert "left alone, no job could be made of it: notes" in told
    open_database(controller.settings.database)
    assert Job.select().count() == 1


def test_a_rebuild_beside_a_controller_is_refused(controller: Controller) -> None:
    with only_controller(controller.settings.home):
        done = run("rebuild")
    assert (done.exit_code, "already runs" in done.output) == (1, True)


def test_commands_on_a_damaged_database_say_what_to_do(controller: Controller) -> None:
    controller.database.close()
    for path in controller.settings.home.glob("cumulus.sqlite-*"):
        path.unlink()
    controller.settings.database.write_bytes(b"garbage" * 1000)
    done = CliRunner().invoke(main, ["jobs"], catch_exceptions=False)
    assert (done.exit_code, "cumulus db rebuild" in done.output) == (1, True)
