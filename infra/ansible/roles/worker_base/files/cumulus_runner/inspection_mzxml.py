"""Checks a whole mzXML file (versions 2 and 3, sashimi.sourceforge.net) while it streams by."""

from __future__ import annotations

import re

from cumulus_runner.inspection_source import Fault, Source
from cumulus_runner.inspection_spectra import NO_INDEX, UNKNOWN, WRONG_INDEX, ZLIB, Seen, SpectraCheck, binary, inflated
from cumulus_runner.inspection_xml import ATTRIBUTES, attribute, number

DUMMY = 16  # bytes: what some programs write where there is no peak
_TAG = re.compile(rb"<(scan|msRun)\b" + ATTRIBUTES + rb">")
_INDEX_PLACE = re.compile(rb"<indexOffset>\s*([0-9]{1,18})\s*</indexOffset>")
_PAIRS = (None, b"m/z-int")


class MzxmlCheck(SpectraCheck):
    """One check of an mzXML file."""

    roots = ("mzXML", "msRun")
    opening, closing, keep = b"<peaks", b"</peaks>", b"<peaks"
    checksum, index = b"<sha1>", b"<index "

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._peaks: int | None = None
        self._seen = Seen()

    def _look(self, tags: bytes, begin: int) -> None:
        for found in _TAG.finditer(tags):
            if found[1] == b"msRun":
                self._said = number(found[2], b"scanCount")
                continue
            self.spectra += 1
            self._peaks = number(found[2], b"peaksCount")
            name = attribute(found[2], b"num") or b""
            self._seen.add(name, self._source.start + begin + found.start())
            self._now = f"scan {name.decode('ascii', 'replace')}"

    def _array(self, tags: bytes, base64: bytes) -> None:
        head = tags[tags.rfind(self.opening) + len(self.opening) : -1]
        data = binary(base64, None)
        compression = attribute(head, b"compressionType")
        if compression == b"zlib":
            self.features.add(ZLIB)
            data = inflated(data, (self._peaks or 0) * 16) if data else data
        elif compression not in (None, b"none", b""):
            self.features.add(UNKNOWN)
            return
        kinds = attribute(head, b"contentType") or attribute(head, b"pairOrder")
        if kinds in _PAIRS and self._peaks is not None:
            self._count(len(data), (number(head, b"precision") or 32) // 4)

    def _count(self, size: int, pair: int) -> None:
        if size != self._peaks * pair and (self._peaks or size > DUMMY):  # type: ignore[operator]
            raise ValueError(f"it says {self._peaks} peaks and has {size / pair:g}")

    def _compare(self, root: str) -> None:  # noqa: ARG002 - of mzML it tells whether there is an index
        if self._said is not None and self._said != self.spectra:
            raise Fault(f"it is not complete: it says {self._said} scans and has {self.spectra}")
        if not self.spectra:
            raise Fault("it has no spectra")
        if self._index_at < 0:
            self.features.add(NO_INDEX)
        elif not self._index_fits():
            self.features.add(WRONG_INDEX)

    def _index_fits(self) -> bool:
        place = _INDEX_PLACE.search(self._index)
        return place is not None and int(place[1]) == self._index_at and Seen.of_index(self._index, b"id") == self._seen
