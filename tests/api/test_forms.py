"""Every way in fills and refuses a form alike: REST, ``submit``, ``workflow run``, ``apps preview``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from server.app import Controller
from server.catalog.apps import Catalog
from server.cli.main import main
from server.cli.sending.shared_files import LocalFiles
from server.cli.shared.inputs import prepare
from server.cli.workflow import prepare_steps
from server.db.models import Job
from server.errors import CumulusError
from server.settings import Settings
from tests.api.test_desktop import START, Wire, wire
from tests.catalog.building import tool

__all__ = ["wire"]

APP = "form_1"
FIELDS = (
    '<filelist name="spectra" label="Spectrum files" multiple="true" is_folder="false" is_raw_input="true" required="true"/>'
    '<filelist name="database" label="Protein database" multiple="false" is_folder="false" is_raw_input="true" required="true"/>'
    '<number name="tol" label="Mass tolerance" value="10" min="0.5" max="20" step="1" placeholder="0.7" command="--tol %value%"/>'
    '<range name="mass" label="Mass, Da" value="1" value2="9" min="0" max="20" command="--mass %value% %value2%"/>'
    '<keyvalues name="mods" label="Modifications" label_key="K" label_value="V" repeated_command="-m %key% %value%">'
    '<option key="C" value="57"/></keyvalues>'
    '<conditional name="c"><checkbox name="refine" label="Refine" value="false" command="--refine"/><when value="true">'
    '<filelist name="extra" label="Extra file" multiple="false" is_folder="false" is_raw_input="true" required="true"/>'
    '<number name="expect" label="Expectation" value="0.01" max="1" command="--expect %value%"/></when></conditional>'
)
FILES = {"spectra": ["/far/a.mzML"], "database": "/far/p.fasta"}
DEFAULTS = {"tol": "10", "mass-min": "1", "mass-max": "9", "mods": [["C", "57"]], "refine": False}
PAGE = {"app_id": APP, "advanced_parameters_visible": False, **FILES, "tol": "10", "refine": False}
BOTH_MISSING = "Spectrum files and Protein database are missing: a file has to be given for each"

# What is given, what is said, the key of the field.
REFUSED: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({**FILES, "tolerance": "5"}, "App has no field 'tolerance'; did you mean tol", "tolerance"),
    ({**PAGE, "Refine_": True}, "App has no field 'Refine_'; did you mean refine?", "Refine_"),
    ({**FILES, "mass": ["1", "2"]}, "App has no field 'mass'; did you mean mass-m", "mass"),
    ({}, BOTH_MISSING, "spectra"),
    ({**FILES, "database": ""}, "Protein database is missing: a file has to be given", "database"),
    ({**FILES, "spectra": []}, "Spectrum files is missing: a file has to be given", "spectra"),
    ({**FILES, "refine": True}, "Extra file is missing: a file has to be given", "extra"),
    ({**FILES, "tol": "0.4"}, "Mass tolerance is 0.4, less than 0.5", "tol"),
    ({**PAGE, "tol": "20.01"}, "Mass tolerance is 20.01, more than 20", "tol"),
    ({**FILES, "mass-max": "21"}, "Mass, Da (greatest) is 21, more than 20", "mass-max"),
    ({**FILES, "mass-min": "9.5"}, "Mass, Da (least) is 9.5, more than the greatest, which is 9", "mass-min"),
    ({**FILES, "refine": True, "extra": "/far/e", "expect": "2"}, "Expectation is 2, more than 1", "expect"),
)
# What is given, and the form that runs.
ACCEPTED: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    (FILES, {**FILES, **DEFAULTS}),
    ({**FILES, "app_id": APP}, {**FILES, "app_id": APP, **DEFAULTS}),
    ({**FILES, "mods": [], "tol": "0.7"}, {**FILES, **DEFAULTS, "mods": [], "tol": "0.7"}),
    ({**FILES, "tol": "7.123"}, {**FILES, **DEFAULTS, "tol": "7.123"}),
    ({**FILES, "expect": "99"}, {**FILES, **DEFAULTS, "expect": "99"}),  # of a branch that does not count
    (PAGE, PAGE),  # without the lists that somebody has emptied
    ({**PAGE, "workflow_id": ""}, {**PAGE, "workflow_id": ""}),
    ({**FILES, "refine": True, "extra": "/far/e"}, {**FILES, **DEFAULTS, "refine": True, "extra": "/far/e", "expect": "0.01"}),
)
Way = Callable[[dict[str, Any]], tuple[dict[str, Any] | None, str]]


@pytest.fixture
def settings(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An installation with this app, and with its files shared already."""
    folder = tmp_path / "apps"
    folder.mkdir()
    (folder / "form.xml").write_text(tool(FIELDS, id=APP))
    monkeypatch.setenv("CUMULUS_APPS", str(folder))
    return settings.model_copy(update={"apps": folder})


@pytest.fixture
def data(controller: Controller) -> Path:
    for name in ("a.mzML", "p.fasta", "e"):
        (controller.storage.data / name).write_text(name)
    return controller.storage.data


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    return Catalog(settings.apps)


def over_rest(wire: Wire, given: dict[str, Any]) -> tuple[dict[str, Any] | None, str, str]:
    """The form that is stored, the message, and the field that the header names."""
    start = {**START, "app_name": APP, "settings": json.dumps(given)}
    headers, (number, folder) = wire.posted("/start", start)
    if not folder:
        assert Job.select().count() == 0
        return None, number, headers["cumulus-refused"].partition("field=")[2]
    stored = json.loads(Job.get_by_id(number).settings)
    assert wire.get(f"/joblist/{number}/1")[0]["settings"] == {str(number): stored}
    return stored, "", ""


@pytest.mark.parametrize(("given", "message", "field"), REFUSED)
def test_rest_refuses_by_the_label_and_names_the_key(wire: Wire, given: dict[str, Any], message: str, field: str) -> None:
    made, told, key = over_rest(wire, given)
    assert made is None
    assert message in told
    assert key == field


@pytest.mark.parametrize(("given", "form"), ACCEPTED)
def test_rest_stores_the_form_that_runs(wire: Wire, controller: Controller, given: dict[str, Any], form: dict[str, Any]) -> None:
    made, _, _ = over_rest(wire, given)
    assert made == form
    folder = controller.storage.folder(Job.get_by_id(1).folder)
    assert json.loads((folder.path / ".cumulus.settings").read_text()) == form


def submitted(catalog: Catalog, data: Path, given: dict[str, Any]) -> dict[str, Any]:
    stored = [name for name in ("a.mzML", "p.fasta", "e") if f'/far/{name}"' in json.dumps(given)]
    return prepare(catalog.get(APP), given, [], [], LocalFiles(data), stored).settings


@pytest.mark.parametrize(("given", "form"), ACCEPTED)
def test_the_command_submit_makes_the_same_form_which_rest_leaves_as_it_is(
    wire: Wire, catalog: Catalog, data: Path, given: dict[str, Any], form: dict[str, Any]
) -> None:
    made = submitted(catalog, data, given)
    assert made == form
    assert over_rest(wire, made)[0] == form


def without_keys(message: str, catalog: Catalog) -> str:
    """A message without the keys that the command line has beside the labels, and without the ends of ranges."""
    keys = [key for control in catalog.get(APP).controls() for key in control.keys]
    for word in (*keys, "least", "greatest"):
        message = message.replace(f" ({word})", "")
    return message


@pytest.mark.parametrize(("given", "message", "field"), REFUSED)
def test_the_command_submit_says_the_same(catalog: Catalog, data: Path, given: dict[str, Any], message: str, field: str) -> None:
    with pytest.raises(CumulusError) as refused:
        submitted(catalog, data, given)
    assert without_keys(message, catalog) in without_keys(refused.value.message, catalog)
    assert field in refused.value.message


@pytest.mark.parametrize(("given", "message", "field"), REFUSED)
def test_a_preview_is_refused_in_the_same_words(
    catalog: Catalog, data: Path, given: dict[str, Any], message: str, field: str
) -> None:
    with pytest.raises(CumulusError) as refused:
        submitted(catalog, data, given)
    previewed = CliRunner().invoke(main, ["apps", "preview", APP, "-", "--cpus", "2"], input=json.dumps(given))
    assert previewed.exit_code == 1
    assert previewed.output.strip().endswith(refused.value.message)


def stepped(folder: Path, data: Path, given: dict[str, Any]) -> dict[str, Any]:
    """The form of a workflow's only step, which has all values as presets."""
    presets = "".join(f'<param name="{name}" value="{value}"/>' for name, value in given.items())
    (folder / "w.xml").write_text(f'<workflow id="w_1" name="W" version="1"><tool id="{APP}">{presets}</tool></workflow>')
    catalog = Catalog(folder)
    return prepare_steps(catalog.workflows()["w_1"], catalog.apps(), [], [], LocalFiles(data))[0].settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"spectra": "/far/a.mzML"}, "Protein database (database) is missing: a file has to be given"),
        ({"spectra": "/far/a.mzML", "refine": "true"}, "Protein database (database) and Extra file (extra) are missing"),
        ({"spectra": "/far/a.mzML", "database": "/far/p.fasta", "tol": "21"}, "Mass tolerance (tol) is 21, more than 20"),
        ({"spectra": "/far/a.mzML", "tolerance": "1"}, "App has no field tolerance, which the workflow sets"),
    ],
)
def test_a_step_of_a_workflow_is_refused_alike(settings: Settings, data: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(CumulusError) as refused:
        stepped(settings.apps, data, given)
    assert message in refused.value.message


def test_a_step_of_a_workflow_gets_the_defaults(settings: Settings, data: Path) -> None:
    made = stepped(settings.apps, data, {"spectra": "/far/a.mzML", "database": "/far/p.fasta"})
    assert made == {**DEFAULTS, "spectra": "/far/a.mzML", "database": "/far/p.fasta"}


def test_a_preview_shows_what_the_defaults_run(settings: Settings) -> None:
    told = CliRunner().invoke(main, ["apps", "preview", APP, "-", "--cpus", "2", "--json"], input=json.dumps(FILES))
    assert json.loads(told.output)["command"] == "run --tol '10' --mass '1' '9' -m 'C' '57'"


@pytest.mark.parametrize("name", ["\ud800", "x" * 1_000_000, "<b>x</b>", "é\n", "", "a; field=tol"])
def test_a_name_however_strange_is_refused_in_the_documented_shape(wire: Wire, name: str) -> None:
    made, told, _ = over_rest(wire, {**FILES, name: "1"})
    assert made is None
    assert told.startswith("App has no field ")
    assert "<b>" not in told
    assert len(told) < 500
