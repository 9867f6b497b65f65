"""The app author's commands."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.catalog.apps import Catalog
from server.cli.main import main
from server.settings import CHECKOUT
from tests.catalog.building import tool
from tests.conftest import FLAVORS, TEST_APPS

FORM = {"text": "it's", "seconds": "1", "outcome": "ok", "inputs": ["C:\\data\\a b.txt"]}


@pytest.fixture(autouse=True)
def installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of apps with the probe in it."""
    folder = tmp_path / "apps"
    folder.mkdir()
    (folder / "probe_1.0.xml").write_text((TEST_APPS / "probe_1.0.xml").read_text())
    (tmp_path / "flavors.tsv").write_text(FLAVORS)
    for name, value in (("HOME", tmp_path / "home"), ("APPS", folder), ("FLAVORS", tmp_path / "flavors.tsv")):
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))
    return folder


def run(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, ["apps", *arguments], input=text, catch_exceptions=False)


def test_a_folder_of_apps_that_is_not_there_is_named(installation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUMULUS_APPS", str(installation / "mistyped"))
    told = run("list")
    assert told.exit_code != 0
    assert "there is no folder of apps" in str(told.output) + str(told.exception)


def test_usable_files_are_listed(installation: Path) -> None:
    told = run("check")
    assert (told.exit_code, told.output) == (0, "ok       probe_1.0\n")


def test_a_broken_file_is_named_with_line_and_reason_and_hides_no_other(installation: Path) -> None:
    (installation / "broken.xml").write_text('<tool id="x_1"\n  name="x">\n</tool>')
    told = run("check")
    assert told.exit_code == 1
    assert "ok       probe_1.0" in told.output
    assert f"BROKEN   {installation}/broken.xml:1:" in told.output or f"BROKEN   {installation}/broken.xml:2:" in told.output
    found = json.loads(run("check", "--json").output)
    assert found["usable"] == ["probe_1.0"]
    assert {problem["file"] for problem in found["problems"]} == {str(installation / "broken.xml")}
    assert all(problem["line"] and problem["reason"] for problem in found["problems"])


def test_a_preset_that_fits_no_parameter_is_a_warning_only(installation: Path) -> None:
    (installation / "w.xml").write_text(
        '<workflow id="w_1" name="W" version="1">\n<tool id="probe_1.0">\n<param name="txet" value="x"/></tool></workflow>'
    )
    told = run("check")
    line = f"{installation}/w.xml:3: step 0, probe_1.0: the app has no parameter txet"
    assert (told.exit_code, told.output) == (0, f"ok       probe_1.0\nok       w_1\nwarning  {line}\n")
    assert json.loads(run("check", "--json").output)["warnings"][0]["line"] == 3


def test_another_folder_can_be_checked(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run("check", str(tmp_path / "empty")).output == ""


def test_a_preview_shows_what_is_run_with_every_value_as_one_argument(tmp_path: Path) -> None:
    form = tmp_path / "form.json"
    form.write_text(json.dumps(FORM))
    told = run("preview", "probe_1.0", str(form))
    assert told.exit_code == 0
    assert "'it'\\''s'" in told.output
    assert "/input/a b.txt" in told.output
    assert "a b.txt (shared)" in told.output
    assert set(json.loads(run("preview", "probe_1.0", str(form), "--json").output)) == {"command", "config"}


def test_the_threads_of_a_preview_are_the_machine_s_less_one(installation: Path) -> None:
    (installation / "t_1.xml").write_text(
        '<tool id="t_1" name="t" version="1" command="t -j %nb_threads% --c %config-file%" end_tag="" convert_config_to="json">'
        '<section name="s" title="S"><string name="a.b" label="A" value="" /></section></tool>'
    )
    told = json.loads(run("preview", "t_1", "-", "--cpus", "8", "--json", text='{"a.b": "x"}').output)
    assert told["command"].startswith("t -j 7 --c ")
    assert told["command"].endswith(".cumulus.settings.json'") or told["command"].endswith(".cumulus.settings.json")
    assert json.loads(told["config"]) == {"a": {"b": "x"}}
    assert "t -j 1 " in run("preview", "t_1", "-", text="{}").output


@pytest.mark.parametrize(
    ("app", "text", "words"),
    [
        ("none_1", "{}", "there is no app"),
        ("probe_1.0", "{", "JSON"),
        ("probe_1.0", "[]", "JSON object"),
        ("probe_1.0", '{"outcome": "maybe"}', "outcome"),
        ("probe_1.0", '{"seconds": "-1"}', "seconds"),
    ],
)
def test_a_preview_that_cannot_be_is_refused_in_one_line(app: str, text: str, words: str) -> None:
    told = run("preview", app, "-", text=text)
    assert told.exit_code == 1
    assert words in told.output
    assert len(told.output.strip().splitlines()) == 1


def test_a_new_app_can_be_used_at_once(installation: Path) -> None:
    made = Path(run("new", "count_1.0").output.strip())
    assert made == installation / "count_1.0.xml"
    assert run("check").exit_code == 0
    assert Catalog(installation).get("count_1.0").version_command == "count --version"
    form = '{"spectra": ["/far/a.raw"], "limit": "20", "mode": "fast", "verbose": true}'
    told = json.loads(run("preview", "count_1.0", "-", "--cpus", "4", "--json", text=form).output)
    spectra = "'/var/lib/cumulus/job/input/a.mzML'"
    assert told["command"] == f"count --threads 3 --out result.txt {spectra} --limit '20' --fast --verbose"


def test_what_is_there_is_not_written_over(installation: Path) -> None:
    before = (installation / "probe_1.0.xml").read_text()
    (installation / "other_2.xml").write_text("mine")
    for app in ("probe_1.0", "other_2"):
        told = run("new", app)
        assert told.exit_code == 1
        assert "already" in told.output
    assert (installation / "probe_1.0.xml").read_text() == before
    assert (installation / "other_2.xml").read_text() == "mine"


@pytest.mark.parametrize("name", ["", "count", "_1", "count_", "../x_1", "a b_1", "<x>_1", "x" * 120 + "_1"])
def test_a_name_that_is_no_id_is_refused(installation: Path, name: str) -> None:
    assert run("new", name).exit_code == 1
    assert [path.name for path in installation.iterdir()] == ["probe_1.0.xml"]


SHIPPED = CHECKOUT / "apps"


def test_apps_are_listed_with_the_files_that_they_accept_and_hidden_ones_are_marked(installation: Path) -> None:
    hidden = tool(id="later_1", name="Later", category="__work_in_progress__", description="Not yet")
    (installation / "later.xml").write_text(hidden)
    told = run("list")
    assert told.exit_code == 0
    rows = {line.split()[0]: " ".join(line.split()) for line in told.output.splitlines()}
    assert rows["probe_1.0"] == "probe_1.0 Probe 1.0 inputs: any Waits, prints, writes one file, ends as asked"
    assert rows["later_1"] == "later_1 Later 1 (hidden) Not yet"
    found = {app["id"]: app for app in json.loads(run("list", "--json").output)}
    assert found["probe_1.0"]["accepts"] == {"inputs": []}
    assert {app: found[app]["hidden"] for app in found} == {"probe_1.0": False, "later_1": True}


def test_the_shipped_apps_say_what_they_accept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUMULUS_APPS", str(SHIPPED))
    found = {app["id"]: app for app in json.loads(run("list", "--json").output)}
    assert list(found) == list(Catalog(SHIPPED).apps())
    assert found["comet_2019.015"]["accepts"]["database"] == ["fasta", "fa", "faa", "fas"]
    assert "(needs a licence)" in run("list").output
    for app in found:
        assert run("show", app).exit_code == 0


def test_a_form_is_shown_field_by_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUMULUS_APPS", str(SHIPPED))
    lines = [" ".join(line.split()) for line in run("show", "xtandem_2017.2.1.4").output.splitlines()]
    assert lines[0].startswith("X! Tandem 2017.2.1.4: Searches tandem mass spectra")
    for line in (
        "spectra Spectrum files filelist files ending with .mzML .mzML.gz .mzXML .mgf .raw; required",
        "precursor_plus Precursor mass tolerance, above number 10.0 a number from 0 to 10000",
        "precursor_unit Unit of the precursor tolerances select ppm one of ppm, da",
        'fixed_modifications Fixed modifications keyvalues [["C", "57.021464"]] pairs of a key and a number',
        "refine_expect E-value of the proteins, at most number 0.01 a number from 0 to 1000; counts if refine is true",
    ):
        assert line in lines
    fields = {field["keys"][0]: field for field in json.loads(run("show", "comet_2019.015", "--json").output)["fields"]}
    assert fields["spectra"]["required"]
    assert fields["digest_mass-min"]["keys"] == ["digest_mass-min", "digest_mass-max"]
    assert (fields["precursor_tolerance"]["minimum"], fields["precursor_tolerance"]["maximum"]) == ("0", "10000")
    assert fields["enzyme"]["choices"]["trypsin"] == "Trypsin"


def test_a_form_of_an_app_that_is_not_there_cannot_be_shown() -> None:
    told = run("show", "none_1")
    assert told.exit_code == 1
    assert "there is no app" in told.output


def test_what_is_shown_as_default_is_what_the_form_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUMULUS_APPS", str(SHIPPED))
    for app in Catalog(SHIPPED).apps():
        shown = [field for field in json.loads(run("show", app, "--json").output)["fields"] if not field["when"]]
        form = json.loads(run("form", app).output)
        defaults = {key: value for field in shown for key, value in field["defaults"].items() if set(field["keys"]) <= set(form)}
        assert {key: form.get(key) for key in defaults} == defaults


def test_apps_that_the_machines_lack_are_marked(installation: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUMULUS_CLOUD", "local")
    (installation / "gone_1.xml").write_text(tool("", id="gone_1", name="Gone", version="1", version_command="no-such-program"))
    assert "not on the machines" not in run("list").output  # without an installation there are no machines
    (tmp_path / "home").mkdir()
    told = run("list").output
    assert [line.split()[0] for line in told.splitlines() if "not on the machines" in line] == ["gone_1"]
    assert {app["id"]: app["installed"] for app in json.loads(run("list", "--json").output)} == {
        "gone_1": False,
        "probe_1.0": True,
    }
    assert "Gone 1 is not installed on the machines yet; run make snapshot" in run("show", "gone_1").output
    assert "make snapshot" not in run("show", "probe_1.0").output
    findings = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).output)
    assert [one["text"] for one in findings if one["name"] == "app" and not one["ok"]] == [
        "gone_1: Gone 1 is not installed on the machines yet; run make snapshot"
    ]


def test_a_preview_shows_each_run_of_an_app_that_takes_its_files_one_by_one(installation: Path) -> None:
    items = (
        '<filelist name="f" label="F" multiple="true" is_folder="false" is_raw_input="true" per_file="true" command="%value%"/>'
    )
    (installation / "each.xml").write_text(tool(items, id="each_1", command="each", convert_config_to="json"))
    form = '{"f": ["/x/a.mzML", "/x/b.mzML"]}'
    lines = run("preview", "each_1", "-", text=form).output.splitlines()
    heads = [line for line in lines if line.startswith("---")]
    assert heads == [
        "--- run 1 of 2, a.mzML ---",
        "--- .cumulus.settings.1.json ---",
        "--- run 2 of 2, b.mzML ---",
        "--- .cumulus.settings.2.json ---",
        "--- input ---",
    ]
    told = json.loads(run("preview", "each_1", "-", "--json", text=form).output)
    assert [(one["file"], one["command"].split("/")[-1]) for one in told["runs"]] == [
        ("a.mzML", "a.mzML'"),
        ("b.mzML", "b.mzML'"),
    ]
    assert told["command"] == told["runs"][0]["command"]
    alone = run("preview", "each_1", "-", text='{"f": ["/x/a.mzML"]}').output
    assert "run 1 of 1" not in alone
