"""What mzML and mzXML have in common: XML that is mostly base64.

Owns telling tags and base64 apart, and whether the XML is well-formed.

The parser gets the tags alone: base64 is checked where it is decoded, which costs a fraction of what the parser would take.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from xml.parsers import expat

from cumulus_runner.inspection_source import UTF16, Fault, Source

AT_ONCE = 256 * 1024  # bytes of tags for the parser
MAX_PIECE = 1 << 30
ATTRIBUTES = rb"""([^>"']*(?:(?:"[^"]*"|'[^']*')[^>"']*)*)"""
_ROOT = re.compile(rb"\A\s*(?:<\?.*?\?>\s*|<!--.*?-->\s*|<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>\s*)*<([^\s>/!?]+)", re.DOTALL)
_PREFIX = re.compile(rb"[A-Za-z_][A-Za-z0-9_.-]{0,99}")
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_SPACE = b" \t\r\n"
Piece = tuple[bytes, int, "bytes | None"]  # tags, where they begin in the text, the base64 that follows them


def attribute(text: bytes, name: bytes) -> bytes | None:
    """The value of an attribute in the inside of a tag; None where it has none of that name."""
    found = _attribute(name).search(text)
    return found and (found[2] if found[1] is None else found[1])


@cache
def _attribute(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"(?:^|\s)" + name + rb"""\s*=\s*(?:"([^"]*)"|'([^']*)')""")


def number(text: bytes, name: bytes) -> int | None:
    """The same of a number; None also where it is none."""
    value = attribute(text, name)
    return int(value) if value is not None and re.fullmatch(rb"\s*[0-9]{1,18}\s*", value) else None


def plain(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """XML whose elements have names without a prefix, as programs expect them: ``<mzML>`` for ``<m:mzML>``."""
    rest = iter(chunks)
    first = next(rest, b"")
    found = _ROOT.search(first)
    prefix = found[1].rpartition(b":")[0] if found else b""
    whole = chain((first,), rest)
    yield from _without(prefix, whole) if _PREFIX.fullmatch(prefix) else whole


def _without(prefix: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    name, longest, rest = re.compile(rb"(</?)" + re.escape(prefix) + b":"), len(b"</:") + len(prefix), b""
    for chunk in chunks:
        text = rest + chunk
        begin = text.rfind(b"<", -longest)  # of a name that goes on in the next chunk
        cut = len(text) if begin < 0 else begin
        rest = text[cut:]
        yield name.sub(rb"\1", text[:cut])
    yield name.sub(rb"\1", rest)


def root_of(head: bytes, wanted: tuple[str, ...]) -> str:
    """The name of the root element, with its prefix. Raises Fault where it is none of those."""
    if _HTML.search(head[:2048]):
        raise Fault("it is a web page (HTML), not a file of spectra")
    found = _ROOT.search(head)
    if found is None:
        raise Fault("it is not XML" if b"<" not in head[:64] else "it is not XML that can be read")
    name = found[1].decode("utf-8", "replace")
    if name.rpartition(":")[2] not in wanted:
        raise Fault(f"its XML is that of something else: it begins with <{name}>, not with <{'> or <'.join(wanted)}>")
    return name


def pieces(chunks: Iterable[bytes], opening: bytes, closing: bytes, keep: bytes) -> Iterator[Piece]:
    """Tags and base64 by turns. ``opening``: how the tag before base64 begins; ``keep``: a tag that is not parted from it."""
    buffer, done, waiting, wanted = b"", 0, [], 0
    for chunk in chunks:
        waiting.append(chunk)
        wanted -= len(chunk)
        if wanted > 0:  # to join what is larger than a chunk again and again would take for ever
            continue
        buffer, waiting = b"".join((buffer, *waiting)), []
        used = 0
        for start, inner, end in _arrays(buffer, opening, closing):
            yield buffer[start:inner], done + start, buffer[inner:end]
            used = end
        if buffer.find(opening, used) < 0 and (cut := _last_tag(buffer, used, keep)) > used:
            yield buffer[used:cut], done + used, None
            used = cut
        buffer, done = buffer[used:], done + used
        wanted = len(buffer)
        if wanted > MAX_PIECE:
            raise Fault(f"it is damaged: nothing that can be read follows byte {done}")
    if rest := b"".join((buffer, *waiting)):
        yield from _last_pieces(rest, done, opening, closing)


def _last_pieces(rest: bytes, done: int, opening: bytes, closing: bytes) -> Iterator[Piece]:
    used = 0
    for start, inner, end in _arrays(rest, opening, closing):
        yield rest[start:inner], done + start, rest[inner:end]
        used = end
    yield rest[used:], done + used, None


def _arrays(buffer: bytes, opening: bytes, closing: bytes) -> Iterator[tuple[int, int, int]]:
    """Where tags begin, where the base64 after them begins and where it ends, for all of it that is whole."""
    start = at = 0
    while (found := buffer.find(opening, at)) >= 0 and (tag_end := buffer.find(b">", found)) >= 0:
        if buffer[tag_end - 1] == 47:  # "/>": there is nothing in it
            at = tag_end
            continue
        if (end := buffer.find(closing, tag_end)) < 0:
            return
        yield start, tag_end + 1, end
        start = at = end


def _last_tag(buffer: bytes, start: int, keep: bytes) -> int:
    cut = buffer.rfind(b">", start) + 1
    kept = buffer.rfind(keep, start)
    return kept if start < kept < cut else cut


def decoded(text: bytes) -> bytes:
    """Base64, in lines or not. Raises ValueError with the reason."""
    try:
        return a2b_base64(text, strict_mode=True)
    except Base64Error as problem:
        if b"\0" in text:
            raise ValueError(f"it has a hole of {text.count(0)} zero bytes") from None
        if len(together := text.translate(None, _SPACE)) < len(text):
            return decoded(together)
        raise ValueError(f"no base64: {str(problem)[:1].lower()}{str(problem)[1:]}") from None


class WellFormed:
    """A parser that is fed with tags. ``place``: says where one is, for people."""

    def __init__(self, source: Source) -> None:
        self._parser = expat.ParserCreate("utf-8" if UTF16 in source.features else None)
        self._parser.StartDoctypeDeclHandler = _refuse_doctype
        self._pieces: list[bytes] = []
        self._begins: list[int] = []
        self._waiting = 0
        self._fed = 0

    def feed(self, tags: bytes, begin: int) -> None:
        """Tags, and where they begin in the text. Raises Fault, maybe for what was fed before."""
        self._pieces.append(tags)
        self._begins.append(begin)
        self._waiting += len(tags)
        if self._waiting > AT_ONCE:
            self.flush()

    def flush(self, *, final: bool = False) -> None:
        """Parse what waits. Raises Fault."""
        text = b"".join(self._pieces)
        try:
            self._parser.Parse(text, final)
        except expat.ExpatError as problem:
            self._explain(problem, text)
        except (LookupError, ValueError):
            raise Fault("it says that it is written in an encoding that is not known") from None
        self._fed += len(text)
        self._pieces, self._begins, self._waiting = [], [], 0

    def _explain(self, problem: expat.ExpatError, text: bytes) -> None:
        index = self._parser.ErrorByteIndex - self._fed
        if problem.code in (_NO_ELEMENTS, _UNCLOSED, _PARTIAL):
            raise CutOff from None
        where = self._place(max(0, index))
        if (hole := text.find(b"\0", max(0, index - 1))) in range(max(0, index - 1), index + 2):
            size = len(text[hole:]) - len(text[hole:].lstrip(b"\0"))
            raise Fault(f"it is damaged: a hole of {size} zero bytes at byte {self._place(hole)}") from None
        raise Fault(f"it is damaged at byte {where}: {expat.ErrorString(problem.code)}") from None

    def _place(self, index: int) -> int:
        """Where a byte of what waits is in the text."""
        for piece, begin in zip(self._pieces, self._begins):
            if index < len(piece):
                return begin + index
            index -= len(piece)
        return self._begins[-1] + len(self._pieces[-1]) if self._begins else 0


class CutOff(Exception):
    """The XML ends before its end."""


def _refuse_doctype(*_: object) -> None:
    raise Fault("it has a document type declaration, which no file of spectra needs")


_NO_ELEMENTS, _UNCLOSED, _PARTIAL = 3, 5, 6  # of expat: no element found, unclosed token, partial character
