"""What the orders in a job's folder say, and whom they let into it, before a machine is there."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.app import Controller, make_controller
from server.db.models import Job, JobState
from server.errors import NotFound
from server.reasons import Reason
from server.settings import Settings
from server.workers.clouds.local import LocalCloud
from tests.conftest import eventually, state_of, submission, turning

APP = '<tool id="{id}_1" name="{id}" version="1" command="true" end_tag="" {more}/>'


class AdmittingCloud(LocalCloud):
    """Says what a folder holds when workers are let into it; lets into none of apps that use the internet, if told so."""

    offline = False

    def __init__(self, settings: Settings, server_id: str) -> None:
        super().__init__(settings, server_id)
        self.admitted: list[tuple[str, dict[str, object]]] = []

    def admit(self, job_dir: Path) -> None:
        """Refuse or take note."""
        plan = json.loads((job_dir / ".cumulus.plan").read_text())
        self.admitted.append((job_dir.name, plan))
        if self.offline and plan["internet"]:
            raise NotFound("slirp4netns is not installed")


@pytest.fixture
def cloud(settings: Settings, tmp_path: Path) -> AdmittingCloud:
    settings.apps = tmp_path / "apps"
    settings.apps.mkdir()
    for name, more in (("inner", ""), ("outer", 'network="internet"')):
        (settings.apps / f"{name}.xml").write_text(APP.format(id=name, more=more))
    return AdmittingCloud(settings, "ctest")


@pytest.fixture
def running(settings: Settings, cloud: AdmittingCloud) -> Iterator[Controller]:
    cloud.start()
    controller = make_controller(settings, cloud)
    with turning(controller):
        yield controller
    controller.loop.stop(grace_s=10)
    controller.database.close()
    cloud.stop()


def ended(controller: Controller, app: str) -> Job:
    job = controller.jobs.submit(*submission(app=app, settings="{}"))
    controller.storage.folder(job.folder).mark_arrived()
    controller.loop.wake()
    eventually(lambda: state_of(job.id).is_final)
    return Job.get_by_id(job.id)


@pytest.mark.system
@pytest.mark.parametrize(("app", "internet"), [("inner_1", False), ("outer_1", True)])
def test_workers_are_let_in_once_the_orders_are_there(
    running: Controller, cloud: AdmittingCloud, app: str, internet: bool
) -> None:
    job = ended(running, app)
    assert job.state == JobState.DONE
    ((folder, plan),) = cloud.admitted
    assert folder == job.folder
    assert plan["internet"] is internet


@pytest.mark.system
def test_an_app_that_cannot_reach_the_internet_is_not_started(running: Controller, cloud: AdmittingCloud) -> None:
    cloud.offline = True
    job = ended(running, "outer_1")
    assert (job.state, job.reason, job.attempt) == (JobState.FAILED, Reason.APP_GONE, 1)
    assert "slirp4netns is not installed" in job.message
    assert ended(running, "inner_1").state == JobState.DONE
