"""What is kept, what goes, and what nobody may touch."""

import os
import unicodedata
from pathlib import Path

import pytest

from server.app import Controller
from server.db.models import Change, Event, Job, Worker, create
from server.engine.duties.retention import DAY_S, Retention
from server.engine.duties.retention_plan import Plan, Removal
from server.engine.records.manifest_format import read_manifest
from server.errors import InvalidInput, NotFound
from server.services.principal import Principal
from server.states import JobState, WorkerState
from tests.conftest import state_of, submission

AGE = 90


def clean(rules: Retention, now: float) -> list[Removal]:
    """What an administrator wants removed at once."""
    return rules.remove(rules.plan(now).removals, now)


@pytest.fixture
def rules(controller: Controller) -> Retention:
    return Retention(controller.storage, AGE)


def ended(controller: Controller, state: JobState = JobState.DONE, **changes: str) -> Job:
    """A job that has ended, with a result."""
    job = controller.jobs.submit(*submission(**changes))
    Job.update(state=state, outcome=state, ended=job.created).where(Job.id == job.id).execute()
    (folder(controller, job) / "output" / "result.txt").write_text("12345")
    return Job.get_by_id(job.id)


def folder(controller: Controller, job: Job) -> Path:
    return controller.storage.folder(job.folder).path


def with_file(name: str) -> str:
    return f'{{"text": "x", "seconds": "0", "outcome": "ok", "inputs": ["/far/away/{name}"]}}'


def later(job: Job, days: float) -> float:
    return float(job.created) + days * DAY_S


@pytest.mark.parametrize("state", [JobState.DONE, JobState.FAILED, JobState.CANCELLED])
def test_an_old_job_loses_its_content_and_keeps_its_row_with_its_outcome(
    controller: Controller, rules: Retention, state: JobState
) -> None:
    job = ended(controller, state)
    assert clean(rules, later(job, AGE - 1)) == []
    gone = clean(rules, later(job, AGE + 1))
    assert [(one.kind, one.name, one.bytes > 4) for one in gone] == [("job", job.folder, True)]
    row = Job.get_by_id(job.id)
    assert (row.state, row.outcome) == (JobState.ARCHIVED, state)
    assert sorted(path.name for path in folder(controller, job).iterdir()) == [".cumulus.job", ".cumulus.settings", "job.json"]
    assert Event.select().where(Event.new == "archived").count() == 1
    assert clean(rules, later(job, AGE + 2)) == []


def test_an_archived_job_keeps_its_log_and_why_it_failed_and_nothing_large(controller: Controller, rules: Retention) -> None:
    job = ended(controller, JobState.FAILED)
    here = folder(controller, job)
    (here / ".cumulus.log").write_bytes(b"begin\n" + b"x" * 3_000_000 + b"\nend\n")
    for name in ("failure.1", "result", "plan", "cmd", "settings.json", "attempt.1", "unknown"):
        (here / f".cumulus.{name}").write_text("1")
    (here / ".cumulus.converted").mkdir()
    (here / ".cumulus.converted" / "1.0").write_text("large")
    (here / ".cumulus.failure.2").symlink_to("/etc/passwd")
    (here / "temp").mkdir()
    assert len(clean(rules, later(job, AGE + 1))) == 1
    kept = sorted(path.name.removeprefix(".cumulus.") for path in here.iterdir())
    assert kept == ["failure.1", "job", "job.json", "log", "result", "settings"]
    shown = controller.jobs.folder(job).log()
    assert shown == (here / ".cumulus.log").read_text()
    assert len(shown) < 1_200_000
    assert shown.startswith("begin\nxxx")
    assert shown.endswith("xxx\nend\n")
    assert shown.count("bytes left out") == 1
    assert read_manifest(controller.jobs.folder(job)).state is JobState.ARCHIVED  # type: ignore[union-attr]


def test_an_archiving_that_was_interrupted_is_ended_by_the_next_cleaning(controller: Controller, rules: Retention) -> None:
    job = ended(controller)
    Job.update(state=JobState.ARCHIVED).where(Job.id == job.id).execute()
    left = folder(controller, job) / ".cumulus.removing-1"
    (left / "deep").mkdir(parents=True)
    assert [one.reason for one in clean(rules, later(job, 1))] == ["it is archived"]
    assert sorted(path.name for path in folder(controller, job).iterdir()) == [".cumulus.job", ".cumulus.settings", "job.json"]


def test_an_owner_can_delete_what_the_archive_has_kept(controller: Controller, rules: Retention) -> None:
    job = ended(controller)
    clean(rules, later(job, AGE + 1))
    assert "is deleted" in controller.jobs.delete(Principal.desktop("ada"), job.id)
    assert not folder(controller, job).exists()
    assert "before" in controller.jobs.delete(Principal.desktop("ada"), job.id)
    assert clean(rules, later(job, AGE + 2)) == []


def test_a_plan_changes_nothing(controller: Controller, rules: Retention) -> None:
    job = ended(controller)
    assert len(rules.plan(later(job, 1000)).removals) == 1
    assert state_of(job.id) is JobState.DONE
    assert (folder(controller, job) / "output" / "result.txt").exists()


def test_what_nobody_knows_is_listed_and_left_alone(controller: Controller, rules: Retention) -> None:
    (controller.storage.jobs / "backup").mkdir()
    (controller.storage.jobs / "Job_99_ada_x_1").mkdir()
    (controller.storage.data / "library.fasta").write_text("by hand")
    (controller.storage.data / "link").symlink_to("/etc/passwd")
    (controller.storage.data / ".hidden").write_text("")
    far = 4e9
    assert clean(rules, far) == []
    assert rules.plan(far).unknown == ("jobs/Job_99_ada_x_1", "jobs/backup", "data/library.fasta", "data/link")
    assert len(list(controller.storage.jobs.iterdir())) == 2
    assert len(list(controller.storage.data.iterdir())) == 3


def test_data_goes_when_it_was_used_once_and_nobody_has_for_long(controller: Controller, rules: Retention) -> None:
    (controller.storage.data / "a.raw").write_text("old")
    (controller.storage.data / "run.d").mkdir()
    (controller.storage.data / "run.d" / "b").write_text("1234567")
    first = ended(controller, settings=with_file("a.raw"))
    ended(controller, settings=with_file("run.d"))
    assert clean(rules, later(first, AGE - 1)) == []
    gone = clean(rules, later(first, AGE + 1))
    assert [(one.kind, one.name, one.bytes) for one in gone if one.kind == "data"] == [("data", "a.raw", 3), ("data", "run.d", 7)]
    assert list(controller.storage.data.iterdir()) == []


def test_what_jobs_have_pinned_is_given_back_once_with_the_last_of_its_names(controller: Controller, rules: Retention) -> None:
    shared = controller.storage.data / "a.raw"
    shared.write_bytes(b"x" * 100_000)
    first, second = (ended(controller, settings=with_file("a.raw")) for _ in range(2))
    for job in (first, second):
        os.link(shared, folder(controller, job) / "input" / "a.raw")
    later_job = later(second, 30)
    Job.update(ended=later_job).where(Job.id == second.id).execute()
    removals = {one.name: one for one in rules.plan(later(first, AGE + 1)).removals}
    assert set(removals) == {first.folder}
    assert removals[first.folder].bytes < 100_000
    removals = {one.name: one for one in rules.plan(later(first, AGE + 31)).removals}
    assert sum(one.bytes for one in removals.values()) // 100_000 == 1
    assert removals["a.raw"].bytes == 100_000  # after both jobs
    (controller.storage.data / "keep").hardlink_to(shared)
    gone = next(one for one in clean(rules, later(first, AGE + 31)) if one.name == "a.raw")
    assert (gone.bytes, gone.reason) == (0, "no job has used it for 90 days; jobs have it still")


def test_a_job_that_leaves_a_pinned_file_does_not_make_it_new(controller: Controller, rules: Retention) -> None:
    shared = controller.storage.data / "a.raw"
    shared.write_text("old")
    job = ended(controller, settings=with_file("a.raw"))
    pin = folder(controller, job) / "input" / "a.raw"
    os.link(shared, pin)
    shared.chmod(0o444)
    Job.update(created=1.0, ended=1.0).where(Job.id == job.id).execute()
    os.utime(shared, (1, 1))
    pin.unlink()  # just now
    assert [one.name for one in clean(rules, 1.0 + (AGE + 1) * DAY_S) if one.kind == "data"] == ["a.raw"]


def test_data_whose_name_is_in_another_unicode_form_than_the_jobs_have_it_is_known(
    controller: Controller, rules: Retention
) -> None:
    (controller.storage.data / unicodedata.normalize("NFD", "größe.raw")).write_text("old")
    waiting = controller.jobs.submit(*submission(settings=with_file("größe.raw")))
    assert rules.plan(later(waiting, AGE + 1)) == Plan((), ())
    Job.update(state=JobState.DONE, outcome=JobState.DONE, ended=waiting.created).where(Job.id == waiting.id).execute()
    assert [one.kind for one in clean(rules, later(waiting, AGE + 1))] == ["job", "data"]


def test_data_that_arrived_lately_stays_whatever_time_it_carries(controller: Controller, rules: Retention) -> None:
    path = controller.storage.data / "a.raw"
    path.write_text("old")
    os.utime(path, (0, 0))
    job = ended(controller, settings=with_file("a.raw"))
    Job.update(created=1.0, ended=1.0).where(Job.id == job.id).execute()
    assert [one.kind for one in clean(rules, job.created + DAY_S)] == ["job"]
    assert path.exists()


def test_data_that_a_waiting_job_names_stays(controller: Controller, rules: Retention) -> None:
    (controller.storage.data / "a.raw").write_text("old")
    old = ended(controller, settings=with_file("a.raw"))
    controller.jobs.submit(*submission(settings=with_file("a.raw")))
    assert [one.kind for one in clean(rules, later(old, 1000))] == ["job"]
    assert (controller.storage.data / "a.raw").exists()


def test_a_job_that_is_submitted_while_the_cleaning_goes_on_keeps_its_data(controller: Controller, rules: Retention) -> None:
    (controller.storage.data / "a.raw").write_text("old")
    old = ended(controller, settings=with_file("a.raw"))
    plan = rules.plan(later(old, 1000))
    controller.jobs.submit(*submission(settings=with_file("a.raw")))
    removed = [rules._remove(one, later(old, 1000)) for one in plan.removals]
    assert removed == [True, False]
    assert (controller.storage.data / "a.raw").exists()


def test_a_step_whose_results_a_later_one_may_take_stays(controller: Controller, rules: Retention) -> None:
    first = ended(controller)
    second = ended(controller, start_after=str(first.id))
    third = controller.jobs.submit(*submission(start_after=str(second.id)))
    assert clean(rules, later(first, 1000)) == []
    controller.jobs.cancel(Principal.desktop("ada"), third.id)
    assert len(clean(rules, later(first, 2000))) == 3


def test_a_job_whose_machine_still_exists_keeps_its_folder(controller: Controller, rules: Retention) -> None:
    job = ended(controller)
    worker = create(Worker, Change(0.0), name=f"job-{job.id}", job_id=job.id, flavor="m1", weight=1, state=WorkerState.DELETING)
    assert clean(rules, later(job, 1000)) == []
    assert "deleted" in controller.jobs.delete(Principal.desktop("ada"), job.id)
    assert folder(controller, job).exists()
    assert state_of(job.id) is JobState.DELETED
    Worker.update(state=WorkerState.DELETED).where(Worker.id == worker.id).execute()
    assert [one.reason for one in clean(rules, later(job, 1))] == ["its owner has deleted it"]
    assert not folder(controller, job).exists()


def test_what_an_interrupted_removal_left_goes(controller: Controller, rules: Retention) -> None:
    left = controller.storage.jobs / ".cumulus.removing-1"
    (left / "output").mkdir(parents=True)
    clean(rules, 0.0)
    assert not left.exists()


def test_links_are_removed_and_not_followed(controller: Controller, rules: Retention, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "a").write_text("a")
    job = ended(controller)
    (folder(controller, job) / "output" / "link").symlink_to(tmp_path / "precious")
    clean(rules, later(job, 1000))
    assert (tmp_path / "precious" / "a").read_text() == "a"


def test_an_owner_deletes_a_workflow_once_all_of_it_has_ended(controller: Controller) -> None:
    first = ended(controller, workflow="w")
    second = controller.jobs.submit(*submission(start_after=str(first.id), workflow="w"))
    with pytest.raises(NotFound):
        controller.jobs.delete(Principal.desktop("eve"), first.id)
    for job in (first, second):
        with pytest.raises(InvalidInput, match="has not ended"):
            controller.jobs.delete(Principal.desktop("ada"), job.id)
    controller.jobs.cancel(Principal.desktop("ada"), second.id)
    told = controller.jobs.delete(Principal.desktop("ada"), second.id)
    assert str(first.id) in told
    assert str(second.id) in told
    assert [state_of(job.id) for job in (first, second)] == [JobState.DELETED] * 2
    assert Job.get_by_id(second.id).outcome == JobState.CANCELLED
    assert list(controller.storage.jobs.iterdir()) == []
    assert "before" in controller.jobs.delete(Principal.desktop("ada"), first.id)


def test_converted_files_that_no_job_has_taken_for_long_go(controller: Controller, rules: Retention) -> None:
    folder = controller.storage.root / "converted"
    folder.mkdir()
    for name, at in (("a" * 64, 1e9), ("b" * 64, 2e9)):
        (folder / name).write_text("12345")
        os.utime(folder / name, (at, at))
    gone = clean(rules, 2e9 + DAY_S)
    assert [(one.kind, one.name, one.bytes) for one in gone] == [("converted", "a" * 64, 5)]
    assert [path.name for path in folder.iterdir()] == ["b" * 64]


def test_what_a_broken_upload_left_goes_after_a_while(controller: Controller, rules: Retention) -> None:
    left = controller.storage.data / ".a.raw.Xy12Zz"
    left.write_text("half")
    now = left.stat().st_ctime
    clean(rules, now + 13 * DAY_S)
    assert left.exists()
    assert [(one.kind, one.name) for one in clean(rules, now + 15 * DAY_S)] == [("upload", ".a.raw.Xy12Zz")]
    assert not left.exists()
