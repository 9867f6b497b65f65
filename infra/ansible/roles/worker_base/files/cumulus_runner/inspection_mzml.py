"""Checks a whole mzML file while it streams by: well-formed, complete, its counts and arrays what they say they are.

Follows the schema mzML 1.1 and the terms of PSI-MS. The index is only compared: whoever has a wrong one needs none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cumulus_runner.inspection_source import Fault, Source
from cumulus_runner.inspection_spectra import NO_INDEX, UNKNOWN, WRONG_INDEX, ZLIB, Seen, SpectraCheck, binary, inflated
from cumulus_runner.inspection_xml import ATTRIBUTES, attribute, number

NUMPRESS, NUMPRESS_ZLIB, ANY_IDS = "numpress", "numpress-zlib", "any-ids"
MAX_KINDS = 1000  # of arrays that are remembered
_TAG = re.compile(
    rb"<(spectrum|chromatogram|spectrumList|chromatogramList|referenceableParamGroup|binary)\b" + ATTRIBUTES + rb">"
)
_LENGTH = re.compile(rb"""\sencodedLength\s*=\s*["']\s*([0-9]{1,18})\s*["']""")
_ACCESSION = re.compile(rb"""\saccession\s*=\s*["'](MS:[0-9]+)["']""")
_GROUP = re.compile(rb"<referenceableParamGroupRef\b" + ATTRIBUTES + rb">")
_SCAN = re.compile(rb"(?:^|\s)scan(?:Id)?=([0-9]{1,15})(?:\s|$)")
_INDEX = re.compile(rb"""<index\s+name\s*=\s*["'](\w+)["']\s*>(.*?)</index>""", re.DOTALL)
_INDEX_PLACE = re.compile(rb"<indexListOffset>\s*([0-9]{1,18})\s*</indexListOffset>")
_SIZES = {b"MS:1000519": 4, b"MS:1000520": 2, b"MS:1000521": 4, b"MS:1000522": 8, b"MS:1000523": 8}
_COMPRESSIONS = {
    b"MS:1000574": ZLIB,
    **dict.fromkeys((b"MS:1002312", b"MS:1002313", b"MS:1002314"), NUMPRESS),
    **dict.fromkeys((b"MS:1002746", b"MS:1002747", b"MS:1002748"), NUMPRESS_ZLIB),
    # Truncation, delta and linear prediction with zlib; zstd, alone and with others.
    **{b"MS:%d" % one: UNKNOWN for one in (1003088, 1003089, 1003090, *range(1003780, 1003788))},
}
_SLOF = (b"MS:1002314", b"MS:1002748")  # a fixed point of 8 bytes, then 2 bytes a value


@dataclass(frozen=True)
class Kind:
    """What an array's head says: its compression, bytes of a value (0: not known), and its own number of values, if any."""

    compression: str
    size: int
    is_slof: bool
    length: int | None


class MzmlCheck(SpectraCheck):
    """One check of an mzML file."""

    roots = ("mzML", "indexedmzML")
    opening, closing, keep = b"<binary>", b"</binary>", b"<binaryDataArray "
    checksum, index = b"<fileChecksum>", b"<indexList "

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._groups: dict[bytes, list[bytes]] = {}
        self._kinds: dict[bytes, Kind] = {}
        self._values: int | None = None
        self._scan = 0
        self._seen = {b"spectrum": Seen(), b"chromatogram": Seen()}
        self._chromatograms_said: int | None = None

    def _look(self, tags: bytes, begin: int) -> None:
        for found in self._elements(tags):
            name, inside = found[1], found[2]
            if name in self._seen:
                self._begin(name, inside, self._source.start + begin + found.start())
            elif name == b"referenceableParamGroup":
                self._learn_group(inside, tags, found.end())
            elif name == b"spectrumList":
                self._said = number(inside, b"count")
            elif name == b"chromatogramList":
                self._chromatograms_said = number(inside, b"count")
            elif inside.endswith(b"/") and self._values:
                raise ValueError(f"it says {self._values} values and has none")

    def _elements(self, tags: bytes) -> Iterator[re.Match[bytes]]:
        """The elements that tell something. Behind the first spectrum these are few, and few others are looked at."""
        if not self.spectra or b"<binary/>" in tags or b"<chromatogram" in tags:
            yield from _TAG.finditer(tags)
            return
        at = -1
        while (at := tags.find(b"<spectrum", at + 1)) >= 0:
            if found := _TAG.match(tags, at):
                yield found

    def _begin(self, name: bytes, inside: bytes, place: int) -> None:
        """A spectrum or a chromatogram begins."""
        own = attribute(inside, b"id") or b""
        self._values = number(inside, b"defaultArrayLength")
        self._seen[name].add(own, place)
        if name == b"chromatogram":
            self._now = f"chromatogram {len(self._seen[name])}"
            return
        self.spectra += 1
        self._now = f"spectrum {self.spectra}"
        if b"can" in own or b"S" in own:  # programs look there for its number
            scan = _SCAN.search(own)
            if scan is None or int(scan[1]) <= self._scan:
                self.features.add(ANY_IDS)
            else:
                self._scan = int(scan[1])

    def _learn_group(self, inside: bytes, tags: bytes, at: int) -> None:
        end = tags.find(b"</referenceableParamGroup>", at)
        self._groups[attribute(inside, b"id") or b""] = _ACCESSION.findall(tags, at, end if end >= 0 else len(tags))

    def _array(self, tags: bytes, base64: bytes) -> None:
        head = tags[max(0, tags.rfind(self.keep)) :]
        found = _LENGTH.search(head)
        key = head if found is None else head[: found.start(1)] + head[found.end(1) :]
        kind = self._kinds.get(key) or self._learn_kind(key)
        data = binary(base64, int(found[1]) if found else None)
        if kind.compression in (ZLIB, NUMPRESS_ZLIB) and data:
            data = inflated(data, (self._values or 0) * 8)
        self._count(kind, len(data))

    def _count(self, kind: Kind, size: int) -> None:
        values = self._values if kind.length is None else kind.length
        if values is None:
            return
        if kind.compression in ("", ZLIB) and kind.size and size != values * kind.size:
            raise ValueError(f"it says {values} values and has {size / kind.size:g}")
        if kind.is_slof and values and size != 8 + 2 * values:
            raise ValueError(f"it says {values} values and has {(size - 8) / 2:g}")

    def _learn_kind(self, head: bytes) -> Kind:
        terms = _ACCESSION.findall(head)
        for group in _GROUP.finditer(head):
            terms += self._groups.get(attribute(group[1], b"ref") or b"", [])
        compressions = {_COMPRESSIONS[term] for term in terms if term in _COMPRESSIONS}
        if compressions == {ZLIB, NUMPRESS}:
            compressions = {NUMPRESS_ZLIB}
        compression = compressions.pop() if len(compressions) == 1 else UNKNOWN if compressions else ""
        if compression:
            self.features.add(compression)
        size = next((_SIZES[term] for term in terms if term in _SIZES), 0)
        own = number(head[len(self.keep) - 1 : head.find(b">")], b"arrayLength")
        kind = Kind(compression, size, any(term in _SLOF for term in terms), own)
        if len(self._kinds) < MAX_KINDS:
            self._kinds[head] = kind
        return kind

    def _compare(self, root: str) -> None:
        said = {
            "spectra": (self._said, self.spectra),
            "chromatograms": (self._chromatograms_said, len(self._seen[b"chromatogram"])),
        }
        for what, (wanted, found) in said.items():
            if wanted is not None and wanted != found:
                raise Fault(f"it is not complete: it says {wanted} {what} and has {found}")
        if not any(self._seen.values()):
            raise Fault("it has no spectra")
        if root != "indexedmzML" or self._index_at < 0:
            self.features.add(NO_INDEX)
        elif not self._index_fits():
            self.features.add(WRONG_INDEX)

    def _index_fits(self) -> bool:
        place = _INDEX_PLACE.search(self._index)
        if place is None or int(place[1]) != self._index_at:
            return False
        told = {found[1]: Seen.of_index(found[2], b"idRef") for found in _INDEX.finditer(self._index)}
        return all(told.get(name, Seen()) == seen for name, seen in self._seen.items())
