"""Inputs that broke version 2.3.0, and others of their kinds: from arrival to the app's result, with the real programs."""

import gzip
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from server.catalog.rendering.command import Variables, render
from server.catalog.values import input_files
from server.engine.launching.conversion_cache import planned_input
from server.storage.inputs.inspection import refusals
from tests.catalog.forms import CATALOG, untouched_form
from tests.runner.cases import FASTA, Form, merged, mgf, mzml, mzxml, prefixed, with_wrong_offsets
from tests.runner.conftest import Worker

PROGRAMS = ("comet-ms", "tandem", "msconvert")
MISSING = [program for program in PROGRAMS if not shutil.which(program)]
pytestmark = [pytest.mark.system, pytest.mark.skipif(bool(MISSING), reason=f"not installed: {' '.join(MISSING)}")]

COMET, TANDEM, FEATURES = "comet_2019.015", "xtandem_2017.2.1.4", "featurefindercentroided_2.6.0"
SEARCHES = (COMET, TANDEM)
OK, PLAIN = mzml(), mzml(Form(index=False))
CUT = OK.index(b'<spectrum index="4"') + 300


def flipped() -> bytes:
    text = mzml(Form(compressed=True, index=False))
    at = text.index(b"<binary>", text.index(b'<spectrum index="5"')) + 60
    return text[:at] + (b"A" if text[at : at + 1] != b"A" else b"B") + text[at + 1 :]


def with_one(old: bytes, new: bytes) -> bytes:
    parts = mgf().split(b"BEGIN IONS\n")
    parts[6] = parts[6].replace(old, new)
    return b"BEGIN IONS\n".join(parts)


class Laboratory:
    """One search after the other, as the controller orders them and the runner runs them."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.attempt = 0

    def search(self, app_id: str, name: str, spectra: bytes, database: bytes = FASTA) -> str:
        """How it ended: refused on arrival, or a stage and message, or the number of spectra with a hit."""
        self.attempt += 1
        given = self.worker.job / "input"
        (given / name).write_bytes(spectra)
        (given / "db.fasta").write_bytes(database)
        app = CATALOG.get(app_id)
        fields = {"database": "/x/db.fasta"} if app_id in SEARCHES else {}
        form = untouched_form(app_id, spectra=[f"/x/{name}"], **fields)
        files = input_files(app, form)
        if refused := refusals((file, given / file.name) for file in files):
            return f"refused: {refused[0]}"
        variables = Variables(2, str(self.worker.work / "input"), str(self.worker.work / "output"), "/nowhere")
        plan = [asdict(planned_input(file, keep=file.convert)) for file in files]
        shutil.rmtree(self.worker.job / "output")
        (self.worker.job / "output").mkdir()
        result = self.worker.run(render(app, form, variables).command, *plan, attempt=self.attempt)
        return self.hits() if result["stage"] == "done" else f"{result['stage']}: {result['message']}"

    def hits(self) -> str:
        stored = list((self.worker.work / "output").iterdir())
        if tables := [path for path in stored if path.suffix == ".txt"]:
            lines = tables[0].read_text().splitlines()[2:]
            return f"{len({line.split(chr(9))[0] for line in lines})} hits"
        found = re.search(r"Valid models = (\d+)", self.worker.log)
        return f"{found[1]} hits" if found else "done"

    def kept(self) -> list[str]:
        folder = self.worker.job / ".cumulus.converted"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def laboratory(worker: Worker) -> Laboratory:
    return Laboratory(worker)


@pytest.mark.parametrize("app", SEARCHES)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ok.mzML", OK),
        ("ok_plain.mzML", PLAIN),
        ("01_zlib_indexed.mzML", mzml(Form(compressed=True))),
        ("05_one_empty_charge.mgf", with_one(b"CHARGE=2+", b"CHARGE=")),
        ("08_cr_only.mgf", mgf().replace(b"\n", b"\r")),
        ("09_offsets_wrong.mzML", with_wrong_offsets(OK)),
        ("10_crlf.mzML", OK.replace(b"\n", b"\r\n")),
        ("11_members.mzML.gz", gzip.compress(PLAIN[:9000], mtime=0) + gzip.compress(PLAIN[9000:], mtime=0)),
        ("17_merged_ids.mzML", mzml(Form(name=merged, index=False))),
        ("19 R&D sample.mzML", OK),
        # others of these kinds
        ("merged and indexed.mzML", mzml(Form(name=merged))),
        ("zlib and merged.mzML.gz", gzip.compress(mzml(Form(compressed=True, name=merged)), mtime=0)),
        ("zlib, index wrong.mzML", with_wrong_offsets(mzml(Form(compressed=True)))),
        ("the same scan.mzML", mzml(Form(name="frame={} scan=1".format))),
        ("marked.mzML", b"\xef\xbb\xbf" + OK),
        ("utf16.mzML", PLAIN.decode().encode("utf-16")),
        ("inside.mzML", gzip.compress(PLAIN, mtime=0)),
        ("comments.mgf", mgf().replace(b"TITLE", b"# old\nTITLE")),
        ("marked.mgf", b"\xef\xbb\xbf" + mgf().replace(b"\n", b"\r\n")),
        ("prefixed.mzML", prefixed(OK)),
        ("prefixed.mzXML", prefixed(mzxml())),
        ("old.mzXML", mzxml()),
        ("zlib.mzXML", with_wrong_offsets(mzxml(compressed=True))),
        ("c.mzML", OK),
        ('it\'s "x" [1].mzML', PLAIN),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_what_can_be_read_gives_the_same_hits(laboratory: Laboratory, app: str, name: str, content: bytes) -> None:
    assert laboratory.search(app, name, content) == "8 hits"


@pytest.mark.parametrize("app", SEARCHES)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a" * 240 + ".mzML", OK),
        ("b" * 250 + ".mzML", PLAIN),
        ("ö" * 125 + ".mgf", mgf()),
        ("c" * 240 + ".mzML.gz", gzip.compress(OK, mtime=0)),
    ],
    ids=["240", "255", "254 of umlauts", "248 compressed"],
)
def test_names_as_long_as_the_file_system_takes_are_searched(laboratory: Laboratory, app: str, name: str, content: bytes) -> None:
    laboratory.search(app, name, content)
    assert laboratory.hits() == "8 hits"


@pytest.mark.parametrize("app", SEARCHES)
@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("02_truncated_indexed.mzML", OK[:CUT], f"refused: 02_truncated_indexed.mzML: it is cut off: it ends at byte {CUT}"),
        ("03_hole_indexed.mzML", OK[:CUT] + bytes(200) + OK[CUT + 200 :], f"a hole of 200 zero bytes at byte {CUT}"),
        ("04_bitflip_plain_zlib.mzML", flipped(), "damaged in spectrum 6, at byte"),
        ("06_one_bad_peak_line.mgf", with_one(b"END IONS", b"b5 ion\nEND IONS"), "line 156 (spectrum 6)"),
        ("07_all_empty_charge.mgf", mgf().replace(b"CHARGE=2+", b"CHARGE="), "no spectrum has a charge"),
        ("18_no_spectra.mgf", b"# nothing\n", "refused: 18_no_spectra.mgf: it has no spectra"),
        ("truncated.mzML.gz", gzip.compress(OK, mtime=0)[:-20], "truncated.mzML.gz: it is cut off"),
        ("empty.mzML", b"", "refused: empty.mzML: it is empty"),
        ("text.raw", b"no spectra", "refused: text.raw: it does not begin as a Thermo RAW file"),
        ("page.mzML", b"<!DOCTYPE html>", "refused: page.mzML: it is a web page"),
        ("counts.mzML", OK.replace(b'spectrumList count="8"', b'spectrumList count="9"'), "says 9 spectra and has 8"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_what_is_damaged_fails_at_once_with_its_name(
    laboratory: Laboratory, app: str, name: str, content: bytes, told: str
) -> None:
    outcome = laboratory.search(app, name, content)
    assert outcome.startswith(("refused: ", "inspect: "))
    assert name in outcome
    assert told in outcome
    assert laboratory.kept() == []


@pytest.mark.parametrize("app", SEARCHES)
@pytest.mark.parametrize(
    ("database", "outcome"),
    [
        (b"\xef\xbb\xbf" + FASTA, "8 hits"),
        (FASTA.decode().encode("utf-16"), "8 hits"),
        (re.sub(rb"^(?!>).*", lambda found: found[0].lower(), FASTA, flags=re.MULTILINE), "8 hits"),
        (FASTA.replace(b"\n", b"\r"), "8 hits"),
        (FASTA.replace(b"\n", b"\r\n"), "8 hits"),
        (b"", "refused: db.fasta: it is empty"),
        (b"<!DOCTYPE html><html><body>404 Not found</body></html>\n", "refused: db.fasta: it is a web page (HTML)"),
        (b">one\n>two\n", "inspect: db.fasta: it has no protein sequences: there is nothing behind the names of its 2 records"),
    ],
    ids=["12_bom", "15_utf16", "16_lower", "cr", "crlf", "13_empty", "14_html", "no sequences"],
)
def test_sequences_are_found_however_they_are_written(laboratory: Laboratory, app: str, database: bytes, outcome: str) -> None:
    assert laboratory.search(app, "ok.mzML", OK, database) == outcome


@pytest.mark.parametrize(
    "how", ["--zlib", "--numpressLinear", "--numpressSlof", "--numpressAll", "--numpressAll --zlib", "--32", "--noindex"]
)
@pytest.mark.parametrize("app", SEARCHES)
def test_whatever_msconvert_writes_gives_the_same_hits(laboratory: Laboratory, tmp_path: Path, app: str, how: str) -> None:
    import subprocess

    (tmp_path / "ok.mzML").write_bytes(PLAIN)
    command = ["msconvert", "ok.mzML", "--mzML", "--outfile", "made.mzML", *how.split()]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    assert laboratory.search(app, "made.mzML", (tmp_path / "made.mzML").read_bytes()) == "8 hits"
