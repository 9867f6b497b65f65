"""An app that the machines lack is refused by every way in, waits where it was taken before, and is shown as lacking."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from server.app import Controller, make_controller
from server.application import create_app
from server.db.models import Event, Job
from server.engine.breaker import read_breaker
from server.engine.installed_apps import UNKNOWN, InstalledApps
from server.errors import CloudError, CumulusError, TemplateMissing
from server.home.installation import installation_id
from server.settings import Settings
from server.states import JobState
from server.workers.clouds.installed_apps import FAILED_FOR_S, OwnApps
from server.workers.clouds.local import LocalCloud, LocalImages
from server.workers.clouds.smoke_results import AppResult, NoResults, RecordedResults, SmokeResults, short
from tests.catalog.building import tool
from tests.conftest import eventually, state_of, submission, turning

NUMBER = '<number name="n" label="N" value="1" command="-n %value%"/>'
COMMAND = "echo one 1.0"
ONE = {short("one_1"): AppResult(short(COMMAND), "one 1.0")}


class SnapshotImages(LocalImages):
    """A snapshot with smoke results to order; an error is raised as one."""

    tried: SmokeResults | CumulusError = NoResults()
    tried_by_name: Mapping[str, SmokeResults] = {}

    def smoke_results(self, snapshot: str = "") -> SmokeResults:
        """As the test says."""
        if isinstance(self.tried, CumulusError):
            raise self.tried
        return self.tried_by_name.get(snapshot, self.tried)


class SnapshotCloud(LocalCloud):
    """The local cloud with them."""

    images: SnapshotImages


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    folder = tmp_path / "apps"
    folder.mkdir()
    put(folder, COMMAND)
    (folder / "plain_1.xml").write_text(tool(NUMBER, id="plain_1", name="Plain", version="1", command="true"))
    return settings.model_copy(update={"apps": folder})


def put(folder: Path, command: str) -> None:
    """The app ``one_1`` with that version command."""
    text = tool(NUMBER, id="one_1", name="One", version="1", command="echo", version_command=command)
    (folder / "one_1.xml").write_text(text)


@pytest.fixture
def cloud(settings: Settings) -> SnapshotCloud:
    return SnapshotCloud(settings, installation_id(settings.home), SnapshotImages())


@pytest.fixture
def plain(settings: Settings) -> Iterator[Controller]:
    """On this computer itself."""
    made = make_controller(settings, LocalCloud(settings, installation_id(settings.home)))
    yield made
    made.loop.stop(5)
    made.database.close()


def refused(controller: Controller, app: str = "one_1") -> str:
    with pytest.raises(CumulusError) as caught:
        controller.jobs.submit(*submission(app=app, settings="{}"))
    assert (caught.value.code, caught.value.field) == ("app_not_installed", "app")
    assert Job.select().count() == 0
    return caught.value.message


def test_what_ran_on_the_snapshot_is_taken_and_what_did_not_is_refused(controller: Controller, cloud: SnapshotCloud) -> None:
    cloud.images.tried = RecordedResults({})
    words = "One 1 is not installed on the machines yet; run make snapshot. Your administrator has to correct this."
    assert refused(controller) == words
    assert controller.jobs.not_installed() == {"one_1"}
    cloud.images.tried = RecordedResults(ONE)
    assert controller.jobs.submit(*submission(app="one_1", settings="{}")).id == 1
    assert controller.jobs.not_installed() == frozenset()


def test_an_app_whose_version_command_has_changed_since_is_refused(
    controller: Controller, cloud: SnapshotCloud, settings: Settings
) -> None:
    cloud.images.tried = RecordedResults({short("one_1"): AppResult(short("echo one 0.9"), "one 0.9")})
    assert "make snapshot" in refused(controller)


def test_an_app_without_a_version_command_has_nothing_to_prove(controller: Controller, cloud: SnapshotCloud) -> None:
    cloud.images.tried = RecordedResults({})
    assert controller.jobs.submit(*submission(app="plain_1", settings="{}")).id == 1


@pytest.mark.parametrize("tried", [NoResults(), TemplateMissing("none"), CloudError("away")])
def test_where_nobody_knows_jobs_are_taken(controller: Controller, cloud: SnapshotCloud, tried: SmokeResults) -> None:
    cloud.images.tried = tried
    assert controller.jobs.submit(*submission(app="one_1", settings="{}")).id == 1
    assert controller.jobs.not_installed() == frozenset()


def test_a_snapshot_that_remembers_no_apps_is_told_of(controller: Controller, cloud: SnapshotCloud) -> None:
    installed = InstalledApps(controller.catalog, cloud)
    assert installed.hint() == UNKNOWN
    cloud.images.tried = RecordedResults({})
    assert installed.hint() == ""


def test_the_desktop_client_is_told_and_gets_the_app_of_a_job_that_it_lists_all_the_same(
    controller: Controller, cloud: SnapshotCloud
) -> None:
    web = create_app(controller).test_client()
    assert 'hidden="true"' not in json.loads(web.get("/apps").data)["one_1"]
    cloud.images.tried = RecordedResults({})
    assert 'hidden="true"' in json.loads(web.get("/apps").data)["one_1"]
    form = {"username": "ada", "app_name": "one_1", "strategy": "m1.4xlarge", "settings": "{}"}
    words, folder = web.post("/start", data=form).json
    assert (words.startswith("One 1 is not installed on the machines yet"), folder) == (True, "")
    cloud.images.tried = NoResults()
    assert web.post("/start", data=form).json[0] == 1
    cloud.images.tried = RecordedResults({})
    listed = json.loads(web.get("/apps").data)["one_1"]
    assert 'hidden="true"' not in listed
    assert "No longer offered" in listed


def test_a_job_that_was_taken_waits_while_its_app_is_gone_and_holds_up_no_other(
    controller: Controller, cloud: SnapshotCloud
) -> None:
    gone, other = (controller.jobs.submit(*submission(app=app, settings="{}")) for app in ("one_1", "plain_1"))
    for job in (gone, other):
        controller.storage.folder(job.folder).mark_arrived()
    cloud.images.tried = RecordedResults({})
    with turning(controller):
        eventually(lambda: "not installed" in Job.get_by_id(gone.id).message and state_of(gone.id) is JobState.QUEUED)
        eventually(lambda: state_of(other.id) is JobState.DONE)
        assert not read_breaker().is_open
        row = Job.get_by_id(gone.id)
        assert row.message.startswith(
            "Waiting: The app is not installed on the machines. Your administrator has to correct this."
        )
        assert row.attempt == row.spared
        assert "app_not_installed" in {event.reason for event in Event.select().where(Event.subject_id == gone.id)}
        cloud.images.tried = RecordedResults(ONE)
        eventually(lambda: state_of(gone.id) is JobState.DONE)


def test_a_machine_that_was_made_of_another_snapshot_meanwhile_does_not_start_the_app(
    controller: Controller, cloud: SnapshotCloud
) -> None:
    job = controller.jobs.submit(*submission(app="one_1", settings="{}"))
    controller.storage.folder(job.folder).mark_arrived()
    cloud.images.tried, cloud.images.tried_by_name = RecordedResults(ONE), {"local": RecordedResults({})}
    with turning(controller):
        eventually(lambda: "not installed" in Job.get_by_id(job.id).message)
        cloud.images.tried_by_name = {}
        eventually(lambda: state_of(job.id) is JobState.DONE)
    assert [path.name for path in controller.storage.folder(job.folder).path.glob(".cumulus.attempt.*")] == [
        f".cumulus.attempt.{Job.get_by_id(job.id).attempt}"
    ]


def test_a_workflow_with_such_an_app_is_hidden_too(controller: Controller, cloud: SnapshotCloud, settings: Settings) -> None:
    for name, app in (("a", "one_1"), ("b", "plain_1")):
        (settings.apps / f"{name}.xml").write_text(f'<workflow id="w{name}_1" name="W" version="1"><tool id="{app}"/></workflow>')
    cloud.images.tried = RecordedResults({})
    assert controller.jobs.not_installed() == {"one_1", "wa_1"}


def test_where_jobs_run_on_this_computer_an_app_is_tried_once_when_it_is_first_wanted(
    plain: Controller, settings: Settings, tmp_path: Path
) -> None:
    trace, there = tmp_path / "trace", tmp_path / "there"
    put(settings.apps, f"echo x >> '{trace}'; test -e '{there}'")
    assert plain.jobs.not_installed() == frozenset()
    assert not trace.exists()
    assert "make snapshot" in refused(plain)
    assert plain.jobs.not_installed() == {"one_1"}
    there.touch()
    for _ in range(3):
        plain.jobs.submit(*submission(app="one_1", settings="{}"))
    assert trace.read_text() == "x\nx\n"
    assert plain.jobs.not_installed() == frozenset()


def test_a_version_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    apps = OwnApps(limit_s=0.2)
    assert apps.version("hangs_1", f"(sleep 1; touch '{trace}') & sleep 600") is None
    assert apps.version("quick_1", "echo; echo '  v  1 '; echo more") == "v 1"
    assert apps.version("quiet_1", "true") == ""
    assert apps.version("silly_1", "exit 1") is None
    assert not trace.exists()


def test_what_has_failed_here_is_offered_again_after_a_while() -> None:
    now = [0.0]
    apps = OwnApps(clock=lambda: now[0])
    assert apps.version("none_1", "no-such-program-at-all") is None
    assert apps.lacks("none_1", "no-such-program-at-all")
    now[0] += FAILED_FOR_S
    assert not apps.lacks("none_1", "no-such-program-at-all")
