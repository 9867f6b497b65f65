"""The administrator's commands on the storage."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.app import Controller
from server.cli import main
from server.models import Job
from server.states import JobState
from tests.conftest import submission

YEAR_S = 365 * 24 * 3600


@pytest.fixture
def old_job(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished job of last year, and a folder of somebody else."""
    settings = controller.settings
    for name, value in (("HOME", settings.home), ("CLOUD", "local"), ("APPS", settings.apps), ("FLAVORS", settings.flavors)):
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))
    job = controller.jobs.submit(submission())
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
