"""The administrator's commands on the storage."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.app import Controller
from server.cli.main import main
from server.db.models import Job
from server.db.transitions import Change, record_event
from server.services.doctor import examine
from server.services.principal import Principal
from server.settings import load_settings
from server.states import JobState
from tests.conftest import submission

YEAR_S = 365 * 24 * 3600


@pytest.fixture
def old_job(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished job of last year, and a folder of somebody else."""
    settings = controller.settings
    for name, value in (("HOME", settings.home), ("CLOUD", "local"), ("APPS", settings.apps), ("FLAVORS", settings.flavors)):
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))
    job = controller.jobs.submit(*submission())
    Job.update(state=JobState.DONE, outcome=JobState.DONE, ended=job.created - YEAR_S).where(Job.id == job.id).execute()
    (controller.storage.jobs / "backup").mkdir()
    return controller.storage.folder(job.folder).path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["storage", *arguments], catch_exceptions=False)


def test_a_dry_run_says_what_would_go_and_removes_nothing(old_job: Path) -> None:
    told = run("clean", "--dry-run")
    assert told.exit_code == 0
    assert f"would remove      0.00 GB  job  {old_job.name}: it ended 365 days ago" in told.output
    assert "left alone, nobody knows it: jobs/backup" in told.output
    assert old_job.is_dir()


def test_cleaning_removes_it_once(old_job: Path) -> None:
    found = json.loads(run("clean", "--yes", "--json").output)
    assert [one["name"] for one in found["removed"]] == [old_job.name]
    assert found["unknown"] == ["jobs/backup"]
    assert not (old_job / "output").exists()
    assert json.loads(run("clean", "--yes", "--json").output)["removed"] == []


def test_usage_is_told_in_words_and_numbers(old_job: Path) -> None:
    assert "GB free" in run("usage").output
    assert json.loads(run("usage", "--json").output)["free_bytes"] > 0


def test_nothing_is_removed_that_nobody_has_said_yes_to(old_job: Path) -> None:
    told = run("clean")
    assert told.exit_code == 1
    assert "say --yes" in told.output
    assert (old_job / "output").is_dir()


def test_a_clock_that_is_behind_removes_nothing_and_is_told(old_job: Path) -> None:
    record_event(Job, 1, Change(time.time() + YEAR_S, text="of next year"))
    told = run("clean", "--yes")
    assert told.exit_code == 1
    assert "nothing was removed: this computer's clock is 365.0 days behind" in told.output
    assert (old_job / "output").is_dir()
    assert "365.0 days behind" in run("usage").output
    assert "365.0 days behind" in json.loads(run("usage", "--json").output)["doubted"]
    clock = next(one for one in examine(Principal.local_admin("root"), load_settings()) if one.name == "ages")
    assert (clock.ok, "365.0 days behind" in clock.text) == (False, True)


def test_what_was_removed_is_listed_and_had_back(old_job: Path) -> None:
    (old_job / "output" / "result.txt").write_text("12345")
    run("clean", "--yes")
    (found,) = json.loads(run("trash", "--json").output)
    assert (found["kind"], found["job_id"], found["name"], found["owner"]) == ("job", 1, old_job.name, "ada")
    assert found["stays_s"] == 7 * 86_400
    told = run("trash").output
    assert f"archived job {old_job.name}" in told
    assert "7.0 days" in told
    assert json.loads(run("usage", "--json").output)["trash_bytes"] == found["bytes"] > 5
    assert "job 1 is done again" in run("restore", found["entry"]).output
    assert (old_job / "output" / "result.txt").read_text() == "12345"
    assert json.loads(run("trash", "--json").output) == []
    missing = run("restore", found["entry"])
    assert (missing.exit_code, "the trash has no" in missing.output) == (1, True)
    assert json.loads(run("clean", "--dry-run", "--json").output)["removed"] == []  # who wanted it back wants it
