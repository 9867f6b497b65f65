"""A launch is prepared when its job is queued, and rendered anew only where what it was made from has changed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from server.app import Controller
from server.catalog.apps import App
from server.catalog.flavors import Flavor
from server.db.models import Job
from server.db.settings_store import read_setting
from server.engine.launching import preparation as module
from server.engine.launching.preparation import Form, Preparation, Prepared
from server.engine.records.manifest_format import SIGNING_KEY, stored_settings_text
from server.settings import Settings
from server.states import JobState
from server.storage.folders import JobFolder
from server.workers.clouds.base import Layout
from tests.conftest import eventually, state_of, submission

APP = '<tool id="it_1" name="it" version="1" command="echo {word} %nb_threads% %input_dir%" end_tag=""/>'


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    settings.apps = tmp_path / "apps"
    settings.apps.mkdir()
    (settings.apps / "it.xml").write_text(APP.format(word="first"))
    return settings


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The apps that were rendered."""
    found, render = list[str](), module.render

    def noted(app: App, *arguments: object) -> object:
        found.append(app.id)
        return render(app, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "render", noted)
    return found


class Queued:
    """A job that is queued, and what an attempt finds prepared for it."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        job = controller.jobs.submit(*submission(app="it_1", settings="{}"))
        self.folder: JobFolder = controller.storage.folder(job.folder)
        self.folder.mark_arrived()
        assert not controller.stages.intake.receive(job, job.created)
        assert state_of(job.id) == JobState.QUEUED
        self.job: Job = Job.get_by_id(job.id)

    @property
    def flavor(self) -> Flavor:
        return self.controller.flavors["m1.4xlarge"]

    def layout(self, worker: str) -> Layout:
        return self.controller.fleet.layout(worker, self.folder.path)

    def found(self, worker: str = "", flavor: Flavor | None = None) -> Prepared:
        preparation: Preparation = self.controller.stages.intake._preparation
        layout, file = self.layout(worker or f"job-{self.job.id}"), self.controller.catalog.file_of("it_1")
        return preparation.prepared(self.job, self.folder, flavor or self.flavor, layout, file)

    @property
    def path(self) -> Path:
        return self.folder.path / ".cumulus.prepared"


@pytest.fixture
def queued(controller: Controller, rendered: list[str]) -> Queued:
    return Queued(controller)


def test_a_job_is_rendered_once_and_for_all_attempts(queued: Queued, rendered: list[str]) -> None:
    assert rendered == ["it_1"]
    first, second = queued.found(), queued.found()
    assert rendered == ["it_1"]
    assert first == second
    assert first.rendered[0].command == f"echo first 1 '{queued.layout(f'job-{queued.job.id}').work_dir}/input'"
    assert json.loads(queued.path.read_text().split("\n")[1])["version"] == 1


def test_an_attempt_runs_with_the_xml_of_its_launch(queued: Queued, rendered: list[str]) -> None:
    before = queued.controller.catalog.checksum("it_1")
    (queued.controller.settings.apps / "it.xml").write_text(APP.format(word="second"))
    eventually(lambda: queued.controller.catalog.checksum("it_1") != before)  # it reads its folder once a second
    found = queued.found()
    assert found.rendered[0].command.startswith("echo second ")
    assert found.source.app_sha256 == queued.controller.catalog.checksum("it_1")
    assert rendered == ["it_1"] * 2
    queued.found()
    assert rendered == ["it_1"] * 2


def test_command_and_files_are_of_the_same_xml(controller: Controller, settings: Settings) -> None:
    """Copying a job's files may take minutes, between parsing its form and preparing its launch."""

    def rewrite(word: str, convert: str) -> None:
        before = controller.catalog.checksum("it_1")
        flags = f'multiple="true" is_folder="false" is_raw_input="true" convert_to_mzml="{convert}"'
        section = f'<section name="input" title="Input" expanded="true"><filelist name="f" label="F" {flags}/></section>'
        (settings.apps / "it.xml").write_text(APP.format(word=word).replace("/>", f">{section}</tool>"))
        eventually(lambda: controller.catalog.checksum("it_1") != before)

    rewrite("first", "false")
    job = controller.jobs.submit(*submission(app="it_1", settings='{"f": ["/home/ada/a.mgf"]}'))
    folder, preparation = controller.storage.folder(job.folder), controller.stages.intake._preparation
    job = Job.get_by_id(job.id)
    form = Form.of(job, controller.catalog.file_of("it_1"))
    rewrite("second", "true")
    preparation.prepare(job, folder, form)
    layout = controller.fleet.layout(f"job-{job.id}", folder.path)
    found = preparation.prepared(job, folder, controller.flavors[job.flavor], layout, controller.catalog.file_of("it_1"))
    assert found.rendered[0].command.startswith("echo second ")
    assert [file.convert for file in found.files] == [True]


def test_another_machine_has_its_own_paths_and_processors(queued: Queued) -> None:
    assert "/job-other/" in queued.found("job-other").rendered[0].command
    assert " 7 " in queued.found(flavor=queued.controller.flavors["m1.heavy"]).rendered[0].command


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_text(""),
        lambda path: path.write_text("garbage\n[]\n"),
        lambda path: path.write_bytes(path.read_bytes().replace(b"echo first", b"echo theft")),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["missing", "empty", "garbage", "forged", "folder"],
)
def test_what_nobody_has_prepared_is_prepared_at_the_launch(
    queued: Queued, rendered: list[str], damage: Callable[[Path], object]
) -> None:
    damage(queued.path)
    assert queued.found().rendered[0].command.startswith("echo first ")
    assert rendered == ["it_1"] * 2


def test_another_format_is_not_read(queued: Queued, rendered: list[str]) -> None:
    preparation: Preparation = queued.controller.stages.intake._preparation
    text = queued.path.read_text().split("\n")[1].replace('"version":1', '"version":2')
    queued.path.write_text(f"{preparation._signature(text)}\n{text}\n")
    queued.found()
    assert rendered == ["it_1"] * 2


def test_an_upgraded_controller_renders_again(queued: Queued, rendered: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERSION", "99.0")
    queued.found()
    assert rendered == ["it_1"] * 2
    queued.found()
    assert rendered == ["it_1"] * 2


def test_the_key_stays_in_the_database(queued: Queued) -> None:
    assert len(read_setting(SIGNING_KEY)) == 64
    assert read_setting(SIGNING_KEY) not in stored_settings_text()
    assert SIGNING_KEY not in stored_settings_text()
