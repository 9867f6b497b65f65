"""Machines that wait ready for a job, on the local cloud: real terraform, ansible and runner."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.app import Controller, make_controller, rebuild_database
from server.catalog.flavors import Flavor
from server.db.models import Change, Event, Job, Worker, living_workers, open_database
from server.db.settings_store import drain, resume
from server.engine.ready_pool import is_waiting
from server.errors import InfrastructureError, InvalidInput
from server.home.installation import installation_id
from server.progress import Lines
from server.services.principal import Principal
from server.settings import Settings
from server.states import JobState, WorkerState
from server.workers.clouds.local import LocalCloud, LocalImages
from tests.conftest import eventually, state_of, submission, turning

pytestmark = pytest.mark.system

SMALL, LARGE = "m1.4xlarge", "m1.8xlarge"  # they weigh 1 and 2; the limit is 4
LONG = '{"text": "hello", "seconds": "60", "outcome": "ok"}'


class ChangingImages(LocalImages):
    """Another snapshot may be promoted."""

    snapshot = "local"

    def current(self) -> str:
        return self.snapshot


class ChangingCloud(LocalCloud):
    """Its snapshot may change, and it may have no room."""

    images: ChangingImages
    failures_left = 0

    def terraform_vars(self, worker: str, flavor: Flavor) -> dict[str, object]:
        if self.failures_left:
            self.failures_left -= 1
            raise InfrastructureError("Quota exceeded for cores")
        return dict(super().terraform_vars(worker, flavor))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"min_ready": {SMALL: 1}})


@pytest.fixture
def cloud(settings: Settings) -> ChangingCloud:
    return ChangingCloud(settings, installation_id(settings.home), ChangingImages())


@pytest.fixture
def running(controller: Controller) -> Iterator[Controller]:
    with turning(controller):
        yield controller


def waiting() -> list[str]:
    return [worker.name for worker in living_workers() if is_waiting(worker)]


def submit(controller: Controller, **changes: str) -> int:
    job = controller.jobs.submit(*submission(**changes))
    controller.storage.folder(job.folder).mark_arrived()
    return int(job.id)


def workers_of(job: int) -> list[str]:
    return [worker.name for worker in Worker.select().where(Worker.job_id == job)]


def history(name: str) -> list[str]:
    worker = Worker.get(Worker.name == name)
    events = Event.select().where(Event.subject == "worker", Event.subject_id == worker.id).order_by(Event.id)
    return [event.new or event.text for event in events]


def test_a_job_takes_a_machine_that_waits_and_no_other_job_ever_has_it(running: Controller) -> None:
    eventually(lambda: len(waiting()) == 1)
    (name,) = waiting()
    assert name == "pool-1"
    job = submit(running)
    eventually(lambda: state_of(job) is JobState.DONE)
    assert workers_of(job) == [name]
    eventually(lambda: Worker.get(Worker.name == name).state == WorkerState.DELETED)
    words = ["requested", "creating", "booting", "ready", f"taken by job {job}", "busy", "deleting", "deleted"]
    assert [word for word in history(name) if word] == words
    eventually(lambda: len(waiting()) == 1)
    assert waiting() != [name]
    other = submit(running)
    eventually(lambda: state_of(other) is JobState.DONE)
    assert workers_of(other) != [name]


def test_a_job_of_another_size_gets_a_machine_of_its_own(running: Controller) -> None:
    eventually(lambda: len(waiting()) == 1)
    job = submit(running, flavor=LARGE)
    eventually(lambda: state_of(job) is JobState.DONE)
    assert workers_of(job) == [f"job-{job}"]


def test_machines_that_wait_make_room_for_a_job_that_does_not_fit_beside_them(running: Controller) -> None:
    eventually(lambda: len(waiting()) == 1)
    (name,) = waiting()
    jobs = [submit(running, flavor=LARGE, settings=LONG) for _ in range(2)]
    eventually(lambda: [state_of(job) for job in jobs] == [JobState.RUNNING] * 2)
    assert Worker.get(Worker.name == name).job_id is None
    assert sum(worker.weight for worker in living_workers()) == 4
    assert waiting() == []
    for job in jobs:
        running.jobs.cancel(Principal.desktop("ada"), job)
    eventually(lambda: len(waiting()) == 1)


@pytest.mark.parametrize(
    ("change", "why"), [("snapshot", "the snapshot has changed"), ("vanished", "the cloud does not list it")]
)
def test_a_machine_that_is_no_longer_what_it_should_be_is_replaced(
    running: Controller, cloud: ChangingCloud, change: str, why: str
) -> None:
    eventually(lambda: len(waiting()) == 1)
    (name,) = waiting()
    if change == "snapshot":
        cloud.images.snapshot = "newer"
    else:
        cloud.delete(cloud.resources()[0])
        running.loop._schedule._sweep_due = 0.0
    running.loop.wake()
    eventually(lambda: waiting() not in ([], [name]))
    assert why in [event.text for event in Event.select().where(Event.new == WorkerState.DELETING)]
    eventually(lambda: Worker.get(Worker.name == name).state == WorkerState.DELETED)


def test_a_machine_that_has_waited_for_long_is_replaced(settings: Settings, cloud: ChangingCloud) -> None:
    controller = make_controller(settings.model_copy(update={"ready_max_age_s": 1.0, "sweep_interval_s": 0.2}), cloud)
    with turning(controller):
        eventually(lambda: len(waiting()) == 1)
        (name,) = waiting()
        eventually(lambda: waiting() not in ([], [name]))
    controller.database.close()


def test_a_drained_queue_keeps_no_machine_waiting(running: Controller) -> None:
    eventually(lambda: len(waiting()) == 1)
    drain("new cables", Change(0.0))
    running.loop.wake()
    eventually(lambda: living_workers() == [])
    resume(Change(0.0))
    running.loop.wake()
    eventually(lambda: len(waiting()) == 1)


def test_a_machine_that_cannot_be_made_is_tried_again_later_and_no_job_fails_for_it(
    running: Controller, cloud: ChangingCloud
) -> None:
    eventually(lambda: len(waiting()) == 1)
    cloud.failures_left = 2
    cloud.images.snapshot = "newer"
    running.loop.wake()
    eventually(lambda: cloud.failures_left == 0)
    eventually(lambda: len(waiting()) == 1)
    failed = [worker.message for worker in Worker.select().where(Worker.message != "")]
    assert failed == ["Quota exceeded for cores"] * 2


def test_a_job_whose_waiting_machine_is_gone_gets_another_one(running: Controller, cloud: ChangingCloud) -> None:
    eventually(lambda: len(waiting()) == 1)
    cloud.delete(cloud.resources()[0])
    job = submit(running)
    eventually(lambda: state_of(job) is JobState.DONE)
    assert Job.get_by_id(job).attempt == 2


def test_a_new_controller_goes_on_with_the_machines_that_wait_or_are_being_made(
    settings: Settings, cloud: ChangingCloud, controller: Controller
) -> None:
    controller.loop.turn()  # asks for one, and begins to make it
    controller.loop.stop(grace_s=15)
    first = [worker.name for worker in living_workers()]
    next_one = make_controller(settings, cloud)
    with turning(next_one):
        eventually(lambda: waiting() == first)


def test_a_lost_database_leaves_the_job_its_machine_and_takes_away_those_that_wait(
    settings: Settings, running: Controller, cloud: ChangingCloud
) -> None:
    eventually(lambda: len(waiting()) == 1)
    job = submit(running, settings=LONG)
    eventually(lambda: state_of(job) is JobState.RUNNING)
    eventually(lambda: len(waiting()) == 1)
    (taken,), (left,) = workers_of(job), waiting()
    running.loop.stop(grace_s=15)
    running.database.close()
    for path in Path(settings.home).glob("cumulus.sqlite*"):
        path.unlink()
    rebuild_database(settings, 1_900_000_000.0, Lines(print))
    open_database(settings.database)
    states = {worker.name: (worker.state, worker.job_id, worker.attempt) for worker in Worker.select()}
    assert states == {taken: ("busy", job, 1), left: ("deleting", None, 0)}
    running.fleet.remove_all(running.storage.jobs)  # the job would go on for a minute
    assert cloud.resources() == []


def test_no_machine_waits_unless_that_is_wanted(settings: Settings, cloud: ChangingCloud) -> None:
    controller = make_controller(settings.model_copy(update={"min_ready": {}}), cloud)
    with turning(controller):
        job = submit(controller)
        eventually(lambda: state_of(job) is JobState.DONE)
        eventually(lambda: living_workers() == [])
        assert Worker.select().count() == 1
    controller.database.close()


@pytest.mark.parametrize(
    ("wanted", "words"), [({"m1.huge": 1}, "no machine size 'm1.huge'"), ({LARGE: 3}, "weigh 6, more than the 4")]
)
def test_what_cannot_be_kept_ready_is_refused_at_the_start(settings: Settings, wanted: dict[str, int], words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refusal:
        make_controller(settings.model_copy(update={"min_ready": wanted}))
    assert refusal.value.field == "setting min_ready"
