"""A lost database is made again from the job folders and the machines that exist."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from server.app import Controller, make_controller, rebuild_database
from server.db.models import Change, DatabaseDamaged, Event, Job, Worker, open_database
from server.engine.duties.retention import DAY_S, Retention
from server.engine.records.manifests import Manifests
from server.engine.records.recovery import recover
from server.home.installation import installation_id
from server.progress import Lines
from server.services.principal import Principal
from server.settings import Settings
from server.states import JobState, WorkerState
from server.workers.clouds.local import LocalCloud
from tests.conftest import eventually, state_of, submission

NOW = 1_900_000_000.0
COLUMNS = (
    "owner",
    "app",
    "flavor",
    "weight",
    "description",
    "settings",
    "workflow",
    "start_after",
    "folder",
    "created",
    "outcome",
)


def lose(settings: Settings) -> None:
    for path in settings.home.glob("cumulus.sqlite*"):
        path.unlink()


def marker(controller: Controller, job: Job, attempt: int) -> None:
    (controller.storage.folder(job.folder).path / f".cumulus.attempt.{attempt}").write_text("x\n")


def put(controller: Controller, job: Job, state: JobState, **fields: object) -> None:
    outcome = state if state.is_final else ""
    Job.update(state=state, outcome=outcome, **fields).where(Job.id == job.id).execute()
    Manifests(controller.storage).write(job.id)


def rebuilt(controller: Controller) -> None:
    controller.database.close()
    lose(controller.settings)
    rebuild_database(controller.settings, NOW, Lines(print))
    open_database(controller.settings.database)


def as_2_3_left_it(controller: Controller, job: Job) -> None:
    """The manifest without what versions before 2.4 did not write."""
    path = controller.storage.folder(job.folder).manifest_path
    later = ("version", "folder", "state_since", "not_before", "spared", "workers", "events", "conversions")
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name not in later}))


@pytest.mark.parametrize(
    ("state", "attempt", "begun"),
    [
        (JobState.UPLOADING, 0, 0),
        (JobState.QUEUED, 0, 0),
        (JobState.PROVISIONING, 1, 0),
        (JobState.STARTING, 1, 1),
        (JobState.RUNNING, 2, 2),
        (JobState.LOST, 1, 1),
        (JobState.FINISHING, 1, 1),
        (JobState.QUEUED, 1, 1),
        (JobState.PROVISIONING, 2, 1),
        (JobState.DONE, 1, 1),
        (JobState.FAILED, 3, 2),
        (JobState.CANCELLED, 0, 0),
        (JobState.ARCHIVED, 1, 1),
    ],
)
def test_a_job_comes_back_as_it_was(controller: Controller, state: JobState, attempt: int, begun: int) -> None:
    job = controller.jobs.submit(*submission(description="Ada's", workflow="w"))
    for number in range(1, begun + 1):
        marker(controller, job, number)
    put(controller, job, state, attempt=attempt, state_since=7.0, not_before=9.0, spared=1)
    before = Job.get_by_id(job.id)
    rebuilt(controller)
    assert Job.get_by_id(job.id).__data__ == before.__data__
    assert [(event.old, event.new, event.who) for event in Event.select()] == [("", "uploading", "ada")]


@pytest.mark.parametrize(
    ("state", "attempt", "begun", "after"),
    [
        (JobState.UPLOADING, 0, 0, JobState.UPLOADING),
        (JobState.QUEUED, 0, 0, JobState.UPLOADING),
        (JobState.PROVISIONING, 1, 0, JobState.UPLOADING),
        (JobState.STARTING, 1, 1, JobState.RUNNING),
        (JobState.RUNNING, 2, 2, JobState.RUNNING),
        (JobState.LOST, 1, 1, JobState.RUNNING),
        (JobState.QUEUED, 1, 1, JobState.RUNNING),
        (JobState.PROVISIONING, 2, 1, JobState.UPLOADING),
        (JobState.DONE, 1, 1, JobState.DONE),
        (JobState.FAILED, 3, 2, JobState.FAILED),
        (JobState.CANCELLED, 0, 0, JobState.CANCELLED),
    ],
)
def test_a_job_of_an_earlier_version_comes_back_where_it_was(
    controller: Controller, state: JobState, attempt: int, begun: int, after: JobState
) -> None:
    job = controller.jobs.submit(*submission(description="Ada's", workflow="w"))
    for number in range(1, begun + 1):
        marker(controller, job, number)
    put(controller, job, state, attempt=attempt)
    as_2_3_left_it(controller, job)
    before = Job.get_by_id(job.id)
    rebuilt(controller)
    row = Job.get_by_id(job.id)
    assert (row.state, row.attempt) == (after, attempt)
    assert [getattr(row, name) for name in COLUMNS] == [getattr(before, name) for name in COLUMNS]
    assert [(event.old, event.new, event.who) for event in Event.select()] == [("", after, "rebuild")]


def test_an_archived_job_comes_back_into_the_archive_with_its_log(controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    put(controller, job, JobState.FAILED, ended=job.created)
    controller.storage.folder(job.folder).log_path.write_text("why\n")
    rules, later = Retention(controller.storage, 1), job.created + 2 * DAY_S
    assert len(rules.remove(rules.plan(later).removals, later)) == 1
    rebuilt(controller)
    row = Job.get_by_id(job.id)
    assert (row.state, row.outcome, controller.storage.folder(row.folder).log()) == ("archived", "failed", "why\n")
    assert rules.plan(job.created + 3 * DAY_S).removals == ()


def test_what_a_runner_left_is_newer_than_the_manifest(controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    marker(controller, job, 4)
    rebuilt(controller)
    assert (state_of(job.id), Job.get_by_id(job.id).attempt) == (JobState.RUNNING, 4)


def test_a_job_that_somebody_wanted_to_end_does_not_come_back_to_life(controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    controller.storage.folder(job.folder).ask_to_stop()
    rebuilt(controller)
    row = Job.get_by_id(job.id)
    assert (row.state, row.outcome, row.reason) == ("cancelled", "cancelled", "cancelled")


def test_without_a_manifest_the_name_tells_what_there_is_to_know(controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    (controller.storage.folder(job.folder).path / ".cumulus.job").unlink()
    rebuilt(controller)
    row = Job.get_by_id(job.id)
    assert (row.owner, row.app, row.flavor, row.settings) == ("ada", "probe_1.0", "m1.4xlarge", job.settings)


def test_machines_of_running_jobs_go_on_and_others_have_to_go(controller: Controller) -> None:
    running, waiting = controller.jobs.submit(*submission()), controller.jobs.submit(*submission())
    marker(controller, running, 2)
    put(controller, running, JobState.RUNNING, attempt=2)
    names = [f"job-{running.id}", f"job-{running.id}-2", f"job-{waiting.id}", "job-999", "canary-1"]
    for name in names:
        (controller.settings.home / "local" / name).mkdir()
    rebuilt(controller)
    rows = {worker.name: (worker.state, worker.job_id) for worker in Worker.select()}
    assert rows == {
        f"job-{running.id}": ("deleting", running.id),
        f"job-{running.id}-2": ("busy", running.id),
        f"job-{waiting.id}": ("deleting", waiting.id),
        "job-999": ("deleting", None),
    }


def test_what_no_job_can_be_made_of_is_left_alone(controller: Controller) -> None:
    controller.jobs.submit(*submission())
    for name in ("backup", "Job_x_ada_probe_1.0_7", "Job_1_ada_probe_1.0_7"):
        (controller.storage.jobs / name).mkdir()
    (controller.storage.jobs / "notes").write_text("x")
    jobs, left = recover(controller.storage, controller.flavors, "m1.4xlarge")
    assert len(jobs) == 1
    assert sorted(left) == ["Job_1_ada_probe_1.0_7", "Job_x_ada_probe_1.0_7", "backup"] or len(left) == 3


def test_the_former_database_is_kept(controller: Controller, settings: Settings) -> None:
    controller.database.close()
    settings.database.write_bytes(b"garbage" * 1000)
    with pytest.raises(DatabaseDamaged, match="cumulus db rebuild"):
        open_database(settings.database)
    rebuild_database(settings, NOW, Lines(print))
    kept = [path for path in settings.home.glob("cumulus.sqlite.before-*") if path.read_bytes().startswith(b"garbage")]
    assert len(kept) == 1
    open_database(settings.database)
    assert Job.select().count() == 0


def test_a_dry_run_changes_nothing(controller: Controller, settings: Settings) -> None:
    controller.jobs.submit(*submission())
    controller.database.close()
    lose(settings)
    assert rebuild_database(settings, NOW, Lines(print), dry_run=True).jobs == {"uploading": 1}
    assert not settings.database.exists()


garbage = st.binary(max_size=200) | st.sampled_from([b"{}", b"[]", b"null", b'{"id": "x"}', b'{"id": 1e400}', b"[" * 5000])


@given(manifest=garbage, form=garbage, result=garbage)
@effort(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_garbage_in_a_folder_keeps_the_others_from_coming_back(
    tmp_path_factory: pytest.TempPathFactory, settings: Settings, manifest: bytes, form: bytes, result: bytes
) -> None:
    home = tmp_path_factory.mktemp("home")
    given = settings.model_copy(update={"home": home, "storage": home / "storage", "database": home / "cumulus.sqlite"})
    for number, contents in ((1, (manifest, form, result)), (2, (b"", b"{}", b""))):
        folder = home / "storage" / "jobs" / f"Job_{number}_ada_probe_1.0_1700000000"
        (folder / "input").mkdir(parents=True)
        for name, content in zip(("job", "settings", "result"), contents, strict=True):
            (folder / f".cumulus.{name}").write_bytes(content)
    rebuild_database(given, NOW, Lines(print))
    database = open_database(given.database)
    assert Job.get_by_id(2).owner == "ada"
    database.close()


def test_a_running_job_survives_the_loss_and_begins_once(controller: Controller, cloud: LocalCloud, settings: Settings) -> None:
    first = threading.Thread(target=controller.loop.run, daemon=True)
    first.start()
    job = controller.jobs.submit(*submission(settings='{"text": "hello", "seconds": "6", "outcome": "ok"}'))
    waiting = controller.jobs.submit(*submission())
    controller.storage.folder(job.folder).mark_arrived()
    controller.loop.wake()
    eventually(lambda: state_of(job.id) is JobState.RUNNING)
    controller.loop.stop(grace_s=15)
    first.join(15)
    controller.database.close()
    lose(settings)
    rebuild_database(settings, NOW, Lines(print))
    adopted = make_controller(settings, LocalCloud(settings, installation_id(settings.home)))
    second = threading.Thread(target=adopted.loop.run, daemon=True)
    second.start()
    assert Worker.get().state == WorkerState.BUSY
    controller.storage.folder(waiting.folder).mark_arrived()
    eventually(lambda: state_of(job.id) is JobState.DONE and state_of(waiting.id) is JobState.DONE)
    eventually(lambda: Worker.select().where(Worker.state != WorkerState.DELETED).count() == 0)
    adopted.loop.stop(grace_s=15)
    second.join(15)
    adopted.database.close()
    assert adopted.storage.folder(job.folder).log().count("probe started") == 1
    assert cloud.resources() == []


def test_the_manifest_is_the_row(controller: Controller) -> None:
    job = controller.jobs.submit(*submission(description="über"))
    path: Path = controller.storage.folder(job.folder).path / ".cumulus.job"
    told = json.loads(path.read_text())
    assert (told["id"], told["state"], told["description"]) == (job.id, "uploading", "über")
    controller.jobs.cancel(Principal.desktop("ada"), job.id)
    assert json.loads(path.read_text())["outcome"] == "cancelled"
    assert Change(1.0).who == "controller"
