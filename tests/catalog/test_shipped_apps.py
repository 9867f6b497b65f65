"""The apps that come with Cumulus; Comet is really run where it is installed, the others in test_apps_run."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.psms import best_by_score, parse_psms
from server.catalog.apps import App, Catalog
from server.catalog.files import StepResult
from server.catalog.model import Conditional, Item
from server.catalog.rendering.command import Variables, render
from server.catalog.values import check_settings, input_files
from server.catalog.workflows import FilledStep, preset_values
from server.settings import CHECKOUT
from server.storage.conversions import conversion

CATALOG = Catalog(CHECKOUT / "apps")
EXAMPLE = CHECKOUT / "examples" / "bsa"
FORM: dict[str, Any] = json.loads((EXAMPLE / "settings.json").read_text())
CLIENT_KEYS = {"app_id", "advanced_parameters_visible"}
needs_comet = pytest.mark.skipif(
    not (shutil.which("comet-ms") and shutil.which("msconvert")), reason="comet-ms or libpwiz-tools is not installed"
)


def comet() -> App:
    return CATALOG.get("comet_2019.015")


def keys(items: tuple[Item, ...]) -> Iterator[str]:
    for item in items:
        if isinstance(item, Conditional):
            yield from item.decider.keys
            for branch in item.branches:
                yield from keys(branch.items)
        else:
            yield from item.keys


def test_no_app_has_a_problem_and_each_tells_its_version() -> None:
    assert CATALOG.problems() == []
    assert {app for app, _ in CATALOG.version_commands()} == set(CATALOG.apps())


def test_the_example_fills_in_the_whole_form_and_nothing_else() -> None:
    check_settings(comet(), FORM)
    assert {key for section in comet().sections for key in keys(section.items)} == set(FORM) - CLIENT_KEYS


def test_the_example_asks_for_the_example_files() -> None:
    files = input_files(comet(), FORM)
    assert [(file.name, file.target, file.shared, file.convert) for file in files] == [
        ("BSA1.mzML.gz", "BSA1.mzML", True, True),
        ("bsa.fasta", "bsa.fasta", True, False),
    ]
    assert all((EXAMPLE / file.name).is_file() for file in files)


def test_the_example_of_a_workflow_says_what_the_example_s_forms_do() -> None:
    assert CATALOG.warnings() == []
    workflow = CATALOG.workflows()["filter_and_search_1.0.0"]
    assert CATALOG.texts()[workflow.id].startswith("<workflow ")
    filtering, search = workflow.steps
    form = json.loads((EXAMPLE / "filter.json").read_text())
    assert filtering.app == form["app_id"]
    assert {preset.name: preset.value for preset in filtering.presets} == {
        preset.name: form[preset.name] for preset in filtering.presets
    }
    assert search.app == FORM["app_id"]
    values = preset_values(search.presets, comet(), [FilledStep(CATALOG.get(filtering.app), form)])
    files = input_files(comet(), {**FORM, **values})
    assert files[0].result == StepResult(0, "BSA1.mzML")


PROGRAMS = {
    "comet_2019.015": "comet-ms",
    "diann_2.2.0": "diann-linux",
    "featurefindercentroided_2.6.0": "FeatureFinderCentroided",
    "msconvert_3.0.18342": "msconvert",
    "xtandem_2017.2.1.4": "tandem",
}


@pytest.mark.parametrize("app_id", sorted(CATALOG.apps()))
def test_each_version_command_prints_a_version_and_succeeds(app_id: str) -> None:
    if not shutil.which(PROGRAMS[app_id]):
        pytest.skip(f"{PROGRAMS[app_id]} is not installed")
    done = subprocess.run(["sh", "-c", dict(CATALOG.version_commands())[app_id]], capture_output=True, text=True)
    assert done.returncode == 0
    assert any(char.isdigit() for char in done.stdout)
    none = subprocess.run(["/bin/sh", "-c", dict(CATALOG.version_commands())[app_id]], capture_output=True, env={"PATH": ""})
    assert none.returncode != 0


def test_the_page_on_apps_names_each_app() -> None:
    page = (CHECKOUT / "docs" / "apps.md").read_text()
    assert [app for app in CATALOG.apps() if f"| `{app}` |" not in page] == []


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job's folder on a worker, with the example's files."""
    place = tmp_path / "job's place"
    for name in ("input", "output", "temp"):
        (place / name).mkdir(parents=True)
    (place / "input" / "bsa.fasta").symlink_to(EXAMPLE / "bsa.fasta")
    return place


@pytest.fixture(scope="session")
def spectra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's spectra, converted."""
    folder = tmp_path_factory.mktemp("converted")
    found = conversion("BSA1.mzML.gz")
    assert found is not None
    places = {"{source}": str(EXAMPLE / "BSA1.mzML.gz"), "{folder}": str(folder), "{name}": found.target}
    subprocess.run([places.get(word, word) for word in found.command], check=True, capture_output=True)
    return folder / found.target


def search(job: Path, **changes: Any) -> "subprocess.CompletedProcess[str]":
    variables = Variables(1, str(job / "input"), str(job / "output"), str(job / ".cumulus.settings"))
    text = render(comet(), {**FORM, **changes}, variables).command
    return subprocess.run(["sh", "-c", text], cwd=job / "output", capture_output=True, text=True)


@needs_comet
def test_the_example_finds_albumin(job: Path, spectra: Path) -> None:
    (job / "input" / "BSA1.mzML").symlink_to(spectra)
    done = search(job)
    assert done.returncode == 0, done.stderr
    assert comet().end_tag in done.stdout
    assert sorted(path.name for path in (job / "output").iterdir()) == ["BSA1.pep.xml", "BSA1.txt", "comet.params"]
    best = best_by_score(parse_psms((job / "output" / "BSA1.txt").read_text()))
    assert len(best) == 8
    assert (best[0].scan, round(best[0].xcorr, 2), best[0].peptide) == (1665, 2.59, "K.HLVDEPQNLIK.Q")
    assert best[0].protein == "sp|P02769|ALBU_BOVIN"
    assert min(best, key=lambda psm: psm.e_value).peptide == "K.YICDNQDTISSK.L"


@needs_comet
def test_what_the_form_says_is_what_comet_does(job: Path, spectra: Path) -> None:
    (job / "input" / "a b [1].mzML").symlink_to(spectra)
    done = search(
        job,
        spectra=["/x/a b [1].mzML"],
        precursor_unit="da",
        decoys="separate",
        enzyme="lys_c",
        fixed_modifications=[["C", "57.021464"], ["K", "8.014199"], ["n", "42.010565"]],
        variable_modifications=[["STY", "79.966331"], ["n", "1"]],
        output_pepxml=False,
        output_percolator=True,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (job / "output").iterdir()) == [
        "a b [1].decoy.txt",
        "a b [1].pin",
        "a b [1].txt",
        "comet.params",
    ]
    lines = (job / "output" / "comet.params").read_text().splitlines()
    pairs = (line.split("#")[0].partition(" = ") for line in lines)
    last = {name: value.strip() for name, _, value in pairs}
    expected = {
        "peptide_mass_units": "0",
        "decoy_search": "2",
        "search_enzyme_number": "3",
        "add_C_cysteine": "57.021464",
        "add_K_lysine": "8.014199",
        "add_Nterm_peptide": "42.010565",
        "variable_mod01": "79.966331 STY 0 3 -1 0 0 0.0",
        "variable_mod02": "1 n 0 3 -1 0 0 0.0",
        "digest_mass_range": "600.0 5000.0",
        "num_threads": "1",
    }
    assert {name: last[name] for name in expected} == expected
    assert [line for line in lines if line][-1].split() == ["10.", "Chymotrypsin", "1", "FWYL", "P"]


@needs_comet
def test_no_modification_at_all_is_possible(job: Path, spectra: Path) -> None:
    (job / "input" / "BSA1.mzML").symlink_to(spectra)
    assert search(job, fixed_modifications=[], variable_modifications="").returncode == 0
    assert "\tM[15.9949]" not in (job / "output" / "BSA1.txt").read_text()
    assert "S_57.021464" not in (job / "output" / "BSA1.txt").read_text()


@needs_comet
@pytest.mark.parametrize("text", ["", "no FASTA at all\n"])
def test_a_database_without_sequences_is_no_search_without_matches(job: Path, spectra: Path, text: str) -> None:
    (job / "input" / "BSA1.mzML").symlink_to(spectra)
    (job / "input" / "my proteins.fasta").write_text(text)
    done = search(job, database="/x/my proteins.fasta")
    assert done.returncode != 0
    assert "my proteins.fasta has no sequences in FASTA format" in done.stderr


@needs_comet
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"spectra": []}, "No spectrum file"),
        ({"database": ""}, "No protein database"),
        ({"database": "/x/absent.fasta"}, "cannot read database file"),
        ({"fixed_modifications": [["CK", "1"]]}, "CK is not one residue"),
        ({"fixed_modifications": [["*", "1"]]}, "is not one residue"),
        ({"variable_modifications": [["M 0", "1"]]}, "not a list of residues"),
        ({"variable_modifications": [["M", "1"]] * 10}, "nine variable modifications"),
        ({"output_txt": False, "output_pepxml": False}, "at least one output format"),
    ],
)
def test_a_search_that_cannot_be_done_fails_and_says_why(
    job: Path, spectra: Path, changes: dict[str, Any], complaint: str
) -> None:
    (job / "input" / "BSA1.mzML").symlink_to(spectra)
    done = search(job, **changes)
    assert done.returncode != 0
    assert complaint in done.stderr + done.stdout


@needs_comet
def test_a_file_without_spectra_is_no_success(job: Path) -> None:
    (job / "input" / "BSA1.mzML").write_text('<?xml version="1.0"?>\n<mzML></mzML>\n')
    done = search(job)
    assert done.returncode != 0
    assert "no spectra to search" in done.stderr
