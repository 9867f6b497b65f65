"""What people do with jobs, and what they are refused."""

import json
import shutil
from pathlib import Path

import pytest

from agent.queue.states import FailureKind
from server.app import Controller, make_controller
from server.db.models import Event, Job
from server.engine.records.job_store import StorageFull
from server.errors import CumulusError, InvalidInput, NotFound, TemplateMissing
from server.reasons import Reason
from server.services.jobs.service import AGENT_FAILURES, AlreadyEnded
from server.services.principal import Principal
from server.settings import Settings
from server.states import JobState
from server.storage.folders import StorageUnusable
from server.workers.clouds.local import LocalCloud, LocalImages
from tests.conftest import state_of, submission


def test_a_submitted_job_has_a_row_a_folder_and_an_event(controller: Controller) -> None:
    job = controller.jobs.submit(*submission(description="first"))
    folder = controller.storage.folder(job.folder)
    assert job.folder.startswith(f"Job_{job.id}_ada_probe_1.0_")
    assert state_of(job.id) is JobState.UPLOADING
    assert json.loads((folder.path / ".cumulus.settings").read_text())["text"] == "hello"
    assert folder.input.is_dir()
    assert folder.output.is_dir()
    assert [(event.new, event.who) for event in Event.select()] == [("uploading", "ada")]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"owner": ""}, "owner"),
        ({"owner": "<b>ada</b>"}, "owner"),
        ({"owner": "../ada"}, "owner"),
        ({"owner": "a" * 65}, "owner"),
        ({"app": "unknown_9"}, "app"),
        ({"app": ""}, "app"),
        ({"app": "../../etc/passwd"}, "app"),
        ({"flavor": "m1.none"}, "flavor"),
        ({"flavor": ""}, "flavor"),
        ({"flavor": "m1.heavy"}, "flavor"),
        ({"settings": ""}, "settings"),
        ({"settings": "{"}, "settings"),
        ({"settings": "[]"}, "settings"),
        ({"settings": "[" * 100_000}, "settings"),
        ({"settings": '{"outcome": "no such choice"}'}, "outcome"),
        ({"settings": '{"seconds": "soon"}'}, "seconds"),
        ({"description": "x" * 10_001}, "description"),
        ({"start_after": "x"}, "start_after"),
        ({"start_after": "99"}, "start_after"),
        ({"start_after": "-1"}, "start_after"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_stored(controller: Controller, change: dict[str, str], field: str) -> None:
    with pytest.raises((InvalidInput, NotFound)) as caught:
        controller.jobs.submit(*submission(**change))
    assert caught.value.field == field
    assert caught.value.message
    assert Job.select().count() == 0
    assert list(controller.storage.jobs.iterdir()) == []


def test_a_full_storage_refuses_new_jobs_and_takes_them_again_when_there_is_room(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(controller.storage.root).free
    controller.jobs._store._min_free = free + 1e12
    with pytest.raises(StorageFull, match="storage is full"):
        controller.jobs.submit(*submission())
    controller.jobs._store._min_free = 0
    assert controller.jobs.submit(*submission()).id == 1


def test_a_folder_that_cannot_be_made_leaves_no_row(controller: Controller) -> None:
    shutil.rmtree(controller.storage.jobs)
    controller.storage.jobs.write_text("in the way")
    with pytest.raises(StorageUnusable, match="is away"):
        controller.jobs.submit(*submission())
    assert Job.select().count() == 0
    assert Event.select().count() == 0


def test_only_the_owner_cancels_and_only_once(controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    with pytest.raises(NotFound):
        controller.jobs.cancel(Principal.desktop("eve"), job.id)
    assert "is cancelled" in controller.jobs.cancel(Principal.desktop("ada"), job.id)
    assert state_of(job.id) is JobState.CANCELLED
    with pytest.raises(AlreadyEnded, match="already ended"):
        controller.jobs.cancel(Principal.desktop("ada"), job.id)
    assert Job.get_by_id(job.id).reason == Reason.CANCELLED


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("source_unreadable", Reason.UPLOAD_FAILED),
        ("", Reason.UPLOAD_FAILED),
        ("something new", Reason.UPLOAD_FAILED),
        ("target_full", Reason.CONTROLLER_DISK_FULL),
        ("login_refused", Reason.UPLOAD_REFUSED),
    ],
)
def test_whose_matter_it_is_that_files_did_not_arrive(controller: Controller, trouble: str, reason: Reason) -> None:
    job = controller.jobs.submit(*submission())
    controller.jobs.fail(Principal.agent(), job.id, "what the agent met", trouble)
    assert Job.get_by_id(job.id).reason == reason


def test_the_agent_knows_each_trouble_by_the_name_that_the_controller_expects() -> None:
    of_the_sender = {FailureKind.SOURCE_UNREADABLE, FailureKind.SOURCE_CHANGED, FailureKind.UNKNOWN}
    assert set(FailureKind) - of_the_sender == set(AGENT_FAILURES)
    assert all(FailureKind.named_in(f"{one.text} (rsync: …)") is one for one in FailureKind)


def test_the_agent_fails_only_a_job_that_waits_for_files(controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    controller.jobs.fail(Principal.agent(), job.id, "no such file: a.raw")
    row = Job.get_by_id(job.id)
    assert (row.state, row.message) == ("failed", Reason.UPLOAD_FAILED.explain("no such file: a.raw"))
    done = controller.jobs.submit(*submission())
    Job.update(state=JobState.RUNNING).where(Job.id == done.id).execute()
    controller.jobs.fail(Principal.agent(), done.id, "late")
    assert state_of(done.id) is JobState.RUNNING


def test_a_refusal_is_an_expected_error_with_a_code(controller: Controller) -> None:
    with pytest.raises(CumulusError) as caught:
        controller.jobs.submit(*submission(flavor="m1.heavy"))
    assert caught.value.code == "invalid_input"
    assert "weighs 9, more than the 4" in caught.value.message


class BareImages(LocalImages):
    """Machines without any converter."""

    def has_program(self, name: str) -> bool:
        """None is there."""
        return False


@pytest.mark.parametrize(
    ("file", "words"), [("a.raw", "ThermoRawFileParser"), ("run.d", "tdf2mzml"), ("b.mgf", "msconvert"), ("c.txt", "kind")]
)
def test_a_file_that_no_machine_can_convert_is_refused_before_the_job_starts(
    settings: Settings, tmp_path: Path, file: str, words: str
) -> None:
    settings.apps = tmp_path / "apps"
    settings.apps.mkdir()
    controller = make_controller(settings, LocalCloud(settings, "ctest", BareImages()))
    (settings.apps / "needs_1.xml").write_text(
        '<tool id="needs_1" name="needs" version="1" command="true" end_tag=""><section name="s" title="S">'
        '<filelist name="spectra" label="S" multiple="true" is_folder="false" is_raw_input="true" convert_to_mzml="true"/>'
        "</section></tool>"
    )
    with pytest.raises(InvalidInput, match=words) as caught:
        controller.jobs.submit(*submission(app="needs_1", settings=json.dumps({"spectra": [f"/x/{file}"]})))
    assert caught.value.field == "spectra"
    assert Job.select().count() == 0
    controller.loop.stop(1)
    controller.database.close()


@pytest.mark.parametrize("there", [True, False])
def test_an_app_that_needs_a_licence_can_be_used_where_its_program_is_installed(
    settings: Settings, tmp_path: Path, there: bool
) -> None:
    settings.apps = tmp_path / "apps"
    settings.apps.mkdir()
    (settings.apps / "paid_1.xml").write_text(
        '<tool id="paid_1" name="Paid" version="1" command="sh" end_tag="" program="sh" licence="ask Ada for it"/>'
    )
    controller = make_controller(settings, LocalCloud(settings, "ctest", LocalImages() if there else BareImages()))
    if there:
        assert controller.jobs.submit(*submission(app="paid_1", settings="{}")).id == 1
    else:
        with pytest.raises(InvalidInput, match=r"Paid 1 is not installed on the machines: ask Ada for it") as caught:
            controller.jobs.submit(*submission(app="paid_1", settings="{}"))
        assert caught.value.field == "app"
        assert Job.select().count() == 0
    assert controller.jobs.not_installed() == (frozenset() if there else {"paid_1"})
    controller.loop.stop(1)
    controller.database.close()


class NoImages(LocalImages):
    """Nothing to make machines of."""

    def has_program(self, name: str) -> bool:
        """Nobody knows."""
        raise TemplateMissing("there is no machine image")


def test_where_no_machine_can_be_made_no_licensed_program_is_installed(settings: Settings, tmp_path: Path) -> None:
    settings.apps = tmp_path / "apps"
    settings.apps.mkdir()
    (settings.apps / "paid_1.xml").write_text(
        '<tool id="paid_1" name="Paid" version="1" command="sh" end_tag="" program="sh" licence="ask Ada for it"/>'
    )
    controller = make_controller(settings, LocalCloud(settings, "ctest", NoImages()))
    assert controller.jobs.not_installed() == {"paid_1"}
    controller.loop.stop(1)
    controller.database.close()


def test_a_job_whose_files_never_come_ends_by_itself_with_its_reason(settings: Settings, cloud: LocalCloud) -> None:
    now = [1_800_000_000.0]
    controller = make_controller(settings, cloud, clock=lambda: now[0], steady=lambda: now[0])
    job = controller.jobs.submit(*submission())
    now[0] += settings.upload_timeout_s - 1
    controller.loop.turn()
    assert state_of(job.id) is JobState.UPLOADING
    now[0] += 2
    controller.loop.turn()
    row = Job.get_by_id(job.id)
    assert (row.state, row.reason, row.ended) == (JobState.FAILED, Reason.UPLOAD_TIMEOUT, now[0])
    assert row.message == "The input files did not arrive in time. You can correct this."
    controller.loop.stop(1)
    controller.database.close()
