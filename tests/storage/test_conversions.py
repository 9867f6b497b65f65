import shutil
import subprocess
from pathlib import Path

import pytest

from server.catalog.files import CONVERTIBLE, mzml_name
from server.settings import CHECKOUT
from server.storage.conversions import conversion

SPECTRA = CHECKOUT / "examples" / "bsa" / "BSA1.mzML.gz"
needs_msconvert = pytest.mark.skipif(not shutil.which("msconvert"), reason="msconvert (Debian's libpwiz-tools) is not installed")


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("a.raw", "ThermoRawFileParser"),
        ("a.D", "tdf2mzml"),
        ("a.mzXML", "msconvert"),
        ("a.MGF", "msconvert"),
        ("a.mzML.gz", "msconvert"),
    ],
)
def test_the_ending_decides_which_program_converts(name: str, program: str) -> None:
    found = conversion(name)
    assert found is not None
    assert found.command[0] == program
    assert found.target == "a.mzML"
    assert not found.unless_indexed


def test_mzml_is_converted_unless_it_has_an_index() -> None:
    found = conversion("a.mzml")
    assert found is not None
    assert (found.target, found.unless_indexed, found.command[0]) == ("a.mzML", True, "msconvert")


@pytest.mark.parametrize("name", ["a.txt", "a", "", ".raw", "a.raw.txt", "a.mzML.zip", "raw"])
def test_other_files_cannot_be_converted(name: str) -> None:
    assert conversion(name) is None


@pytest.mark.parametrize("ending", CONVERTIBLE)
def test_each_ending_that_can_be_converted_has_a_command_for_source_folder_and_name(ending: str) -> None:
    found = conversion(f"a{ending}")
    assert found is not None
    assert found.target == mzml_name(f"a{ending}")
    text = " ".join(found.command)
    assert all(text.count(place) == 1 for place in ("{source}", "{folder}", "{name}"))


def convert(source: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Do what the runner on a worker does."""
    found = conversion(source.name)
    assert found is not None
    places = {"{source}": str(source), "{folder}": str(folder), "{name}": found.target}
    words = []
    for word in found.command:
        for place, value in places.items():
            word = word.replace(place, value)
        words.append(word)
    return subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@needs_msconvert
@pytest.mark.parametrize("stem", ["BSA1", "a b", "it's $(x)", "copy [1]", "st*r?", "-dash", "é"])
def test_msconvert_writes_indexed_mzml_under_the_wanted_name(tmp_path: Path, stem: str) -> None:
    source = tmp_path / "in put" / f"{stem}.mzML.gz"
    source.parent.mkdir()
    source.symlink_to(SPECTRA)
    folder = tmp_path / "out put"
    folder.mkdir()
    done = convert(source, folder)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == [f"{stem}.mzML"]
    assert b"<indexedmzML" in (folder / f"{stem}.mzML").read_bytes()[:4096]


@needs_msconvert
@pytest.mark.parametrize("name", ["absent.mzML", "absent [1].mzML"])
def test_a_conversion_that_fails_says_so_by_its_exit_code(tmp_path: Path, name: str) -> None:
    assert convert(tmp_path / name, tmp_path).returncode != 0
    assert list(tmp_path.iterdir()) == []
