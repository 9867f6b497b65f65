"""Apps whose program does not come with Cumulus: what they would run, judged by one in its place that notes its arguments."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from server.catalog.rendering.command import Variables, render
from server.catalog.values import check_settings, input_files
from tests.catalog.forms import CATALOG, untouched_form

DIANN = "diann_2.2.0"
RAW, FASTA = "C:/data/it's a run.raw", "C:/data/human.fasta"
NOTE = "#!/bin/sh\nprintf '%s\\0' \"$@\" > ../arguments\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A job's folders on a worker, and the program in its path."""
    for name in ("input", "output", "temp", "bin"):
        (tmp_path / name).mkdir()
    program = tmp_path / "bin" / "diann-linux"
    program.write_text(NOTE)
    program.chmod(0o755)
    return tmp_path


def arguments(place: Path, **changes: Any) -> list[str]:
    """What the program gets for a form with these changes."""
    form = untouched_form(DIANN, **changes)
    app = CATALOG.get(DIANN)
    check_settings(app, form)
    text = render(app, form, Variables(7, "/in", str(place / "output"), "/config")).command
    path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["sh", "-c", text], cwd=place / "output", env={"PATH": path}, check=True)
    return (place / "arguments").read_text().split("\0")[:-1]


def test_a_search_with_a_predicted_library(place: Path) -> None:
    given = arguments(place, thermo_files=[RAW, "/x/b.raw"], sequences=[FASTA])
    assert given == [
        *("--threads", "7", "--temp", "../temp", "--out", "report.parquet", "--verbose", "1"),
        *("--f", "/in/it's a run.raw", "--f", "/in/b.raw"),
        *("--fasta-search", "--predictor", "--gen-spec-lib", "--fasta", "/in/human.fasta", "--cut", "K*,R*,!*P"),
        *("--missed-cleavages", "1", "--min-pep-len", "7", "--max-pep-len", "30"),
        *("--min-pr-charge", "1", "--max-pr-charge", "4", "--min-pr-mz", "300", "--max-pr-mz", "1800"),
        *(
            "--min-fr-mz",
            "200",
            "--max-fr-mz",
            "1800",
            "--met-excision",
            "--fixed-mod",
            "UniMod:4,57.021464,C",
            "--var-mods",
            "1",
        ),
        *("--reanalyse", "--pg-level", "1", "--qvalue", "0.01", "--matrices"),
    ]


def test_a_search_with_a_given_library_has_nothing_of_the_other_branch(place: Path) -> None:
    changes = {"kind": "bruker", "bruker_folders": ["C:\\data\\my.data.d"], "library": "given", "library_file": "/x/a.speclib"}
    given = arguments(place, **changes, thermo_files=[RAW], sequences=[FASTA], acetylation=True, fragment_accuracy="15")
    assert given[8:] == [
        *("--f", "/in/my.data.d", "--lib", "/in/a.speclib", "--mass-acc", "15"),
        *("--reanalyse", "--pg-level", "1", "--qvalue", "0.01", "--matrices"),
    ]
    files = input_files(CATALOG.get(DIANN), untouched_form(DIANN, **changes))
    assert [(file.name, file.folder, file.shared, file.convert) for file in files] == [
        ("my.data.d", True, True, False),
        ("a.speclib", False, True, False),
    ]


def test_modifications_arrive_as_they_are_written(place: Path) -> None:
    given = arguments(place, thermo_files=[RAW], sequences=[FASTA], acetylation=True, oxidation=True, phosphorylation=True)
    found = [given[number + 1] for number, word in enumerate(given) if word == "--var-mod"]
    assert found == ["UniMod:35,15.994915,M", "UniMod:1,42.010565,*n", "UniMod:21,79.966331,STY"]


def test_every_app_without_a_program_of_its_own_says_under_which_terms_it_comes() -> None:
    assert CATALOG.optional_programs() == {DIANN: "diann-linux"}
    assert "non-profit academic research" in CATALOG.get(DIANN).licence
