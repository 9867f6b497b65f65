"""Results copied to where somebody works with them."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cumulus_client.jobs import ResultFile
from cumulus_client.results import Results
from server.app import Controller
from server.cli.main import main
from server.db.models import Job
from server.db.transitions import Change, transition
from server.reasons import Reason
from server.states import JobState
from tests.conftest import submission


@pytest.fixture
def job(controller: Controller, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Job:
    """A job with results in two folders, which has not ended."""
    settings = controller.settings
    for name, value in (("HOME", settings.home), ("CLOUD", "local"), ("APPS", settings.apps), ("FLAVORS", settings.flavors)):
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))
    made = controller.jobs.submit(*submission())
    output = controller.storage.folder(made.folder).output
    (output / "sub").mkdir()
    (output / "ä & b.txt").write_text("table")
    (output / "sub" / "c.txt").write_text("deep")
    monkeypatch.chdir(tmp_path)
    return made


def end(job: Job, state: JobState) -> None:
    reason = Reason.CANCELLED if state is JobState.CANCELLED else None
    fields = {"outcome": state, "message": "somebody ended it" if reason else ""}
    transition(Job, job.id, JobState(job.state), state, Change(job.created, reason=reason), fields)


def done(job: Job) -> None:
    Job.update(state=JobState.DONE, outcome=JobState.DONE).where(Job.id == job.id).execute()


def get(job: Job, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["get", str(job.id), *arguments], catch_exceptions=False)


def test_all_results_are_copied_and_named(job: Job, tmp_path: Path) -> None:
    done(job)
    copied = get(job, "--to", "here/results")
    assert (copied.exit_code, copied.output) == (0, "here/results/sub/c.txt\nhere/results/ä & b.txt\n")
    assert (tmp_path / "here/results/sub/c.txt").read_text() == "deep"
    assert sorted(path.name for path in (tmp_path / "here/results").rglob("*")) == ["c.txt", "sub", "ä & b.txt"]


def test_without_a_folder_they_go_into_one_of_the_job_s_number(job: Job, tmp_path: Path) -> None:
    done(job)
    assert get(job).exit_code == 0
    assert (tmp_path / f"job-{job.id}" / "ä & b.txt").read_text() == "table"


def test_what_is_there_already_is_never_replaced(job: Job, tmp_path: Path) -> None:
    done(job)
    get(job, "--to", "r")
    again = get(job, "--to", "r")
    assert again.exit_code == 0
    (tmp_path / "r" / "ä & b.txt").write_text("mine!")
    refused = get(job, "--to", "r")
    assert refused.exit_code == 1
    assert "ä & b.txt: r/ä & b.txt is there already, with another content" in refused.stderr
    assert (tmp_path / "r" / "ä & b.txt").read_text() == "mine!"
    assert refused.stdout == "r/sub/c.txt\n"


def test_what_somebody_puts_there_meanwhile_is_not_replaced_either(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(job)
    fetch = Results.fetch

    def slow(self: Results, job_id: int, file: ResultFile, *rest: Any) -> None:
        fetch(self, job_id, file, *rest)
        (tmp_path / "r" / file.path).write_text("mine!")

    monkeypatch.setattr(Results, "fetch", slow)
    refused = get(job, "--to", "r")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert sorted(path.read_text() for path in (tmp_path / "r").rglob("*.txt")) == ["mine!", "mine!"]
    assert not list((tmp_path / "r").rglob(".cumulus-*"))


def test_results_are_copied_to_a_file_system_without_hard_links(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    done(job)
    assert get(job, "--to", "r").exit_code == 0
    assert (tmp_path / "r" / "sub" / "c.txt").read_text() == "deep"


@pytest.mark.parametrize("place", ["sub", "ä & b.txt"])
def test_no_link_leads_out_of_the_folder(job: Job, tmp_path: Path, place: str) -> None:
    done(job)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / place).symlink_to(tmp_path / "elsewhere" if place == "sub" else tmp_path / "elsewhere" / "x")
    assert get(job, "--to", "r").exit_code == 1
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_result_that_is_a_link_to_another_file_is_not_copied(job: Job, controller: Controller, tmp_path: Path) -> None:
    done(job)
    (tmp_path / "secret").write_text("secret")
    (controller.storage.folder(job.folder).output / "link.txt").symlink_to(tmp_path / "secret")
    copied = get(job, "--to", "r")
    assert copied.exit_code == 0  # what lies elsewhere is no result of the job
    assert "link.txt" not in copied.output
    assert (tmp_path / "r" / "ä & b.txt").exists()
    assert not (tmp_path / "r" / "link.txt").exists()


def test_a_name_that_is_no_text_is_copied_as_it_is(job: Job, controller: Controller, tmp_path: Path) -> None:
    done(job)
    name = os.fsdecode(b"\xff.txt")
    (controller.storage.folder(job.folder).output / name).write_text("x")
    copied = get(job, "--to", "r")
    assert (copied.exit_code, "r/?.txt\n" in copied.stdout) == (0, True)
    assert (tmp_path / "r" / name).read_text() == "x"


def test_a_job_that_has_not_ended_has_no_results_yet(job: Job, tmp_path: Path) -> None:
    refused = get(job, "--to", "r")
    assert refused.exit_code == 1
    assert f"job {job.id} is uploading and has no results yet" in refused.stderr
    assert not (tmp_path / "r").exists()


def test_what_a_job_that_was_not_done_has_left_is_copied_with_a_warning(job: Job, tmp_path: Path) -> None:
    end(job, JobState.CANCELLED)
    copied = get(job, "--to", "r")
    assert copied.exit_code == 3
    assert f"job {job.id} is cancelled: its results may be incomplete. somebody ended it" in copied.stderr
    assert (tmp_path / "r" / "ä & b.txt").exists()


def test_an_archived_job_s_results_are_gone(job: Job) -> None:
    Job.update(state=JobState.ARCHIVED, outcome=JobState.DONE).where(Job.id == job.id).execute()
    refused = get(job)
    assert (refused.exit_code, f"the results of job {job.id} are no longer kept" in refused.stderr) == (1, True)


def test_an_unknown_job_is_named(job: Job) -> None:
    refused = CliRunner().invoke(main, ["get", "99"])
    assert (refused.exit_code, "there is no job 99" in refused.stderr) == (1, True)


def test_a_place_where_nothing_can_be_written_is_told(job: Job, tmp_path: Path) -> None:
    done(job)
    (tmp_path / "file").write_text("no folder")
    refused = get(job, "--to", "file/r")
    assert refused.exit_code == 1
    assert "cumulus: ä & b.txt: file/r: Not a directory; a folder is needed there" in refused.stderr
