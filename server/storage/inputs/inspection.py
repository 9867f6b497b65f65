"""A first inspection of input files, of their beginning and end: is each what its name says, and complete?

Owns what costs no more than a few blocks of each file. All of it is read on the worker (``cumulus_runner/inspection.py``). A kind
of file that is not known here is never refused.
"""

import re
import zlib
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from server.catalog.files import InputFile
from server.storage.regular import open_regular

HEAD_BYTES = 64 * 1024
TAIL_BYTES = 16 * 1024
USUALLY_READ = frozenset({"zlib", "any-ids"})
_GZIP = b"\x1f\x8b"
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_THERMO = b"\x01\xa1F\x00i\x00n\x00n\x00i\x00g\x00a\x00n\x00"
_SQLITE = b"SQLite format 3\x00"
_BRUKER = {"analysis.tdf": _SQLITE, "analysis.tsf": _SQLITE, "analysis.baf": b""}
_FASTA = (".fasta", ".fa", ".faa", ".fas")
_ENDS = {".mzml": {"mzML": b"</mzML>", "indexedmzML": b"</indexedmzML>"}, ".mzxml": {"mzXML": b"</mzXML>", "msRun": b"</msRun>"}}
_ROOT = re.compile(rb"\s*(?:<[?!][^>]*>\s*)*<(?:[\w.-]+:)?(\w+)")
_HTML = re.compile(rb"\s*(?:<\?[^>]*>\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_INDEX_PLACE = re.compile(rb"<indexListOffset>\s*([0-9]{1,18})\s*</indexListOffset>")
_OFFSET = re.compile(rb"<offset\b[^>]*>\s*([0-9]{1,18})\s*</offset>")
_ID = re.compile(rb"""<spectrum\s(?:[^>]*\s)?id\s*=\s*["']([^"']*)["']""")
_PREFIXED = re.compile(rb"<[A-Za-z_][\w.-]*:(?:indexed)?mzML\b")
_SCAN = re.compile(rb"(?:^|\s)scan(?:Id)?=([0-9]+)(?:\s|$)")
# zlib; MS-Numpress; MS-Numpress and zlib; as an app's `accepts` calls them
_COMPRESSIONS = {"zlib": rb"MS:1000574", "numpress": rb"MS:100231[234]", "numpress-zlib": rb"MS:100274[678]"}


@dataclass(frozen=True)
class _Ends:
    """The beginning and the end of a file, uncompressed, and its bytes."""

    head: bytes
    tail: bytes
    size: int


def refusals(files: Iterable[tuple[InputFile, Path]]) -> list[str]:
    """What keeps a job from running, with the names of the files. What cannot be read is missed elsewhere.

    Of files that the app takes one by one (``alone``), all have to be wrong.
    """
    fields: dict[str, list[tuple[InputFile, str]]] = {}
    for file, path in files:
        problem = ""
        with suppress(OSError):
            problem = problem_of(file.name, path) or ""
        fields.setdefault(file.parameter, []).append((file, problem and f"{file.name}: {problem}"))
    return [problem for given in fields.values() for problem in _refusals_of(given)]


def _refusals_of(given: list[tuple[InputFile, str]]) -> list[str]:
    wrong = [(file, problem) for file, problem in given if problem]
    return [problem for file, problem in wrong if not file.alone or len(wrong) == len(given)]


def problem_of(name: str, path: Path) -> str | None:
    """What is wrong with a file, or folder, of this name. Raises OSError."""
    if path.is_dir():
        return _folder_problem(name, path)
    with open_regular(path, follow=True) as file:
        size = file.seek(0, 2)
        if not size:
            return "it is empty"
        lower = name.lower()
        if lower.endswith(".gz"):
            return _compressed_problem(lower.removesuffix(".gz"), file)
        return _problem(lower, _ends(file, size))


def is_mzml(name: str) -> bool:
    """Whether a file is mzML, uncompressed, by its name."""
    return name.lower().endswith(".mzml")


def is_read(source: Path, accepts: Collection[str] | None) -> bool:
    """Whether an app reads a file of mzML as it is, as far as its ends show. Raises OSError."""
    if source.is_dir():
        return False
    with open_regular(source, follow=True) as file:
        size = file.seek(0, 2)
        ends = _ends(file, size)
        features = _features(ends.head) | ({"wrong-index"} if not _index_fits(file, ends) else set())
    return not features - (USUALLY_READ if accepts is None else set(accepts))


def _ends(file: BinaryIO, size: int) -> _Ends:
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(max(0, size - TAIL_BYTES))
    return _Ends(head, file.read(TAIL_BYTES), size)


def _folder_problem(name: str, path: Path) -> str | None:
    if not name.lower().endswith(".d"):
        return None
    there = [one for one in _BRUKER if (path / one).is_file()]
    if not there:
        bruker = any((path / one).exists() for one in _BRUKER) or not any(path.iterdir())
        return (
            f"it has none of {', '.join(_BRUKER)}: it is no folder of a Bruker instrument, or not all of it" if bruker else None
        )
    for one in there:
        with open_regular(path / one) as file:
            if not file.read(len(_BRUKER[one])).startswith(_BRUKER[one]) or not file.seek(0, 2):
                return f"{one} is damaged at its beginning"
    return None


def _compressed_problem(inner: str, file: BinaryIO) -> str | None:
    file.seek(0)
    packed = file.read(HEAD_BYTES)
    if not packed.startswith(_GZIP):
        return "it is a web page (HTML)" if _HTML.match(packed) else "it is not compressed by gzip, as its name says"
    unpacker = zlib.decompressobj(31)
    try:
        head = unpacker.decompress(packed, HEAD_BYTES)
    except zlib.error:
        return "its compressed data are damaged near their beginning"
    if not unpacker.eof and file.seek(0, 2) <= len(packed) and not unpacker.unconsumed_tail:
        rest = unpacker.decompress(b"", HEAD_BYTES)
        if not rest and not unpacker.eof:
            return "it is cut off: its compressed data end in the middle"
    if len(packed) < 18:
        return "it is cut off: its compressed data end in the middle"
    return _head_problem(inner, head) if head else "it is empty, once it is uncompressed"


def _problem(lower: str, ends: _Ends) -> str | None:
    if problem := _head_problem(lower, ends.head):
        return problem
    ending = lower[lower.rfind(".") :]
    if ending in _ENDS and not ends.head.startswith((*_MARKS, _GZIP)):
        return _end_problem(_ENDS[ending], ends)
    if ending == ".mgf" and ends.size <= len(ends.head) and b"BEGIN IONS" not in _as_text(ends.head):
        return "it has no spectra: there is no BEGIN IONS in it"
    return None


def _head_problem(lower: str, head: bytes) -> str | None:
    """What is wrong with the first bytes of a file whose name ends so."""
    if head.startswith(_GZIP):  # it is uncompressed on the worker
        return None
    ending = lower[lower.rfind(".") :]
    text = _as_text(head)
    if ending == ".raw":
        return None if head.startswith(_THERMO) else "it does not begin as a Thermo RAW file does"
    if ending not in (*_ENDS, *_FASTA, ".mgf"):
        return None
    if not head.strip(b"\0"):
        return "it is damaged: it begins with zero bytes"
    if _HTML.match(text):
        return "it is a web page (HTML)"
    if ending in _ENDS:
        root = _ROOT.match(text)
        wanted = _ENDS[ending]
        return None if root and root[1].decode(errors="replace") in wanted else f"it does not begin as {next(iter(wanted))} does"
    if ending in _FASTA:
        return _fasta_problem(text)
    return None


def _fasta_problem(text: bytes) -> str | None:
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith((b";", b"#"))), b"")
    if first.startswith(b">"):
        return None
    if not first and len(text) >= HEAD_BYTES:  # a long comment
        return None
    return "it has no protein sequences: it does not begin with a line that begins with >"


def _end_problem(ends_of: dict[str, bytes], ends: _Ends) -> str | None:
    root = _ROOT.match(ends.head)
    if root is None or b":" in root[0]:
        return None
    wanted = ends_of[root[1].decode(errors="replace")]
    if ends.tail.rstrip().endswith(wanted):
        return None
    if ends.tail.rstrip(b"\0") != ends.tail:
        return f"it is damaged: it ends with zero bytes, before byte {ends.size}"
    if wanted in ends.tail:
        return f"something follows {wanted.decode()} at its end, byte {ends.size}"
    return f"it is cut off: it ends at byte {ends.size}, without {wanted.decode()}"


def _as_text(head: bytes) -> bytes:
    """The head as UTF-8, whatever it is."""
    if head.startswith(_MARKS[1:]) or b"\0" in head[1:4:2] or b"\0" in head[0:4:2]:
        encoding = "utf-16" if head.startswith(_MARKS[1:]) else "utf-16-le" if head[1:2] == b"\0" else "utf-16-be"
        return head[: len(head) // 2 * 2].decode(encoding, errors="ignore").encode(errors="ignore")
    return head.removeprefix(_MARKS[0])


def _features(head: bytes) -> set[str]:
    """What the beginning of mzML has that not every program reads, as `accepts` calls it."""
    if head.startswith(_GZIP):
        return {"gzip"}
    found = {word for word, term in _COMPRESSIONS.items() if re.search(term, head)}
    if head.startswith(_MARKS):
        found.add("bom" if head.startswith(_MARKS[0]) else "utf-16")
    if _PREFIXED.search(head):
        found.add("prefixed")
    if b"<indexedmzML" not in head:
        found.add("index-free")
    last = 0
    for name in _ID.findall(head):
        scan = _SCAN.search(name)
        if (b"can" in name or b"S" in name) and (scan is None or int(scan[1]) <= last):
            found.add("any-ids")
        last = int(scan[1]) if scan else last
    return found


def _index_fits(file: BinaryIO, ends: _Ends) -> bool:
    """Whether the index, where there is one, leads to itself and to the elements that its end names."""
    if b"<indexedmzML" not in ends.head:
        return True
    place = _INDEX_PLACE.search(ends.tail)
    if place is None:
        return False
    offsets = [int(one) for one in _OFFSET.findall(ends.tail)[-3:]]
    return _leads_to(file, int(place[1]), b"<indexList") and all(
        _leads_to(file, one, b"<spectrum ") or _leads_to(file, one, b"<chromatogram ") for one in offsets
    )


def _leads_to(file: BinaryIO, place: int, tag: bytes) -> bool:
    file.seek(place)
    return file.read(len(tag)) == tag
