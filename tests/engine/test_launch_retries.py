"""A cloud that has a bad moment, or copies a disk for long: what was begun is gone on with, and nobody else is held up for it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from server.app import Controller
from server.catalog.flavors import Flavor
from server.db.models import Job, Worker
from server.engine.breaker import read_breaker
from server.errors import CloudError, StillCopying
from server.home.installation import installation_id
from server.policy.circuit_breaker import Breaker
from server.reasons import Reason
from server.settings import Settings
from server.states import JobState
from server.workers.clouds.local import LocalCloud
from server.workers.terraform.module import TerraformError, TerraformModule
from tests.conftest import eventually, state_of, submission, turning

POLL = "Error waiting for volume: Expected HTTP response code [200] when accessing [GET http://c/1], but got 500 instead: <html>"


class MoodyCloud(LocalCloud):
    """One that carries out an order, and then fails at a poll, while ``home/bad`` is there; once for each machine without.

    ``refusing``: it answers nothing at all; ``copying``: how many looks find the disk not ready yet.
    """

    refusing: Reason | None = None
    copying = 0
    taken_up = 0

    @property
    def faults(self) -> Mapping[str, str]:
        bad, met = self._settings.home / "bad", self._settings.home / "met"
        command = f'[ -e {met}.$WORKER -a ! -e {bad} ] || {{ touch {met}.$WORKER; echo "{POLL}"; exit 1; }}'
        return {f"job-{number}": command for number in range(1, 9)} if bad.parent.joinpath("moody").exists() else {}

    def terraform_vars(self, worker: str, flavor: Flavor) -> dict[str, object]:
        if self.refusing:
            raise CloudError("the cloud: its service is not available now", self.refusing)
        return super().terraform_vars(worker, flavor)

    @property
    def resumption(self) -> "MoodyCloud":
        return self

    def take_up(self, worker: str, module: TerraformModule) -> None:
        self.taken_up += 1
        if self.is_copying(worker):
            self.copying -= 1
            raise StillCopying(f"the disk of {worker} is being copied")

    def is_copying(self, worker: str) -> bool:
        return self.copying > 0


@pytest.fixture
def cloud(settings: Settings) -> MoodyCloud:
    settings.breaker_failures, settings.breaker_pause_s, settings.max_attempts = 2, 600.0, 1
    return MoodyCloud(settings, installation_id(settings.home))


@pytest.fixture
def moody(settings: Settings) -> None:
    settings.home.mkdir(parents=True, exist_ok=True)
    (settings.home / "moody").touch()


def begin(controller: Controller, number: int = 1) -> list[int]:
    found = []
    for _ in range(number):
        job = controller.jobs.submit(*submission())
        controller.storage.folder(job.folder).mark_arrived()
        found.append(int(job.id))
    controller.loop.wake()
    return found


def are_done(jobs: list[int]) -> Callable[[], bool]:
    return lambda: all(state_of(one) is JobState.DONE for one in jobs)


def machines() -> dict[str, int]:
    """Attempt of each job's machines, by name."""
    return {one.name: one.attempt for one in Worker.select().where(Worker.job_id.is_null(False))}


@pytest.mark.usefixtures("moody")
def test_a_poll_that_fails_costs_neither_the_machine_nor_the_attempt_nor_others_their_turn(controller: Controller) -> None:
    with turning(controller):
        jobs = begin(controller, 6)
        eventually(are_done(jobs))
        assert machines() == {f"job-{one}": 1 for one in jobs}
        assert read_breaker() == Breaker()
        assert {one.message for one in Job.select()} == {""}


@pytest.fixture
def impatient(settings: Settings) -> None:
    settings.cloud_patience_s = 0.3


@pytest.mark.usefixtures("moody", "impatient")
def test_trouble_that_lasts_pauses_the_others_and_what_was_begun_is_gone_on_with(
    controller: Controller, settings: Settings
) -> None:
    (settings.home / "bad").touch()
    with turning(controller):
        jobs = begin(controller)
        eventually(lambda: read_breaker().is_open)
        assert machines() == {f"job-{jobs[0]}": 1}
        (settings.home / "bad").unlink()
        eventually(are_done(jobs))
        assert machines() == {f"job-{jobs[0]}": 1}
        assert not read_breaker().is_open


def test_a_cloud_that_does_not_answer_pauses_nobody_before_the_patience_is_over(
    controller: Controller, cloud: MoodyCloud
) -> None:
    cloud.refusing = Reason.CLOUD_UNREACHABLE
    with turning(controller):
        jobs = begin(controller, 3)
        eventually(lambda: all(Job.get_by_id(one).message.startswith("The cloud is asked again: ") for one in jobs))
        assert not read_breaker().is_open
        cloud.refusing = None
        eventually(are_done(jobs))
        assert machines() == {f"job-{one}": 1 for one in jobs}


@pytest.mark.usefixtures("impatient")
def test_a_job_of_which_nothing_is_made_waits_in_the_queue_when_the_patience_is_over(
    controller: Controller, cloud: MoodyCloud
) -> None:
    cloud.refusing = Reason.CLOUD_BUSY
    with turning(controller):
        (job_id,) = begin(controller)
        eventually(lambda: state_of(job_id) is JobState.QUEUED and read_breaker().is_open)
        job = Job.get_by_id(job_id)
        assert (job.spared, job.attempt) == (1, 1)
        assert job.message.startswith("Waiting: The cloud is overloaded.")


def test_the_end_of_an_attempt_in_the_clouds_trouble_does_not_count(
    controller: Controller, cloud: MoodyCloud, settings: Settings
) -> None:
    cloud.refusing = Reason.CLOUD_BUSY
    with turning(controller):
        (job_id,) = begin(controller)
        eventually(lambda: Job.get_by_id(job_id).message.startswith("The cloud is asked again"))
        job = Job.get_by_id(job_id)
        controller.stages.timeouts.expire(job, job.state_since + settings.provisioning_limit_s + 1)
        assert (Job.get_by_id(job_id).spared, Job.get_by_id(job_id).state) == (1, JobState.QUEUED)


@pytest.mark.usefixtures("moody")
def test_a_disk_that_is_copied_for_longer_than_allowed_is_waited_for(
    controller: Controller, cloud: MoodyCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.engine.launching.launch_retries.COPY_PAUSE_S", 0.05)
    cloud.copying = 4
    with turning(controller):
        jobs = begin(controller)
        eventually(are_done(jobs))
        assert (cloud.copying, cloud.taken_up) == (0, 5)
        assert machines() == {f"job-{jobs[0]}": 1}
        assert not read_breaker().is_open


@pytest.mark.usefixtures("moody")
def test_what_was_begun_stays_what_it_was_made_of(controller: Controller, tmp_path: Path) -> None:
    flavor = controller.flavors["m1.4xlarge"]
    layout = controller.fleet.layout("job-1", tmp_path)
    with pytest.raises(TerraformError, match="but got 500"):
        controller.fleet.launch(
            "job-1", flavor, layout, on_machine=lambda _: None, unwanted=lambda: False, has_started=lambda: False
        )
    module = controller.fleet._module
    file = module.store.variable_files.path("job-1")
    file.write_text(file.read_text().replace('"local"', '"former"'))
    assert controller.fleet._variables("job-1", flavor)["snapshot"] == "former"
    controller.fleet.remove("job-1", tmp_path, at_rest=True)
