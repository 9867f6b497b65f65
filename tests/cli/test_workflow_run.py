"""The steps of a workflow with files of this computer, before anything is submitted."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from server.catalog.apps import Catalog
from server.catalog.model import App, Preset, Step, Workflow
from server.catalog.values import input_files
from server.cli.main import main
from server.cli.sending.shared_files import LocalFiles
from server.cli.shared.inputs import Prepared
from server.cli.workflow import prepare_steps
from server.errors import InvalidInput
from server.settings import CHECKOUT
from server.storage.folders import Storage
from server.storage.inputs.delivery import deliver
from server.storage.inputs.pins import Pins
from server.storage.inputs.placing import Allowance
from tests.catalog.building import app

CATALOG = Catalog(CHECKOUT / "apps")
SHIPPED = CATALOG.workflows()["filter_and_search_1.0.0"]
WELL = ("spectra=a.mzML.gz", "database=p.fasta")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that somebody works in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    for name in ("a.mzML.gz", "b.mgf", "a.mgf", "p.fasta", "x.txt", "other/x.txt", "a.d"):
        (tmp_path / name).write_text(name)
    return tmp_path


def prepared(place: Path, *inputs: str, sets: tuple[str, ...] = ()) -> list[Prepared]:
    return prepare_steps(SHIPPED, CATALOG.apps(), sets, inputs, LocalFiles(place / "data"))


def test_the_steps_of_the_shipped_workflow_follow_the_names_of_the_files(place: Path) -> None:
    filtering, search = prepared(place, "spectra=a.mzML.gz", "spectra=b.mgf", "database=p.fasta")
    assert filtering.shared == (place / "a.mzML.gz", place / "b.mgf")
    assert (filtering.settings["ms_level"], filtering.settings["threshold_count"]) == ("2", "200")
    assert search.shared == (place / "p.fasta",)
    assert search.settings["spectra"] == ["%job_dir_0%/output/a.mzML", "%job_dir_0%/output/b.mzML"]
    assert search.settings["enzyme"] == "trypsin"


def test_fields_are_set_in_the_step_that_has_them(place: Path) -> None:
    filtering, search = prepared(place, *WELL, sets=("threshold_count=50", "1:enzyme=lys_c", "precursor_tolerance=5"))
    assert filtering.settings["threshold_count"] == "50"
    assert (search.settings["enzyme"], search.settings["precursor_tolerance"]) == ("lys_c", "5")


@pytest.mark.parametrize(
    ("inputs", "sets", "message"),
    [
        (WELL[:1], (), "Protein database (database) is missing"),
        (WELL[1:], (), "Spectrum files (spectra) is missing"),
        (("spektra=a.mgf",), (), "the workflow has no field 'spektra'; did you mean spectra?"),
        (("a.mgf",), (), "the workflow has no field 'a.mgf'; it has spectra, "),
        (("1:spectra=a.mgf", *WELL), (), "spectra is set by the workflow itself"),
        (WELL, ("format=mgf",), "format is set by the workflow itself"),
        (WELL, ("2:enzyme=lys_c",), "the workflow has no step 2; they are counted from 0"),
        (WELL, ("0:enzyme=lys_c",), "the workflow has no field 'enzyme'; "),
        (WELL, ("threshold_count=0",), "Peaks (threshold_count) is 0, less than 1"),
        (WELL, ("threshold_kind=none", "threshold_count=9"), "Peaks (threshold_count) does not count with these settings"),
        (("spectra=a.mgf", *WELL), (), "would both be 'a.mzML' for the app"),
        (("spectra=a.d", *WELL), (), "Spectrum files (spectra) has 'a.d', which does not end with .mzML or"),
        (("spectra=c.mzML", "database=p.fasta"), (), "Spectrum files (spectra): there is no file c.mzML"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_sent(
    place: Path, inputs: tuple[str, ...], sets: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        prepared(place, *inputs, sets=sets)
    assert message in refused.value.message


FILES = '<filelist name="f" label="F" multiple="false" is_folder="false" is_raw_input="true"/>'
TWO = {"one_1": app(FILES, id="one_1", name="One"), "two_1": app(FILES, id="two_1", name="Two")}


def two_steps(*inputs: str, presets: tuple[Preset, ...] = (), apps: dict[str, App] = TWO) -> list[Prepared]:
    found = Workflow("w_1", "W", "1", "", "", hidden=False, steps=(Step("one_1", ()), Step("two_1", presets)))
    return prepare_steps(found, apps, [], inputs, LocalFiles(Path("data")))


def test_a_field_of_several_steps_needs_the_step_s_number(place: Path) -> None:
    with pytest.raises(InvalidInput, match=r"f is a field of several steps: say 0:f \(One\) or 1:f \(Two\)"):
        two_steps("f=x.txt")
    first, second = two_steps("0:f=x.txt", "1:f=p.fasta")
    assert (first.shared, second.shared) == ((place / "x.txt",), (place / "p.fasta",))


def test_two_steps_may_have_two_files_of_one_name_which_are_kept_apart(place: Path, tmp_path: Path) -> None:
    storage = Storage(tmp_path / "storage")
    storage.prepare()
    read = []
    for number, prepared in enumerate(two_steps("0:f=x.txt", "1:f=other/x.txt")):
        folder = storage.folder(f"Job_{number}")
        folder.create("{}")
        deliver(storage, folder, prepared.shared, prepared.local)
        Pins(storage).pin(folder, input_files(TWO["one_1"], prepared.settings), Allowance())
        read.append((folder.input / "x.txt").read_text())
    assert read == ["x.txt", "other/x.txt"]


def test_a_file_that_the_workflow_names_is_the_storage_s(place: Path) -> None:
    (place / "data").mkdir()
    (place / "data" / "p.fasta").write_text("shared")
    preset = Preset("f", "/lab/p.fasta", None, "", "hidden", 1)
    assert [one.stored for one in two_steps("0:f=x.txt", presets=(preset,))] == [(), ("p.fasta",)]
    other = Preset("f", "/lab/q.fasta", None, "", "hidden", 1)
    (place / "data" / "q.fasta").write_text("of a preset that another one replaces")
    assert [one.stored for one in two_steps("0:f=x.txt", presets=(other, preset))] == [(), ("p.fasta",)]
    (place / "data" / "p.fasta").unlink()
    with pytest.raises(InvalidInput, match="is not in the storage"):
        two_steps("0:f=x.txt", presets=(preset,))


def test_a_step_may_use_a_file_of_the_storage(place: Path) -> None:
    (place / "data").mkdir()
    (place / "data" / "p.fasta").write_text("shared")
    filtering, search = prepare_steps(
        SHIPPED, CATALOG.apps(), [], ["spectra=a.mzML.gz"], LocalFiles(place / "data"), ["database=p.fasta"]
    )
    assert (filtering.stored, search.stored, search.shared) == ((), ("p.fasta",), ())


def test_a_result_that_one_file_is_named_after_cannot_be_several(place: Path) -> None:
    several = FILES.replace('"false"', '"true"', 1)
    apps = {**TWO, "one_1": app(several, id="one_1", name="One")}
    preset = Preset("f", "%job_dir_0%/output/%f%.tsv", 0, "", "", 1)
    with pytest.raises(InvalidInput, match=r"F \(f\) has 2 files, only one is possible"):
        two_steps("f=x.txt", "f=p.fasta", presets=(preset,), apps=apps)


def test_an_unknown_workflow_is_named_with_those_that_there_are(place: Path) -> None:
    refused = CliRunner().invoke(main, ["workflow", "run", "nothing_1"])
    assert refused.exit_code == 1
    assert "there is no workflow 'nothing_1'; there are filter_and_search_1.0.0" in refused.stderr


def test_a_file_of_a_preset_that_does_not_count_is_left_alone(place: Path) -> None:
    (place / "data").mkdir()
    (place / "data" / "p.fasta").write_text("shared")
    branch = '<conditional name="c"><checkbox name="more" label="More" value="false"/><when value="true">{}</when></conditional>'
    apps = {**TWO, "two_1": app(branch.format(FILES), id="two_1", name="Two")}
    presets = (Preset("f", "/lab/p.fasta", None, "", "hidden", 1),)
    assert [one.stored for one in two_steps("0:f=x.txt", presets=presets, apps=apps)] == [(), ()]
