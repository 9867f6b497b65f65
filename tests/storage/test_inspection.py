"""The first look at input files, when they have arrived."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.catalog.files import InputFile
from server.storage.inputs.inspection import is_read, problem_of, refusals
from tests.runner.cases import FASTA, Form, merged, mgf, mzml, mzxml, prefixed, with_wrong_offsets

OK, PLAIN = mzml(), mzml(Form(index=False))
THERMO = "\x01\xa1F\0i\0n\0n\0i\0g\0a\0n\0".encode("latin-1")


def problem(folder: Path, name: str, content: bytes) -> str | None:
    (folder / name).write_bytes(content)
    return problem_of(name, folder / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.mzML", OK),
        ("a.MZML", PLAIN + b"\n\n"),
        ("a.mzML", b"\xef\xbb\xbf" + OK),
        ("a.mzML", PLAIN.decode().encode("utf-16")),
        ("a.mzML", gzip.compress(OK, mtime=0)),
        ("a.mzML", b"<?xml version='1.0'?><!-- made by hand --><mzML/></mzML>"),
        ("a.mzML", b'<x:mzML xmlns:x="http://psi.hupo.org/ms/mzml"></x:mzML>'),
        ("a.mzML.gz", gzip.compress(OK, mtime=0)),
        ("a.mzML.gz", gzip.compress(OK[:90], mtime=0) + gzip.compress(OK[90:], mtime=0)),
        ("a.mzXML", mzxml()),
        ("a.mgf", mgf()),
        ("a.mgf", mgf().decode().encode("utf-16")),
        ("a.mgf", b"# a\n" * 40000 + mgf()),
        ("a.raw", THERMO + b"and more"),
        ("a.fasta", FASTA),
        ("a.fa", b"; note\n\n" + FASTA),
        ("a.faa", b"\xef\xbb\xbf" + FASTA.replace(b"\n", b"\r")),
        ("a.fas", FASTA.decode().encode("utf-16-be")),
        ("a.fasta.gz", gzip.compress(FASTA, mtime=0)),
        ("a.txt", b"<html>"),
        ("a.tsv", b"\0\0"),
        ("a", b"x"),
        ("a.gz", gzip.compress(b"anything", mtime=0)),
    ],
)
def test_what_is_as_its_name_says_is_taken(tmp_path: Path, name: str, content: bytes) -> None:
    assert problem(tmp_path, name, content) is None


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.mzML", b"", "empty"),
        ("a.xyz", b"", "empty"),
        ("a.mzML", b" <!DOCTYPE HTML PUBLIC '-//W3C'><html>", "web page"),
        ("a.mzML.gz", b"<html><head>", "web page"),
        ("a.mzML.gz", OK, "not compressed by gzip"),
        ("a.mzML.gz", gzip.compress(OK, mtime=0)[:-9], "cut off"),
        ("a.mzML.gz", gzip.compress(OK, mtime=0)[:15], "cut off"),
        ("a.mzML.gz", gzip.compress(b"<html>", mtime=0), "web page"),
        ("a.mzML.gz", gzip.compress(b"", mtime=0), "empty"),
        ("a.mzML.gz", gzip.compress(OK, mtime=0)[:40] + b"\xff" * 40, "damaged"),
        ("a.mzML", mzxml(), "does not begin as mzML does"),
        ("a.mzXML", OK, "does not begin as mzXML does"),
        ("a.mzML", b"BEGIN IONS\n", "does not begin as mzML does"),
        ("a.mzML", OK[:9000], "cut off: it ends at byte 9000, without </indexedmzML>"),
        ("a.mzML", PLAIN[:9000], "cut off: it ends at byte 9000, without </mzML>"),
        ("a.mzML", OK[:9000] + bytes(9000), "ends with zero bytes"),
        ("a.mzML", bytes(9000), "begins with zero bytes"),
        ("a.mzML", OK + b"<more/>", "something follows </indexedmzML>"),
        ("a.mzXML", mzxml()[:-20], "cut off"),
        ("a.mgf", b"# nothing\n", "no spectra"),
        ("a.mgf", b"<html></html>", "web page"),
        ("a.raw", b"PK\x03\x04", "Thermo RAW"),
        ("a.raw", b"<html></html>", "Thermo RAW"),
        ("a.fasta", b"<?xml version='1.0'?><uniprot/>", "no protein sequences"),
        ("a.fasta", b"<!DOCTYPE html><html>", "web page"),
        ("a.fasta", b"MKRSAV\n", "no protein sequences"),
        ("a.fasta", b"\n\n", "no protein sequences"),
        ("a.fasta.gz", gzip.compress(b"MKR", mtime=0), "no protein sequences"),
    ],
)
def test_what_is_not_as_its_name_says_is_told(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    assert told in (problem(tmp_path, name, content) or "")


@pytest.fixture
def bruker(tmp_path: Path) -> Path:
    folder = tmp_path / "a.d"
    folder.mkdir()
    (folder / "analysis.tdf").write_bytes(b"SQLite format 3\0and more")
    return folder


def test_a_bruker_folder_has_a_database(bruker: Path) -> None:
    assert problem_of("a.d", bruker) is None
    (bruker / "analysis.tdf").write_bytes(b"half")
    assert "analysis.tdf is damaged" in (problem_of("a.d", bruker) or "")
    (bruker / "analysis.tdf").unlink()
    assert "none of analysis.tdf, analysis.tsf, analysis.baf" in (problem_of("a.d", bruker) or "")
    (bruker / "AcqData").mkdir()  # as Agilent's instruments write it
    assert problem_of("a.d", bruker) is None
    assert problem_of("folder", bruker) is None


def file(name: str, *, alone: bool = False, field: str = "spectra") -> InputFile:
    return InputFile(name, True, False, False, (), field, alone=alone)


def test_each_faulty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mgf").write_bytes(b"")
    (tmp_path / "b.mgf").write_bytes(mgf())
    (tmp_path / "c.mgf").write_bytes(b"x")
    found = refusals((file(name), tmp_path / name) for name in ("a.mgf", "b.mgf", "c.mgf", "gone.mgf"))
    assert found == ["a.mgf: it is empty", "c.mgf: it has no spectra: there is no BEGIN IONS in it"]


def test_where_files_are_taken_one_by_one_all_have_to_be_faulty(tmp_path: Path) -> None:
    (tmp_path / "a.mgf").write_bytes(b"")
    (tmp_path / "b.mgf").write_bytes(mgf())
    both = [(file(name, alone=True), tmp_path / name) for name in ("a.mgf", "b.mgf")]
    assert refusals(both) == []
    assert refusals(both[:1]) == ["a.mgf: it is empty"]
    assert refusals([*both, (file("a.mgf", field="other"), tmp_path / "a.mgf")]) == ["a.mgf: it is empty"]


@pytest.mark.parametrize(
    ("content", "accepts", "read"),
    [
        (OK, (), True),
        (PLAIN, (), False),
        (PLAIN, ("index-free",), True),
        (mzml(Form(compressed=True)), (), False),
        (mzml(Form(compressed=True)), ("zlib",), True),
        (mzml(Form(compressed=True)), None, True),
        (with_wrong_offsets(OK), ("index-free",), False),
        (OK.replace(b"\n", b"\r\n"), ("index-free",), False),
        (mzml(Form(name=merged)), ("zlib",), False),
        (mzml(Form(name=merged)), ("any-ids",), True),
        (b"\xef\xbb\xbf" + PLAIN, ("index-free",), False),
        (prefixed(PLAIN), ("index-free",), False),
        (gzip.compress(OK, mtime=0), ("index-free",), False),
    ],
)
def test_whether_an_app_reads_mzml_as_it_is_shows_at_its_ends(
    tmp_path: Path, content: bytes, accepts: tuple[str, ...] | None, read: bool
) -> None:
    (tmp_path / "a.mzML").write_bytes(content)
    assert is_read(tmp_path / "a.mzML", accepts) is read


@settings(deadline=None, max_examples=50)
@given(st.integers(1, len(OK) - 2))
def test_mzml_that_was_cut_is_seen_at_once(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    assert problem(tmp_path_factory.mktemp("cut"), "a.mzML", OK[:cut])


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(["a.mzML", "a.mzML.gz", "a.mzXML", "a.mgf", "a.fasta", "a.raw", "a.d", "a"]), st.binary(max_size=200))
def test_any_bytes_are_looked_at_without_a_crash(tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes) -> None:
    problem(tmp_path_factory.mktemp("any"), name, content)
