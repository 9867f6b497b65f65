"""Jobs on machines that start them by themselves, on the local cloud: real terraform and runner, and a boot that is pretended."""

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from server.app import Controller
from server.db.models import Job, Worker
from server.home.installation import installation_id
from server.services.principal import Principal
from server.settings import Settings
from server.states import JobState
from server.workers.clouds.base import Layout
from server.workers.clouds.local import LocalCloud, LocalImages
from tests.conftest import eventually, state_of, submission, turning
from tests.engine.test_lifecycle import begin, folder_of, is_final, moves, nothing_left

pytestmark = pytest.mark.system


class BootingImages(LocalImages):
    def starts_jobs_at_boot(self) -> bool:
        return True


class BootingCloud(LocalCloud):
    """What a machine does when it has booted is done while it is made: ``begins``."""

    begins = True
    fails = False  # the apply, after that

    def __init__(self, settings: Settings, server_id: str) -> None:
        super().__init__(settings, server_id, BootingImages())
        self._commands: dict[str, str] = {}

    def layout(self, worker: str, job_dir: Path) -> Layout:
        found = super().layout(worker, job_dir)
        self._commands[worker] = shlex.join(found.start_command)
        return replace(found, job_variables={"job": job_dir.name})

    @property
    def faults(self) -> dict[str, str]:
        end = "; echo 'the state cannot be written'; exit 1" if self.fails else ""
        return {worker: command + end for worker, command in self._commands.items()} if self.begins else {}


@pytest.fixture
def cloud(settings: Settings) -> BootingCloud:
    return BootingCloud(settings, installation_id(settings.home))


@pytest.fixture
def running(controller: Controller) -> Iterator[Controller]:
    with turning(controller):
        yield controller


def test_a_job_that_its_machine_starts_runs_once_and_nobody_orders_it(running: Controller) -> None:
    job_id = begin(running, submission())
    eventually(is_final(job_id))
    assert state_of(job_id) is JobState.DONE
    assert moves(job_id) == ["uploading", "queued", "provisioning", "starting", "running", "finishing", "done"]
    folder = folder_of(running, job_id)
    assert (folder / ".cumulus.log").read_text().count("probe started") == 1
    assert not list((running.settings.home / "plays").glob("*.start"))
    eventually(lambda: nothing_left(running))


def test_a_job_that_has_begun_goes_on_whatever_became_of_the_terraform_that_made_its_machine(
    running: Controller, cloud: BootingCloud
) -> None:
    cloud.fails = True
    job_id = begin(running, submission())
    eventually(is_final(job_id))
    assert moves(job_id) == ["uploading", "queued", "provisioning", "starting", "running", "finishing", "done"]
    assert [Worker.select().where(Worker.job_id == job_id).count(), Job.get_by_id(job_id).attempt] == [1, 1]
    assert (folder_of(running, job_id) / ".cumulus.log").read_text().count("probe started") == 1
    eventually(lambda: nothing_left(running))


def test_a_job_cancelled_before_its_machine_has_begun_is_cancelled_at_once(running: Controller, cloud: BootingCloud) -> None:
    cloud.begins = False
    job_id = begin(running, submission())
    eventually(lambda: state_of(job_id) is JobState.STARTING)
    running.jobs.cancel(Principal.desktop("ada"), job_id)
    eventually(lambda: nothing_left(running))
    assert state_of(job_id) is JobState.CANCELLED
    assert not list(folder_of(running, job_id).glob(".cumulus.attempt.*"))
