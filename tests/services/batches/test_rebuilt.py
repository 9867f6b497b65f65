"""Batches after the database was lost: the jobs' manifests have all of them."""

import pytest

from cumulus_client.batches import BatchQuery
from server.app import Controller, make_controller, rebuild_database
from server.db.models import Batch, Job
from server.engine.records.manifests import Manifests
from server.home.installation import installation_id
from server.progress import Lines
from server.services.batches.lookup import BatchLookup
from server.states import JobState
from server.workers.clouds.local import LocalCloud
from tests.services.batches.asking import ADA, submitted

NOW = 1_900_000_000.0
LOOKUP = BatchLookup()


def rebuilt(controller: Controller) -> Controller:
    """A controller on the database that was made again."""
    settings = controller.settings
    controller.database.close()
    for path in settings.home.glob("cumulus.sqlite*"):
        path.unlink()
    rebuild_database(settings, NOW, Lines(print))
    made = make_controller(settings, LocalCloud(settings, installation_id(settings.home)))
    made.jobs.finish_interrupted()
    return made


@pytest.mark.parametrize("is_behind", [True, False])
def test_a_batch_is_made_again_from_its_jobs(controller: Controller, is_behind: bool) -> None:
    made = submitted(controller, 3, name="Plasma", key="monday")
    Job.update(state=JobState.FAILED, outcome=JobState.FAILED, ended=NOW).where(Job.id == 2).execute()
    before = LOOKUP.details(ADA, BatchQuery(batch=made.batch))
    if not is_behind:
        Manifests(controller.storage).keep_up()
    again = rebuilt(controller)
    after = LOOKUP.details(ADA, BatchQuery(batch=made.batch))
    if is_behind:  # killed before the manifests were written again: the jobs are there as they were submitted
        assert after.states == {"uploading": 3}
    else:
        assert after == before
    assert (after.name, after.size, after.created) == ("Plasma", 3, before.created)
    assert not submitted(again, 3, name="Plasma", key="monday").is_new
    assert Batch.select().count() == 1
    again.database.close()


def test_a_retry_is_in_the_folders_before_it_is_answered(controller: Controller) -> None:
    made = submitted(controller, 1)
    Job.update(state=JobState.FAILED, outcome=JobState.FAILED, ended=NOW).execute()
    again = controller.batches.retry(ADA, made.batch)
    later = rebuilt(controller)
    (job,) = LOOKUP.details(ADA, BatchQuery(batch=made.batch)).jobs
    assert (job.job, job.tries) == (again.jobs[0].job, 2)
    later.database.close()


def test_a_cancellation_is_in_the_folders_before_it_is_answered(controller: Controller) -> None:
    made = submitted(controller, 2)
    controller.batches.cancel(ADA, made.batch)
    later = rebuilt(controller)
    assert LOOKUP.details(ADA, BatchQuery(batch=made.batch)).states == {"cancelled": 2}
    later.database.close()


def test_a_retry_and_a_deletion_are_remembered(controller: Controller) -> None:
    made = submitted(controller, 2)
    Job.update(state=JobState.FAILED, outcome=JobState.FAILED, ended=NOW).execute()
    controller.batches.retry(ADA, made.batch)
    controller.jobs.delete(ADA, 2)
    Manifests(controller.storage).keep_up()
    before = LOOKUP.details(ADA, BatchQuery(batch=made.batch))
    again = rebuilt(controller)
    assert LOOKUP.details(ADA, BatchQuery(batch=made.batch)) == before
    assert [job.tries for job in before.jobs] == [2, 2]
    assert submitted(again, 1).batch == 2
    again.database.close()
