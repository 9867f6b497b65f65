"""The page ``examples/own-file.md``: its commands, as they stand there, search anybody's files."""

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.psms import Psm, best_by_score, parse_psms
from server.home.running import running_controller
from server.settings import CHECKOUT
from tests.conftest import eventually

pytestmark = pytest.mark.system

PAGE = (CHECKOUT / "examples" / "own-file.md").read_text()
CHOICE, BY_COMMAND, BY_CURL, BY_WORKFLOW = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
EXAMPLE = CHECKOUT / "examples" / "bsa"
PROTEINS = "Ädas Proteine & more.fasta"
BEST = "K.HLVDEPQNLIK.Q"


@dataclass(frozen=True)
class Place:
    """A folder as a checkout is, for commands typed in it, with a controller on the local cloud at ``url``."""

    folder: Path
    environment: dict[str, str]
    url: str

    def type(self, text: str) -> "subprocess.CompletedProcess[str]":
        """Type commands of the page, at the address that this controller has instead of the usual one."""
        here = text.replace("http://127.0.0.1:5000", self.url)
        return subprocess.run(
            ["bash", "-c", here], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )

    def cumulus(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """One command."""
        return self.type(shlex.join([".venv/bin/cumulus", *arguments]))

    def jobs(self) -> int:
        """How many jobs there are."""
        return len(json.loads(self.cumulus("jobs", "--json").stdout))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A controller as ``make run`` starts it, with all that it needs in a folder of this module alone."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / ".venv").symlink_to(sys.prefix)
    own = {"CUMULUS_HOME": str(folder / "var"), "CUMULUS_CLOUD": "local"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CUMULUS_")} | own
    log = folder / "serve.log"
    with log.open("w") as output:
        command = [folder / ".venv" / "bin" / "cumulus", "serve", "--port", "0"]
        child = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stderr=output)
    try:
        eventually(lambda: "event=ready" in log.read_text())
        running = running_controller(folder / "var")
        assert running is not None
        yield Place(folder, environment, running.url)
    finally:
        child.terminate()
        child.wait(60)


@pytest.fixture(scope="module")
def own_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The example as somebody else has it: far from the checkout, under other names, in each of the formats."""
    folder = tmp_path_factory.mktemp("Ada's files")
    packed, plain = folder / 'Müller\'s "run" & 50%.mzML.gz', folder / "größer.mzML"
    shutil.copyfile(EXAMPLE / "BSA1.mzML.gz", packed)
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    shutil.copyfile(EXAMPLE / "bsa.fasta", folder / PROTEINS)
    written = folder / "Peaks [2] #1.mgf"
    command = ["msconvert", EXAMPLE / "BSA1.mzML.gz", "--mgf", "-o", folder, "--outfile", "made.mgf"]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "made.mgf").rename(written)
    return {"packed": packed, "plain": plain, "mgf": written, "database": folder / PROTEINS}


def chosen(spectra: Path, database: Path) -> str:
    """The page's first lines with somebody's own paths, as a terminal writes a file that is dragged into it."""
    lines = {line.partition("=")[0]: line for line in CHOICE.splitlines()}
    assert list(lines) == ["SPECTRA", "DATABASE"]
    return "".join(f"{name}={shlex.quote(str(path))}\n" for name, path in zip(lines, (spectra, database), strict=True))


def best_in(folder: Path) -> Psm:
    """The best match of the only table among the results."""
    (table,) = folder.glob("*.txt")
    return best_by_score(parse_psms(table.read_text()))[0]


# Spectra without numbers in the file are counted by Comet: an mgf has the fragment spectra only.
SCANS = {"packed": 1665, "plain": 1665, "mgf": 1101}


@pytest.mark.parametrize("way", [BY_COMMAND, BY_CURL], ids=["command", "curl"])
@pytest.mark.parametrize("kind", SCANS)
def test_the_page_searches_any_file_word_for_word(place: Place, own_files: dict[str, Path], kind: str, way: str) -> None:
    results = place.folder / "results"
    shutil.rmtree(results, ignore_errors=True)
    done = place.type(f"set -eo pipefail\n{chosen(own_files[kind], own_files['database'])}{way}")
    assert (done.returncode, done.stderr) == (0, "" if way == BY_COMMAND else "DONE\n")
    name = own_files[kind].name.removesuffix(".gz").rpartition(".")[0]
    assert sorted(path.name for path in results.iterdir()) == sorted([f"{name}.pep.xml", f"{name}.txt", "comet.params"])
    best = best_in(results)
    assert (best.peptide, best.scan, best.xcorr) == (BEST, SCANS[kind], 2.5935)


@pytest.mark.parametrize("kind", ["packed", "mgf"])
def test_the_page_s_workflow_runs_on_any_file(place: Place, own_files: dict[str, Path], kind: str) -> None:
    done = place.type(chosen(own_files[kind], own_files["database"]) + BY_WORKFLOW)
    assert (done.returncode, done.stderr) == (0, "")
    filtering, search = done.stdout.split("\n")[:2]
    target = place.folder / f"workflow-{kind}"
    assert place.cumulus("get", search, "--to", str(target)).returncode == 0
    best = best_in(target)
    assert (best.peptide, best.scan) == (BEST, 1101)
    shown = json.loads(place.cumulus("show", filtering, "--json").stdout)
    assert [path for path, _ in shown["files"]] == [own_files[kind].name.removesuffix(".gz").rpartition(".")[0] + ".mzML"]


@pytest.mark.parametrize("way", [BY_COMMAND, BY_CURL], ids=["command", "curl"])
def test_a_file_that_is_not_there_is_named_and_nothing_is_submitted(place: Place, own_files: dict[str, Path], way: str) -> None:
    before = place.jobs()
    done = place.type(f"set -eo pipefail\n{chosen(own_files['plain'], Path('/nowhere/my.fasta'))}{way}")
    assert done.returncode != 0
    assert "Protein database (database): there is no file /nowhere/my.fasta" in done.stderr
    assert place.jobs() == before


@pytest.mark.parametrize("way", [BY_COMMAND, BY_CURL], ids=["command", "curl"])
@pytest.mark.parametrize(
    ("spectra", "complaint"),
    [("notes.txt", "Spectrum files (spectra) has 'notes.txt', which does not end with"), ("", "Spectrum files (spectra)")],
    ids=["another kind", "none"],
)
def test_what_is_typed_after_a_refusal_adds_nothing_to_it(
    place: Place, own_files: dict[str, Path], tmp_path: Path, spectra: str, complaint: str, way: str
) -> None:
    """As in a terminal: a shell there goes on with the next line, whatever became of the one before."""
    (tmp_path / "notes.txt").touch()
    before = place.jobs()
    file = shlex.quote(str(tmp_path / spectra)) if spectra else ""
    done = place.type(f"SPECTRA={file}\nDATABASE={shlex.quote(str(own_files['database']))}\n{way}")
    assert done.returncode != 0
    assert done.stderr.startswith(f"cumulus: {complaint}")
    assert done.stderr.count("\n") == 1
    assert place.jobs() == before


def test_without_a_controller_curl_says_so_and_nothing_follows(place: Place, own_files: dict[str, Path]) -> None:
    away = BY_CURL.replace("http://127.0.0.1:5000", "http://127.0.0.1:9")
    done = place.type(chosen(own_files["plain"], own_files["database"]) + away)
    assert done.returncode != 0
    assert done.stderr.startswith("curl: ")
    assert done.stderr.count("\n") == 1


def test_a_file_of_the_same_name_and_size_with_another_content_is_searched_as_it_is(
    place: Place, own_files: dict[str, Path], tmp_path: Path
) -> None:
    other = tmp_path / PROTEINS
    other.write_text(own_files["database"].read_text().replace("HLVDEPQNLIK", "HLVDEPQNLLK"))
    assert other.stat().st_size == own_files["database"].stat().st_size
    matches = []
    for number, database in enumerate((own_files["database"], other)):
        inputs = ["--input", f"spectra={own_files['plain']}", "--input", f"database={database}"]
        job = place.cumulus("submit", "comet_2019.015", *inputs, "--wait").stdout.split("\n")[0]
        assert place.cumulus("get", job, "--to", str(tmp_path / str(number))).returncode == 0
        matches.append(best_in(tmp_path / str(number)).peptide)
    assert matches == [BEST, "K.HLVDEPQNLLK.Q"]


@pytest.mark.parametrize("command", [["submit", "comet_2019.015"], ["workflow", "run", "filter_and_search_1.0.0"]], ids=" ".join)
def test_jobs_whose_files_cannot_be_sent_do_not_wait_for_them(
    place: Place, own_files: dict[str, Path], tmp_path: Path, command: list[str]
) -> None:
    new = tmp_path / "never seen before.mzML"
    shutil.copyfile(own_files["plain"], new)
    data = place.folder / "var" / "storage" / "data"
    data.rename(tmp_path / "data")
    data.touch()
    before = place.jobs()
    try:
        refused = place.cumulus(*command, "--input", f"spectra={new}", "--input", f"database={own_files['database']}")
    finally:
        data.unlink()
        (tmp_path / "data").rename(data)
    assert refused.returncode == 1
    assert f"cumulus: {new} cannot be put into the storage: " in refused.stderr
    assert "Not a directory; a folder is needed there" in refused.stderr
    assert "is cancelled: its files were not sent" in refused.stderr
    made = json.loads(place.cumulus("jobs", "--json").stdout)[: place.jobs() - before]
    assert [job["state"] for job in made] == ["cancelled"] * (1 if command[0] == "submit" else 2)
