"""Workflows: a step takes another's results, and what happens to one happens to all."""

import json
import os
from collections.abc import Iterator

import pytest

from server.app import Controller
from server.db.models import Job
from server.errors import InvalidInput
from server.reasons import Reason
from server.services.jobs.service import AlreadyEnded
from server.services.principal import Principal
from server.states import JobState
from tests.conftest import eventually, state_of, submission, turning

RESULT = "%job_dir_0%/output/result.txt"


@pytest.fixture
def running(controller: Controller) -> Iterator[Controller]:
    """A controller whose loop runs."""
    with turning(controller):
        yield controller


def step(controller: Controller, after: int | None = None, files: tuple[str, ...] = (), **form: str) -> int:
    """Submit one step of ada's workflow."""
    settings = {"text": "hello", "seconds": "0", "outcome": "ok", **form, "inputs": list(files)}
    wish = submission(settings=json.dumps(settings), start_after="" if after is None else str(after), workflow="two steps")
    return int(controller.jobs.submit(*wish).id)


def arrive(controller: Controller, job_id: int) -> None:
    controller.storage.folder(Job.get_by_id(job_id).folder).mark_arrived()
    controller.loop.wake()


def result(controller: Controller, job_id: int) -> str:
    return (controller.storage.folder(Job.get_by_id(job_id).folder).output / "result.txt").read_text()


def test_one_step_s_output_is_the_next_step_s_input(running: Controller) -> None:
    first = step(running, text="12345")
    second = step(running, first, (RESULT,))
    third = step(running, second, (RESULT, "%job_dir_1%/output/result.txt")[1:])
    arrive(running, first)
    eventually(lambda: state_of(third).is_final)
    assert [state_of(number) for number in (first, second, third)] == [JobState.DONE] * 3
    assert result(running, second) == "hello\n6\n"  # "12345" and a line's end
    assert result(running, third) == "hello\n8\n"


def test_a_whole_folder_can_be_taken_without_what_its_links_lead_to(controller: Controller) -> None:
    first, second = (controller.storage.folder(name) for name in ("one", "two"))
    for folder in (first, second):
        folder.create("{}")
    (first.output / "many").mkdir()
    (first.output / "many" / "a.txt").write_text("a")
    os.symlink("/etc/passwd", first.output / "many" / "b.txt")
    second.take(first.output / "many", "many")
    second.take(first.output / "many", "many")
    assert [path.name for path in (second.input / "many").iterdir()] == ["a.txt"]
    assert [path.name for path in second.input.iterdir()] == ["many"]


def test_a_result_that_the_step_did_not_write_is_named(running: Controller) -> None:
    first = step(running)
    second = step(running, first, ("%job_dir_0%/output/deep/other.txt",))
    arrive(running, first)
    eventually(lambda: state_of(second).is_final)
    row = Job.get_by_id(second)
    assert (row.state, row.reason) == ("failed", Reason.INPUT_MISSING)
    assert f"deep/other.txt of job {first}" in row.message


def test_a_result_that_is_a_link_out_of_its_folder_is_not_taken(running: Controller, tmp_path: object) -> None:
    first = step(running)
    second = step(running, first, ("%job_dir_0%/output/secret",))
    output = running.storage.folder(Job.get_by_id(first).folder).output
    os.symlink("/etc/passwd", output / "secret")
    arrive(running, first)
    eventually(lambda: state_of(second).is_final)
    assert Job.get_by_id(second).reason == Reason.INPUT_MISSING


def test_what_follows_a_failed_step_fails_though_its_files_never_came(running: Controller) -> None:
    first = step(running, outcome="fail")
    second = step(running, first, ("/home/ada/never-sent.txt",))
    third = step(running, second, (RESULT,))
    arrive(running, first)
    eventually(lambda: state_of(third).is_final)
    assert [Job.get_by_id(number).reason for number in (first, second, third)] == [
        Reason.APP_FAILED,
        Reason.STEP_BEFORE_FAILED,
        Reason.STEP_BEFORE_FAILED,
    ]
    assert f"Job {second} is failed" in Job.get_by_id(third).message


@pytest.mark.parametrize("which", [0, 1, 2])
def test_cancelling_a_step_cancels_its_whole_workflow(controller: Controller, which: int) -> None:
    steps = [step(controller)]
    steps += [step(controller, steps[0], (RESULT,))]
    steps += [step(controller, steps[1], (RESULT,))]
    other = step(controller)
    told = controller.jobs.cancel(Principal.desktop("ada"), steps[which])
    assert all(str(number) in told for number in steps)
    assert [state_of(number) for number in (*steps, other)] == [JobState.CANCELLED] * 3 + [JobState.UPLOADING]
    with pytest.raises(AlreadyEnded, match="had already ended"):
        controller.jobs.cancel(Principal.desktop("ada"), steps[which])


def test_a_file_that_cannot_be_sent_fails_its_whole_workflow(controller: Controller) -> None:
    first = step(controller)
    second = step(controller, first, (RESULT,))
    controller.jobs.fail(Principal.agent(), first, "C:/a.raw cannot be read")
    assert [state_of(number) for number in (first, second)] == [JobState.FAILED] * 2


def test_jobs_without_a_workflow_s_name_end_for_themselves(controller: Controller) -> None:
    first = controller.jobs.submit(*submission())
    second = controller.jobs.submit(*submission(start_after=str(first.id)))
    controller.jobs.cancel(Principal.desktop("ada"), second.id)
    assert (state_of(first.id), state_of(second.id)) == (JobState.UPLOADING, JobState.CANCELLED)


@pytest.mark.parametrize(
    "file",
    [
        "%job_dir_1%/output/result.txt",  # itself
        "%job_dir_7%/output/result.txt",
        "%job_dir_0%/output/../.cumulus.settings",
        "%job_dir_0%/output//etc/passwd",
        "%job_dir_0%/output/./a",
        "%job_dir_0%/output/",
        "%job_dir_0%/input/a.txt",
        "%job_dir_0%/a.txt",
        "%job_dir_0%",
        "%job_dir_-1%/output/a.txt",
        "%job_dir_x%/output/a.txt",
        "%job_dir_99999%/output/a.txt",
        "%job_dir_0%/output/a\0b",
        "%job_dir_0%/output/.cumulus.log",
        "%job_dir_0%/output/" + "x" * 300,
    ],
)
def test_a_result_that_no_earlier_step_can_have_is_refused_by_name(controller: Controller, file: str) -> None:
    first = step(controller)
    with pytest.raises(InvalidInput) as caught:
        step(controller, first, (file,))
    assert caught.value.field == "inputs"
    assert Job.select().count() == 1


def test_a_job_that_follows_none_has_no_results_to_take(controller: Controller) -> None:
    with pytest.raises(InvalidInput, match="follows no other"):
        step(controller, None, (RESULT,))


def test_a_job_can_follow_neither_itself_nor_a_stranger_s_nor_one_that_failed(controller: Controller) -> None:
    first = step(controller)
    stranger = controller.jobs.submit(*submission(owner="eve"))
    failed = controller.jobs.submit(*submission())
    controller.jobs.cancel(Principal.desktop("ada"), failed.id)
    for number in (failed.id + 1, stranger.id, failed.id):
        with pytest.raises(InvalidInput) as caught:
            step(controller, number)
        assert caught.value.field == "start_after"
    assert Job.select().count() == 3
    assert state_of(first) is JobState.UPLOADING


def test_results_that_are_no_longer_kept_cannot_be_taken(controller: Controller) -> None:
    first = step(controller)
    Job.update(state=JobState.ARCHIVED, outcome=JobState.DONE).where(Job.id == first).execute()
    with pytest.raises(InvalidInput, match="no longer kept"):
        step(controller, first, (RESULT,))


@pytest.mark.parametrize("name", ["x" * 201, "<b>", "a\nb", "a&b"])
def test_a_workflow_s_name_is_harmless_in_a_page(controller: Controller, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        controller.jobs.submit(*submission(workflow=name))
    assert caught.value.field == "workflow"
