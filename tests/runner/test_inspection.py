"""What the check of a whole input file finds."""

import base64
import gzip
import hashlib
import re
import struct
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runner.cases import FASTA, PEPTIDES, Form, merged, mgf, mzml, mzxml, prefixed, with_wrong_offsets
from tests.runner.conftest import FILES

sys.path.insert(0, str(FILES))
from cumulus_runner.inspection import Fault, Finding, inspect, kind_of
from cumulus_runner.inspection_source import CHUNK
from cumulus_runner.inspection_xml import plain
from cumulus_runner.rewriting import rewrite

OK, ZLIB, PLAIN = mzml(), mzml(Form(compressed=True)), mzml(Form(index=False))


@pytest.fixture
def look(tmp_path: Path) -> "Look":
    return Look(tmp_path)


class Look:
    """Writes a file and looks at it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, content: bytes) -> Finding:
        path = self.folder / name
        path.write_bytes(content)
        return inspect(str(path), name)

    def fault(self, name: str, content: bytes) -> str:
        with pytest.raises(Fault) as raised:
            self(name, content)
        return str(raised.value)


def test_a_good_file_is_told_with_its_sum_size_and_spectra(look: Look) -> None:
    found = look("a.mzML", OK)
    assert found == Finding("mzML", len(OK), hashlib.sha256(OK).hexdigest(), frozenset(), 8)


@pytest.mark.parametrize(
    ("name", "content", "features"),
    [
        ("a.mzML", ZLIB, {"zlib"}),
        ("a.mzML", PLAIN, {"index-free"}),
        ("a.mzML", with_wrong_offsets(OK), {"wrong-index"}),
        ("a.mzML", OK.replace(b"\n", b"\r\n"), {"wrong-index"}),
        ("a.mzML", re.sub(rb"<indexListOffset>\d+", b"<indexListOffset>17", OK), {"wrong-index"}),
        ("a.mzML", OK.replace(b'idRef="scan=3"', b'idRef="scan=4"'), {"wrong-index"}),
        ("a.mzML", re.sub(rb"<offset [^\n]*\n", b"", OK, count=1), {"wrong-index"}),
        ("a.mzML", mzml(Form(name=merged)), {"any-ids"}),
        ("a.mzML", mzml(Form(name="frame={} scan=1".format)), {"any-ids"}),
        ("a.mzML", mzml(Form(name="controllerType=0 controllerNumber=1 scan={}".format)), set()),
        ("a.mzML", mzml(Form(name="sample=1 period=1 cycle={} experiment=1".format)), set()),
        ("a.MZML", b"\xef\xbb\xbf" + PLAIN, {"index-free", "bom"}),
        ("a.mzML", PLAIN.decode().encode("utf-16"), {"index-free", "utf-16"}),
        ("a.mzML.gz", gzip.compress(OK, mtime=0), {"gzip"}),
        ("a.mzML.gz", gzip.compress(OK[:5000], mtime=0) + gzip.compress(OK[5000:], mtime=0), {"gzip", "gzip-members"}),
        ("a.mzML.gz", gzip.compress(OK, mtime=0) + bytes(512), {"gzip"}),
        ("a.mzML", prefixed(PLAIN), {"index-free", "prefixed"}),
        ("a.mzML", prefixed(OK), {"wrong-index", "prefixed"}),
        ("a.mzXML", prefixed(mzxml()), {"prefixed"}),
        ("a.mzXML", mzxml(), set()),
        ("a.mzXML", mzxml(compressed=True), {"zlib"}),
        ("a.mzXML", with_wrong_offsets(mzxml()), {"wrong-index"}),
        ("a.mzXML", mzxml().partition(b"<index ")[0] + b"</mzXML>", {"index-free"}),
        ("a.mgf", mgf(), set()),
        ("a.mgf", mgf().replace(b"\n", b"\r\n"), set()),
        ("a.mgf", mgf().replace(b"\n", b"\r"), {"cr"}),
        ("a.mgf", b"\xef\xbb\xbf" + mgf(), {"bom"}),
        ("a.mgf", mgf().replace(b"CHARGE=2+", b"CHARGE=", 1), {"empty-charge"}),
        ("a.mgf", mgf().replace(b"TITLE", b"# from a friend\nTITLE", 1), {"comments"}),
        ("a.mgf", mgf().replace(b"TITLE=", b"TITLE=\xb5", 1), {"not-utf-8"}),
        ("a.mgf", mgf().replace(b"\nEND", b"\n; weak ones:\nEND", 1), {"comments"}),
    ],
)
def test_what_not_every_program_reads_is_noticed(look: Look, name: str, content: bytes, features: set[str]) -> None:
    found = look(name, content)
    assert (set(found.features), found.spectra) == (features, 8)


@pytest.mark.parametrize(
    ("name", "content", "features"),
    [
        ("a.fasta", FASTA, set()),
        ("a.fa", FASTA.replace(b"\n", b"\r"), {"cr"}),
        ("a.faa", b"\xef\xbb\xbf" + FASTA, {"bom"}),
        ("a.fas", FASTA.decode().encode("utf-16-le"), {"utf-16"}),
        ("a.fasta", FASTA.lower().replace(b">sp|x00001|one", b">sp|X00001|ONE"), {"lower-case"}),
        ("a.fasta", FASTA.replace(b"MKRS", b"mKR*\n\n  S"), {"lower-case"}),
        ("a.fasta", b"; a comment\n\n" + FASTA, {"preamble"}),
        ("a.fasta", b"\n" + FASTA, {"preamble"}),
        ("a.fasta", FASTA.replace(b"ONE", b"\xc9NE"), {"not-utf-8"}),
        ("a.fasta", FASTA.replace(b"ONE", "É".encode()), set()),
    ],
)
def test_sequences_may_be_written_in_several_ways(look: Look, name: str, content: bytes, features: set[str]) -> None:
    assert set(look(name, content).features) == features


def replaced(text: bytes, old: bytes, new: bytes) -> bytes:
    assert old in text
    return text.replace(old, new, 1)


CUT = OK.index(b'<spectrum index="4"') + 300
ARRAY = OK.index(b"<binary>", OK.index(b'<spectrum index="5"')) + 20


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (b"\n", "not XML"),
        (replaced(OK, b'encoding="utf-8"', b'encoding="klingon"'), "encoding"),
        (replaced(OK, b'encoding="utf-8"', b'encoding="shift_jis"'), "encoding"),
        (replaced(OK, b'fullName="UO"', b'fullName="\xff"'), "not well-formed"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"<?xml version='1.0'?><protXML/>", "begins with <protXML>, not with <mzML>"),
        (OK[:CUT], f"cut off: it ends in or after spectrum 5 of 8, at byte {CUT}"),
        (OK[: OK.index(b"<indexList ")], "cut off"),
        (OK[:CUT] + bytes(200) + OK[CUT + 200 :], f"a hole of 200 zero bytes at byte {CUT}"),
        (OK[:ARRAY] + bytes(40) + OK[ARRAY + 40 :], "damaged in spectrum 6, at byte"),
        (replaced(OK, b"</scanList>", b"</scanlist>"), "mismatched tag"),
        (replaced(OK, b'spectrumList count="8"', b'spectrumList count="9"'), "says 9 spectra and has 8"),
        (replaced(OK, b'defaultArrayLength="20"', b'defaultArrayLength="21"'), "spectrum 1, at byte"),
        (re.sub(rb'encodedLength="\d+"', b'encodedLength="7"', OK, count=1), "says 7 characters and has 216"),
        (OK + b"<more/>", "junk after document element"),
        (OK + bytes(100), "hole of 100 zero bytes"),
        (mzml(Form(peptides=())), "it has no spectra"),
        (re.sub(rb"<binary>[^<]*</binary>", b"<binary/>", OK), "damaged in spectrum 1, at byte"),
        (replaced(OK, b"<indexedmzML", b"<!DOCTYPE x [<!ENTITY a 'b'>]><indexedmzML"), "document type"),
        (gzip.compress(OK, mtime=0)[:-5], "cut off: its compressed data end in the middle"),
        (gzip.compress(OK, mtime=0)[:900], "cut off"),
        (gzip.compress(OK, mtime=0) + b"and more", "no gzip data"),
    ],
)
def test_a_faulty_mzml_file_is_told_with_the_place(look: Look, content: bytes, told: str) -> None:
    assert told in look.fault("a.mzML", content)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"</msRun>", b"", "mismatched tag"),
        (b'scanCount="8"', b'scanCount="12"', "says 12 scans and has 8"),
        (b'peaksCount="20"', b'peaksCount="5"', "damaged in scan 1, at byte"),
        (b"</mzXML>", b"", "cut off"),
    ],
)
def test_a_faulty_mzxml_file_is_told_with_the_place(look: Look, old: bytes, new: bytes, told: str) -> None:
    assert told in look.fault("a.mzXML", replaced(mzxml(), old, new))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"END IONS\nBEGIN", b"BEGIN", "spectrum 1, which begins in line 1, has no END IONS"),
        (b"\nBEGIN IONS\nTITLE=s2", b"\nTITLE=s2", "line 31 (spectrum 1): what stands after spectrum 1 belongs to none"),
        (b"TITLE=s2\nPEPMASS=", b"TITLE=s2\nX=", "line 27 (spectrum 2): its PEPMASS is missing"),
        (b"PEPMASS=", b"PEPMASS=about ", "line 3 (spectrum 1): its PEPMASS is no number"),
        (b"CHARGE=2+", b"CHARGE=two", "line 4 (spectrum 1): its CHARGE is no charge"),
        (b"\nEND", b"\nb5 ion\nEND", "line 26 (spectrum 1): a line that is no peak: 'b5 ion'"),
        (b" 40.0\n", b" 40,0\n", "a line that is no peak"),
        (b" 40.0\n", b" \n", "a line that is no peak"),
        (b" 40.0\n", b" nan\n", "a line that is no peak"),
        (b" 40.0\n", b" .\n", "a line that is no peak"),
        (b" 40.0\n", b" 4e\n", "a line that is no peak"),
        (b" 40.0\n", b"", "a line that is no peak"),
        (b" 40.0\n", b" \0\0\n", "a hole of 2 zero bytes"),
    ],
)
def test_a_faulty_mgf_file_is_told_with_its_line(look: Look, old: bytes, new: bytes, told: str) -> None:
    assert told in look.fault("a.mgf", replaced(mgf(), old, new))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"# nothing\n", "no spectra"),
        (mgf().replace(b"CHARGE=2+", b"CHARGE="), "CHARGE= is empty in all 8"),
        (mgf()[:-30], "spectrum 8, which begins in line"),
        (b"<html></html>", "before the first spectrum"),
    ],
)
def test_an_mgf_file_that_gives_no_spectra_is_refused(look: Look, content: bytes, told: str) -> None:
    assert told in look.fault("a.mgf", content)


def test_peaks_may_be_written_in_several_ways(look: Look) -> None:
    for new in (b"\t40.0\n", b"  40.0 \n", b" 4.0e+01\n", b" 40.0 1+\n", b" 40\n", b" -40.0\n", b" .4\n"):
        assert look("a.mgf", replaced(mgf(), b" 40.0\n", new)).features == frozenset()
    usual = replaced(mgf(), b"CHARGE=2+", b"CHARGE=2+ and 3+").replace(b"PEPMASS=5", b"PEPMASS= 5")
    assert look("a.mgf", b"MASS=Monoisotopic\nCHARGE=2+\n\n" + usual.replace(b"END IONS", b"\nEND IONS ")).spectra == 8


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\n\n", "no line that begins with >"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"MKRSAVELD\n", "line 1: what stands before the first >"),
        (b">one\n>two\n", "nothing behind the names of its 2 records"),
        (FASTA[:40] + bytes(9) + FASTA[49:], "a hole of 9 zero bytes at byte 40"),
        (FASTA + b">three\nMKR{}\n", "line 6: '{' is no letter of a sequence: 'MKR{}'"),
        (FASTA.decode().encode("utf-16")[:-1], "UTF-16"),
    ],
)
def test_a_file_without_sequences_is_refused_with_its_line(look: Look, content: bytes, told: str) -> None:
    assert told in look.fault("a.fasta", content)


def test_records_without_a_sequence_are_told(look: Look) -> None:
    assert look("a.fasta", FASTA + b">sp|X3|THREE\n").warnings == (
        "1 of its 3 records have no sequence, the first is sp|X3|THREE",
    )


def test_what_is_not_known_is_read_and_never_refused(look: Look) -> None:
    for content in (b"", b"\0" * 9, b"<html>"):
        assert look("a.xyz", content) == Finding("", len(content), hashlib.sha256(content).hexdigest())


def test_a_folder_has_the_sum_of_all_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "a.d"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "x").write_bytes(b"one")
    (folder / "y").write_bytes(b"four")
    before = inspect(str(folder), "a.d")
    assert before.size == 7
    (folder / "y").write_bytes(b"five")
    assert inspect(str(folder), "a.d").sha256 != before.sha256


def test_a_wrong_checksum_of_its_own_is_a_warning(look: Look) -> None:
    at = OK.index(b"<fileChecksum>") + len(b"<fileChecksum>")
    right = OK[:at] + hashlib.sha1(OK[:at]).hexdigest().encode() + OK[at + 1 :]
    assert look("a.mzML", right).warnings == ()
    changed = replaced(right, b'value="590.79585"', b'value="590.79586"')
    assert "its own checksum is not that of its content" in look("a.mzML", changed).warnings[0]


def test_groups_of_terms_say_how_arrays_are_written(look: Look) -> None:
    terms = b'<cvParam cvRef="MS" accession="MS:1000523" name="64-bit float"/>'
    terms += b'<cvParam cvRef="MS" accession="MS:1000574" name="zlib compression"/>'
    group = b'<referenceableParamGroupList count="1"><referenceableParamGroup id="g">' + terms
    group += b"</referenceableParamGroup></referenceableParamGroupList><softwareList"
    text = (
        mzml(Form(compressed=True, index=False))
        .replace(terms, b'<referenceableParamGroupRef ref="g"/>')
        .replace(b"<softwareList", group)
    )
    assert look("a.mzML", text).features == {"zlib", "index-free"}
    assert "damaged in spectrum 1" in look.fault("a.mzML", flipped(text, text.index(b"<binary>") + 40))


def test_what_stands_in_a_comment_is_no_spectrum(look: Look) -> None:
    assert look("a.mzML", PLAIN.replace(b"<spectrum ", b'<!-- <spectrum id="scan=1"> --><spectrum ')).spectra == 8


def test_arrays_in_lines_and_empty_ones_are_read(look: Look) -> None:
    wrapped = re.sub(rb"<binary>([^<]{76})", rb"<binary>\n\1\n", PLAIN)
    assert look("a.mzML", wrapped).spectra == 8
    none = re.sub(rb'defaultArrayLength="20"', b'defaultArrayLength="0"', PLAIN)
    none = re.sub(rb'encodedLength="\d+"', b'encodedLength="0"', re.sub(rb"<binary>[^<]*</binary>", b"<binary/>", none))
    assert look("a.mzML", none).spectra == 8


def flipped(text: bytes, at: int) -> bytes:
    return text[:at] + (b"A" if text[at : at + 1] != b"A" else b"B") + text[at + 1 :]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, len(OK)), st.sampled_from(["mzML", "mzML.gz", "mzXML"]))
def test_no_file_that_was_cut_is_good(tmp_path_factory: pytest.TempPathFactory, cut: int, ending: str) -> None:
    whole = {"mzML": OK, "mzML.gz": gzip.compress(OK, mtime=0), "mzXML": mzxml()}[ending]
    part = whole[: cut * len(whole) // (len(OK) + 1)]
    if part == whole or (ending != "mzML.gz" and not whole[len(part) :].strip()):
        return
    assert Look(tmp_path_factory.mktemp("cut")).fault(f"a.{ending}", part)


INSIDE = [place for found in re.finditer(rb"<binary>([^<]*)<", ZLIB) for place in range(found.start(1), found.end(1))]


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(INSIDE), st.integers(0, 255))
def test_no_changed_byte_of_compressed_values_stays_unseen(tmp_path_factory: pytest.TempPathFactory, at: int, byte: int) -> None:
    changed = ZLIB[:at] + bytes([byte]) + ZLIB[at + 1 :]
    look = Look(tmp_path_factory.mktemp("flip"))
    if _same_values(changed):
        assert look("a.mzML", changed).spectra == 8
    else:
        assert look.fault("a.mzML", changed)


def _same_values(text: bytes) -> bool:
    """Whether all arrays still have the values they had: bits of base64's last character that mean nothing may change."""
    try:
        found = [zlib.decompress(base64.b64decode(one, validate=True)) for one in re.findall(rb"<binary>([^<]*)</binary>", text)]
    except (ValueError, zlib.error):
        return False
    return len(found) == 2 * len(PEPTIDES) and all(len(one) == struct.calcsize("20d") for one in found)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(PEPTIDES), min_size=1, max_size=6), st.integers(1, 400))
def test_how_a_file_is_cut_into_chunks_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, peptides: list[str], size: int
) -> None:
    """The parts of a gzip file are pieces of the reading, however small."""
    folder = tmp_path_factory.mktemp("chunks")
    for name, text in (
        ("a.mzML", mzml(Form(peptides=peptides))),
        ("a.mzXML", mzxml(peptides=peptides)),
        ("a.mgf", mgf(peptides)),
    ):
        parts = b"".join(gzip.compress(text[start : start + size * 9], mtime=0) for start in range(0, len(text), size * 9))
        found = Look(folder)(name, parts)
        assert (found.spectra, found.features - {"gzip", "gzip-members"}) == (len(peptides), frozenset())


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from([("a.mzML", OK), ("a.mzML", ZLIB), ("a.mzXML", mzxml()), ("a.mgf", mgf()), ("a.fasta", FASTA)]),
    st.floats(0, 1),
    st.binary(min_size=1, max_size=12),
    st.booleans(),
)
def test_whatever_stands_in_a_file_it_is_good_or_its_fault_is_told(
    tmp_path_factory: pytest.TempPathFactory, file: tuple[str, bytes], place: float, junk: bytes, packed: bool
) -> None:
    name, content = file
    at = int(place * len(content))
    damaged = content[:at] + junk + content[at + len(junk) :]
    look, told = Look(tmp_path_factory.mktemp("junk")), ""
    try:
        told = str(look(name, gzip.compress(damaged, mtime=0) if packed else damaged).size)
    except Fault as fault:
        told = str(fault)
    assert told


def test_kinds_are_known_by_the_end_of_the_name() -> None:
    kinds = {"a.MZML": "mzML", "a.mzML.gz": "mzML", "b.c.mgf": "mgf", "a.fas": "FASTA", "a.raw": "", "mzML": ""}
    assert {name: kind_of(name) for name in kinds} == kinds


@pytest.mark.parametrize(
    ("name", "content", "good"),
    [
        ("a.mzML", with_wrong_offsets(OK), PLAIN),
        ("a.mzML", PLAIN.decode().encode("utf-16"), PLAIN),
        ("a.mzML", gzip.compress(OK[:5000], mtime=0) + gzip.compress(OK[5000:], mtime=0), PLAIN),
        ("a.mzML", mzml(Form(name=merged, index=False)), PLAIN),
        ("a.mzML", prefixed(OK), PLAIN.replace(b' xmlns="', b' xmlns:ms="')),
        ("a.mgf", mgf().replace(b"\n", b"\r"), mgf()),
        ("a.mgf", b"\xef\xbb\xbf" + mgf().replace(b"TITLE", b"# hello\nCHARGE=\nTITLE", 1), mgf()),
        ("a.fasta", b"\xef\xbb\xbf" + FASTA.replace(b"\n", b"\r\n").replace(b"SAVELD", b"savelD"), FASTA),
        ("a.fasta", FASTA.decode().encode("utf-16-be"), FASTA),
        ("a.fasta", b"\n; a comment\n" + FASTA, FASTA),
        ("a.fasta", FASTA.replace(b"ONE", b"\xc9N\x80\x81"), FASTA.replace(b"ONE", "ÉN€\ufffd".encode())),
        ("a.mgf", mgf().replace(b"TITLE=", b"TITLE=\xb5"), mgf().replace(b"TITLE=", "TITLE=µ".encode())),
        ("a.mzML", mzml(Form(name=lambda _: "scan=1", index=False)), PLAIN),
    ],
)
def test_rewriting_leaves_the_same_without_what_is_unwanted(look: Look, name: str, content: bytes, good: bytes) -> None:
    found = look(name, content)
    target = look.folder / "rewritten"
    rewrite(found.kind, str(look.folder / name), str(target), found.features, lambda _: None)
    assert target.read_bytes().replace(b'<mzML xmlns="http://psi.hupo.org/ms/mzml" ', b"<mzML ") == good.replace(
        b'<mzML xmlns="http://psi.hupo.org/ms/mzml" ', b"<mzML "
    )


def test_a_prefix_is_one_wherever_the_pieces_end() -> None:
    named = prefixed(PLAIN)
    for size in (1, 2, 3, 7):
        chunks = [named[:600], *(named[at : at + size] for at in range(600, len(named), size))]
        assert b"".join(plain(chunks)) == PLAIN.replace(b' xmlns="', b' xmlns:ms="')


def test_a_letter_of_several_bytes_is_one_wherever_the_pieces_end(tmp_path: Path) -> None:
    path = tmp_path / "a.mgf"
    path.write_bytes(b"#" * (CHUNK - 1) + "é\n".encode() + mgf())
    assert inspect(str(path), "a.mgf").features == frozenset()


def test_references_follow_new_ids(look: Look) -> None:
    text = mzml(Form(name=merged, index=False))
    text = text.replace(b"<precursor>", f'<precursor spectrumRef="{merged(1)}">'.encode())
    look("a.mzML", text)
    target = look.folder / "b.mzML"
    rewrite("mzML", str(look.folder / "a.mzML"), str(target), {"any-ids"}, lambda _: None)
    assert target.read_bytes().count(b'spectrumRef="scan=1"') == 8
    assert look("c.mzML", target.read_bytes()).features == {"index-free"}
