"""Full disks while a job is submitted or deleted: nothing is left behind, and it is said which disk is full."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.app import Controller, make_controller, rebuild_database
from server.application import create_app
from server.db.models import Job
from server.engine.records.job_store import HomeFull, StorageFull
from server.engine.records.manifests import Manifests
from server.home.installation import installation_id
from server.progress import Lines
from server.services.principal import Principal
from server.settings import Settings
from server.states import JobState
from server.workers.clouds.local import LocalCloud
from tests.conftest import state_of, submission
from tests.disks import fill, needs_root, small_disk

pytestmark = [pytest.mark.system, needs_root]
PAGE = 4096
MANY = 300
LARGE = '{"text": "%s", "seconds": "0", "outcome": "ok"}' % ("x" * 9000)  # some pages of form, so that it fails in the midst


@pytest.fixture
def settings(settings: Settings) -> Iterator[Settings]:
    """Small disks for the storage and for the database."""
    settings.database = settings.home / "rows" / "cumulus.sqlite"
    with small_disk(settings.storage, "2m"), small_disk(settings.database.parent, "8m"):
        yield settings


def leave(path: Path, free: int) -> None:
    """Fill a disk but for so many bytes."""
    fill(path)
    with path.open("r+b") as file:
        file.truncate(max(0, path.stat().st_size - free))


def traces(controller: Controller) -> list[str]:
    """All that tells of jobs in the storage, but the number of the last."""
    root = controller.storage.root
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.name not in ("others", "last-number"))


def again(controller: Controller) -> Controller:
    """The database is erased and made anew, and a controller starts on it."""
    settings = controller.settings
    controller.database.close()
    for path in settings.database.parent.glob("cumulus.sqlite*"):
        path.unlink()
    assert rebuild_database(settings, 2e9, Lines(print)).left_alone == ()
    made = make_controller(settings, LocalCloud(settings, installation_id(settings.home)))
    made.jobs.finish_interrupted()
    return made


def test_a_storage_that_is_full_at_any_write_takes_no_job_and_keeps_nothing_of_it(controller: Controller) -> None:
    controller.jobs.submit(*submission())
    others, refused = controller.storage.root / "others", 0
    for pages in range(30):
        leave(others, pages * PAGE)
        before, jobs = traces(controller), Job.select().count()
        try:
            controller.jobs.submit(*submission(settings=LARGE))
        except StorageFull:
            refused += 1
            assert (traces(controller), Job.select().count()) == (before, jobs)
    others.unlink()
    assert refused > 4
    jobs = Job.select().count()
    assert jobs > 1
    assert controller.jobs.submit(*submission()).id == jobs + 1
    rows = [(job.id, job.folder) for job in Job.select()]
    adopted = again(controller)
    assert [(job.id, job.folder) for job in Job.select()] == rows
    assert adopted.jobs.submit(*submission()).id == jobs + 2
    adopted.database.close()


def test_a_home_that_is_full_at_the_commit_takes_no_job_and_keeps_nothing_of_it(controller: Controller) -> None:
    others = controller.settings.database.parent / "others"
    fill(others)
    for _ in range(MANY):  # the log of the database has some room left at first
        before, jobs = traces(controller), Job.select().count()
        try:
            controller.jobs.submit(*submission())
        except HomeFull:
            break
    with pytest.raises(HomeFull, match="controller's database is full"):
        controller.jobs.submit(*submission())
    assert (traces(controller), Job.select().count()) == (before, jobs)
    form = {"username": "ada", "app_name": "probe_1.0", "strategy": "m1.4xlarge", "settings": '{"text": "x"}'}
    told = create_app(controller).test_client().post("/start", data=form).json
    assert told == ["the disk with the controller's database is full: nothing can be changed until there is room again", ""]
    others.unlink()
    real = controller.jobs.submit(*submission(owner="bob"))
    assert real.id == jobs + 1
    adopted = again(controller)
    assert Job.get_by_id(real.id).owner == "bob"
    adopted.database.close()


def test_a_job_can_be_deleted_in_a_full_storage_and_stays_deleted(controller: Controller) -> None:
    jobs = [controller.jobs.submit(*submission(description="secret")) for _ in range(2)]
    for job in jobs:
        controller.jobs.cancel(Principal.desktop("ada"), job.id)
    others = controller.storage.root / "others"
    fill(others)
    assert "is deleted" in controller.jobs.delete(Principal.desktop("ada"), jobs[1].id)
    adopted = again(controller)
    assert state_of(jobs[1].id) is JobState.DELETED
    assert Job.get_by_id(jobs[1].id).description == ""
    others.unlink()
    Manifests(adopted.storage).keep_up()
    kept = next((adopted.storage.root / ".cumulus.ledger" / "deleted").iterdir())
    assert "secret" not in kept.read_text()
    assert adopted.jobs.submit(*submission()).id == jobs[1].id + 1
    adopted.database.close()


def test_a_deletion_that_finds_no_room_in_the_home_changes_nothing(controller: Controller) -> None:
    others = controller.settings.database.parent / "others"
    job = controller.jobs.submit(*submission())
    controller.jobs.cancel(Principal.desktop("ada"), job.id)
    fill(others)
    for _ in range(MANY):  # the log of the database has some room left at first
        try:
            controller.jobs.submit(*submission())
        except HomeFull:
            break
    before = traces(controller)
    with pytest.raises(HomeFull):
        controller.jobs.delete(Principal.desktop("ada"), job.id)
    assert traces(controller) == before
    assert state_of(job.id) is JobState.CANCELLED
    others.unlink()
    assert f"Job {job.id} is deleted" in controller.jobs.delete(Principal.desktop("ada"), job.id)
