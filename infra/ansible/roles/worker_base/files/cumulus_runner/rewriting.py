"""Writes an input file once more in a form that programs read.

Owns what Cumulus itself can change: compression of whole files, encodings, line ends, letters, indexes, ids. Values stay as
they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Callable

from cumulus_runner.inspection import FASTA, MGF, MZML, MZXML
from cumulus_runner.inspection_fasta import LOWER, PREAMBLE
from cumulus_runner.inspection_mgf import COMMENTS, EMPTY_CHARGE
from cumulus_runner.inspection_mzml import ANY_IDS
from cumulus_runner.inspection_source import BOM, CR, GZIP, LEGACY, MEMBERS, UTF16, Progress, Source
from cumulus_runner.inspection_spectra import PREFIXED, WRONG_INDEX
from cumulus_runner.inspection_xml import ATTRIBUTES, attribute, pieces, plain

# What each kind's rewriting mends, and how it is told.
MENDED = {
    GZIP: "compressed",
    MEMBERS: "compressed in several parts",
    BOM: "begins with a byte order mark",
    UTF16: "is UTF-16",
    LEGACY: "has letters that are not UTF-8",
    CR: "has line ends of old Macintoshes",
    LOWER: "has sequences in lower case",
    PREAMBLE: "has lines before its first sequence",
    EMPTY_CHARGE: "has empty lines CHARGE=",
    COMMENTS: "has comments within spectra",
    WRONG_INDEX: "has an index that does not fit",
    PREFIXED: "has a prefix before all names",
    ANY_IDS: "has ids of spectra that are no scan numbers",
}
_WRAPPER = re.compile(rb"<indexedmzML\b" + ATTRIBUTES + rb">\s*")
_ENCODING = re.compile(rb"""(<\?xml[^>]*encoding\s*=\s*["'])utf-16[a-z]*(["'])""", re.IGNORECASE)
_SPECTRUM = re.compile(rb"<spectrum\s" + ATTRIBUTES + rb">")
_REFERENCE = re.compile(rb"""(\sspectrumRef\s*=\s*)(?:"([^"]*)"|'([^']*)')""")
_ID = re.compile(rb"""((?:^|\s)id\s*=\s*)(?:"[^"]*"|'[^']*')""")
_FORMAT = re.compile(rb"""<cvParam\b[^>]*\sname\s*=\s*"[^"]*nativeID format"[^>]*/>""")
_SCAN_FORMAT = b'<cvParam cvRef="MS" accession="MS:1000776" name="scan number only nativeID format" value=""/>'
_CHARGE = re.compile(rb"^CHARGE[ \t]*=[ \t]*\n", re.MULTILINE)
_COMMENT = re.compile(rb"^[ \t]*[#;!/][^\n]*\n", re.MULTILINE)
_LOWER = re.compile(rb"^(?!>)[^\n]*[a-z][^\n]*$", re.MULTILINE)


def rewrite(kind: str, path: str, target: str, unwanted: Iterable[str], progress: Progress) -> None:
    """Write the file at ``path``, which was checked, to ``target``, without its ``unwanted`` features. Raises OSError."""
    source = Source(path, progress)
    with open(target, "xb") as file:
        file.writelines(_WRITERS[kind](source, frozenset(unwanted)))


def _mzml(source: Source, unwanted: frozenset[str]) -> Iterator[bytes]:
    """Without its index. Numbers its spectra as they come where their ids are unwanted."""
    renumbered = _Renumbered() if ANY_IDS in unwanted else None
    for tags, begin, base64 in pieces(plain(source.text()), b"<binary>", b"</binary>", b"<binaryDataArray "):
        text = tags if begin else _WRAPPER.sub(b"", _with_encoding(tags), count=1)
        head, end, _ = (renumbered.of(text) if renumbered else text).partition(b"</mzML>")
        yield head + end
        if end:
            yield b"\n"
            return
        yield base64 or b""


def _mzxml(source: Source, _unwanted: frozenset[str]) -> Iterator[bytes]:
    """Without its index."""
    for tags, begin, base64 in pieces(plain(source.text()), b"<peaks", b"</peaks>", b"<peaks"):
        head, index, _ = (tags if begin else _with_encoding(tags)).partition(b"<index ")
        yield head
        if index:
            yield b"</mzXML>\n"
            return
        yield base64 or b""


def _with_encoding(tags: bytes) -> bytes:
    """What was UTF-16 is UTF-8 now."""
    return _ENCODING.sub(rb"\1utf-8\2", tags)


class _Renumbered:
    """Gives spectra the ids scan=1, scan=2 … in their order, and what refers to them the same."""

    def __init__(self) -> None:
        self._new: dict[bytes, bytes] = {}
        self._count = 0  # ids may be there twice

    def of(self, tags: bytes) -> bytes:
        """The tags with new ids."""
        if b"nativeID format" in tags:
            tags = _FORMAT.sub(_SCAN_FORMAT, tags)
        if b"<spectrum" in tags:
            tags = _SPECTRUM.sub(self._spectrum, tags)
        return _REFERENCE.sub(self._reference, tags) if b"spectrumRef" in tags else tags

    def _spectrum(self, found: re.Match[bytes]) -> bytes:
        self._count += 1
        new = b"scan=%d" % self._count
        self._new[attribute(found[1], b"id") or new] = new
        return b"<spectrum " + _ID.sub(rb'\1"' + new + b'"', found[1], count=1) + b">"

    def _reference(self, found: re.Match[bytes]) -> bytes:
        """To a spectrum that is not known by now nothing can refer."""
        new = self._new.get(found[3] if found[2] is None else found[2])
        return b"" if new is None else found[1] + b'"' + new + b'"'


def _lines(source: Source) -> Iterator[bytes]:
    """Pieces of whole lines."""
    rest = b""
    for chunk in source.lines():
        whole, end, rest = (rest + chunk).rpartition(b"\n")
        yield whole + end
    if rest:
        yield rest + b"\n"


def _mgf(source: Source, _unwanted: frozenset[str]) -> Iterator[bytes]:
    for lines in _lines(source):
        yield _COMMENT.sub(b"", _CHARGE.sub(b"", lines))


def _fasta(source: Source, unwanted: frozenset[str]) -> Iterator[bytes]:
    for lines in _from_first_record(_lines(source)) if PREAMBLE in unwanted else _lines(source):
        yield _LOWER.sub(lambda found: found[0].upper(), lines) if LOWER in unwanted else lines


def _from_first_record(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for lines in pieces:
        begin = (b"\n" + lines).find(b"\n>")
        if begin >= 0:
            yield lines[begin:]
            break
    yield from pieces


_WRITERS: dict[str, Callable[[Source, frozenset[str]], Iterator[bytes]]] = {
    MZML: _mzml,
    MZXML: _mzxml,
    MGF: _mgf,
    FASTA: _fasta,
}
