"""What the commands tell of jobs that failed."""

import json
import os
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.app import Controller
from server.cli.main import main
from server.db.models import Job
from server.db.transitions import Change, transition
from server.reasons import Reason
from server.services.principal import Principal
from server.states import JobState
from tests.conftest import submission


@pytest.fixture
def failed(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job that the cloud had no quota for."""
    settings = controller.settings
    for name, value in (("HOME", settings.home), ("CLOUD", "local"), ("APPS", settings.apps), ("FLAVORS", settings.flavors)):
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))
    job = controller.jobs.submit(*submission())
    reason = Reason.QUOTA_EXCEEDED
    fields = {"reason": reason, "message": reason.explain("0 of 0 cores"), "outcome": JobState.FAILED}
    transition(Job, job.id, JobState.UPLOADING, JobState.FAILED, Change(job.created, reason=reason, text="0 of 0 cores"), fields)
    return job


def run(*arguments: str) -> str:
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_a_failure_is_shown_with_whose_matter_it_is_and_what_to_do(failed: Job) -> None:
    text = run("show", str(failed.id))
    assert "quota_exceeded" in text
    assert "infrastructure" in text
    assert "The cloud's quota is used up. Your job is not the cause. 0 of 0 cores" in text
    assert Reason.QUOTA_EXCEEDED.advice in text


@pytest.mark.parametrize(("outcome", "code"), [(JobState.DONE, 0), (JobState.FAILED, 3), (JobState.CANCELLED, 3)])
@pytest.mark.parametrize("archived", [False, True])
def test_following_a_log_tells_by_its_exit_code_how_the_job_ended(
    failed: Job, outcome: JobState, code: int, archived: bool
) -> None:
    state = JobState.ARCHIVED if archived else outcome
    Job.update(state=state, outcome=outcome).where(Job.id == failed.id).execute()
    assert CliRunner().invoke(main, ["logs", "-f", str(failed.id)]).exit_code == code


def test_programs_get_them_too(failed: Job) -> None:
    (listed,) = json.loads(run("jobs", "--json"))
    assert (listed["reason"], listed["blame"]) == ("quota_exceeded", "infrastructure")
    shown = json.loads(run("show", str(failed.id), "--json"))
    assert all(datetime.strptime(event["at"], "%Y-%m-%d %H:%M:%S") for event in shown["events"])  # programs read it so
    assert [event["advice"] for event in shown["events"]] == ["", Reason.QUOTA_EXCEEDED.advice]


def test_a_job_without_a_failure_has_nobody_to_blame(controller: Controller, failed: Job) -> None:
    controller.jobs.submit(*submission())
    assert [job["blame"] for job in json.loads(run("jobs", "--json"))] == ["", "infrastructure"]


def test_a_file_s_name_that_is_no_text_is_shown_as_far_as_it_is(controller: Controller, failed: Job) -> None:
    output = controller.storage.folder(failed.folder).output
    Path(os.fsdecode(os.fsencode(output) + b"/\xff.txt")).write_text("x")
    assert "?.txt" in run("show", str(failed.id))


def test_a_message_is_text_in_a_table_whatever_is_in_it(failed: Job) -> None:
    Job.update(message="[red]no[/red] [/nonsense] :smile: \x1b[2Jline").where(Job.id == failed.id).execute()
    assert "[red]no[/red] [/nonsense] :smile: ?[2Jline" in run("jobs")


@pytest.mark.parametrize(
    "command",
    [
        ["show"],
        ["show", "--json"],
        ["logs"],
        ["logs", "-f"],
        ["record"],
        ["get"],
        ["rerun"],
        ["cancel"],
        ["hold"],
    ],
    ids=" ".join,
)
def test_no_command_knows_a_deleted_job(failed: Job, controller: Controller, tmp_path: Path, command: list[str]) -> None:
    Job.update(description="secret").where(Job.id == failed.id).execute()
    controller.jobs.delete(Principal.desktop("ada"), failed.id)
    done = CliRunner().invoke(main, [*command, str(failed.id)])
    assert done.exit_code not in (0, 70)
    assert "secret" not in done.output
    assert list(tmp_path.glob("job-*")) == []


def test_a_deleted_job_leaves_the_lists_and_who_deleted_it_stays_known(failed: Job, controller: Controller) -> None:
    controller.jobs.delete(Principal.desktop("ada"), failed.id)
    assert json.loads(run("jobs", "--json")) == []
    assert json.loads(run("queue", "--json"))["waiting"] == []
    done = CliRunner().invoke(main, ["show", str(failed.id)])
    assert f"there is no job {failed.id}; ada deleted it on 20" in done.output


def test_a_deleted_job_cannot_be_given_a_priority(failed: Job, controller: Controller) -> None:
    controller.jobs.delete(Principal.desktop("ada"), failed.id)
    done = CliRunner().invoke(main, ["priority", str(failed.id), "5"])
    assert "there is no job" in done.output
