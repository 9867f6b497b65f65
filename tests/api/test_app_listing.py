"""What the desktop client gets of apps: all that it lists, and all that it must have because a job names it."""

import json
from pathlib import Path

import pytest
from lxml import etree

from server.app import Controller
from server.application import create_app
from server.db.models import Job
from server.settings import Settings
from tests.catalog.building import tool
from tests.conftest import TEST_APPS, submission

NUMBER = '<number name="n" label="N" value="1" command="-n %value%"/>'
ABOUT = 'finds > 1 & "more"'
HIDDEN = {
    "hidden_1": {"hidden": "true"},
    "hidden_2": {"hidden": ""},
    "hidden_3": {"hidden": "True", "category": "a"},
    "hidden_4": {"category": "__work_in_progress__"},
}
OPEN = {"hidden": "false", "category": "version_command='x'", "description": ABOUT}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """An installation with apps of its own."""
    folder = tmp_path / "apps"
    folder.mkdir()
    (folder / "probe.xml").write_text((TEST_APPS / "probe_1.0.xml").read_text())
    for app, attributes in HIDDEN.items():
        (folder / f"{app}.xml").write_text(tool(NUMBER, id=app, command="run > 'a b'", description=ABOUT, **attributes))
    (folder / "open.xml").write_text(tool(NUMBER, id="open_1", version_command="run --version > '\"'", **OPEN))
    paid = {"program": "no-such-program", "licence": "ask Ada"}
    (folder / "paid.xml").write_text(tool(NUMBER, id="paid_1", description=ABOUT, **paid))
    (folder / "shell.xml").write_text(tool(NUMBER, id="shell_1", **{**paid, "program": "sh"}))
    (folder / "broken.xml").write_text('<tool id="broken_1"')
    return settings.model_copy(update={"apps": folder})


@pytest.fixture
def texts(controller: Controller) -> "Texts":
    return Texts(controller)


class Texts:
    """What ``/apps`` answers, each read as XML."""

    def __init__(self, controller: Controller) -> None:
        self._client = create_app(controller).test_client()

    def of(self, app: str) -> etree._Element:
        text = json.loads(self._client.get("/apps").data)[app]
        assert text.startswith("<tool ")
        root = etree.fromstring(text)
        assert root.get("id") == app
        return root


def job_of(app: str, controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    Job.update(app=app).where(Job.id == job.id).execute()


def is_visible(root: etree._Element) -> bool:
    """As the client decides it."""
    return root.get("hidden", "false") == "false" and root.get("category") != "__work_in_progress__"


@pytest.mark.parametrize("app", [*sorted(HIDDEN), "paid_1"])
def test_a_hidden_app_is_shown_with_its_form_once_a_job_names_it(controller: Controller, texts: Texts, app: str) -> None:
    assert not is_visible(texts.of(app))
    job_of(app, controller)
    shown = texts.of(app)
    assert is_visible(shown)
    assert shown.get("description") == f"No longer offered. {ABOUT}"
    assert shown.get("command", "").startswith("run")
    assert shown.find("section/number").get("name") == "n"


def test_an_app_that_is_not_hidden_is_served_as_it_is_but_for_what_only_cumulus_knows(
    controller: Controller, texts: Texts
) -> None:
    job_of("open_1", controller)
    shown = texts.of("open_1")
    assert dict(shown.attrib) == {"id": "open_1", "name": "App", "version": "1", "command": "run", "end_tag": "", **OPEN}
    assert shown.find("section/number").get("name") == "n"


@pytest.mark.parametrize("gone", ["gone_2.0", "plain", "broken_1", 'a"b_1', "a_<b>_'1\""])
def test_an_app_that_is_gone_or_broken_is_stood_in_for_once_a_job_names_it(
    controller: Controller, texts: Texts, gone: str
) -> None:
    job_of(gone, controller)
    shown = texts.of(gone)
    assert is_visible(shown)
    assert shown.get("name")
    assert shown.get("description") == "No longer offered"
    assert len(shown) == 0


def test_an_app_whose_program_is_installed_is_shown_without_its_licence(texts: Texts) -> None:
    shown = texts.of("shell_1")
    assert is_visible(shown)
    assert not {"program", "licence"} & set(shown.attrib)
