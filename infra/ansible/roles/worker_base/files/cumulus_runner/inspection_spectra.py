"""The course of a check of XML with spectra, and what is the same for each: counts, arrays, the file's own checksum."""

from __future__ import annotations

import re
import zlib
from array import array
from binascii import crc32
from collections.abc import Iterable, Iterator
from itertools import chain

from cumulus_runner.inspection_source import Fault, Source
from cumulus_runner.inspection_xml import ATTRIBUTES, CutOff, WellFormed, attribute, decoded, pieces, plain, root_of

ZLIB, UNKNOWN = "zlib", "unknown-compression"
NO_INDEX, WRONG_INDEX, PREFIXED = "index-free", "wrong-index", "prefixed"
MAX_INDEX = 1 << 29
MAX_ARRAY = 1 << 24  # bytes that are made room for before it is known that there are so many
TAIL = 4096


class SpectraCheck:
    """One check; ``run`` does it. ``warnings``: what is odd and does no harm.

    ``roots``: how the XML may begin, ``opening`` and ``closing``: the tags around base64, ``keep``: a tag that is needed with it,
    ``checksum``: the tag of the file's own SHA-1, ``index``: the one that the index begins with.
    """

    roots: tuple[str, ...]
    opening: bytes
    closing: bytes
    keep: bytes
    checksum: bytes
    index: bytes

    def __init__(self, source: Source) -> None:
        self._source = source
        self.features = source.features
        self.warnings: list[str] = []
        self.spectra = 0
        self._now = ""  # which spectrum is being read
        self._said: int | None = None
        self._index = bytearray()
        self._index_at = -1

    def run(self) -> None:
        """Raises Fault."""
        checksum = FileChecksum(self._source.path, self.checksum)
        chunks = checksum.passed(self._source.text())
        first = next(chunks, b"")
        root = root_of(first, self.roots)
        whole: Iterator[bytes] = chain((first,), chunks)
        if ":" in root:
            self.features.add(PREFIXED)
            whole = plain(whole)
        self._read(whole)
        self._compare(root.rpartition(":")[2])
        if checksum.is_wrong and not {WRONG_INDEX, NO_INDEX} & self.features:
            self.warnings.append("its own checksum is not that of its content: it was changed after it had been written")

    def _read(self, chunks: Iterable[bytes]) -> None:
        parser = WellFormed(self._source)
        end = 0
        try:
            for tags, begin, base64 in pieces(chunks, self.opening, self.closing, self.keep):
                end = begin + len(tags)
                parser.feed(tags, begin)
                if self._index_at < 0 and self.index not in tags and b"<!--" not in tags:
                    self._look(tags, begin)
                else:
                    self._look_or_index(tags, begin)
                if base64 is not None:
                    self._array(tags, base64)
            parser.flush(final=True)
        except CutOff:
            of = f" of {self._said}" if self._said else ""
            where = f"in or after spectrum {self.spectra}{of}" if self.spectra else "before its first spectrum"
            raise Fault(f"it is cut off: it ends {where}, at byte {end}, without </{self.roots[0]}>") from None
        except Fault:
            raise
        except ValueError as problem:
            raise Fault(f"it is damaged in {self._now or 'its first array'}, at byte {end}: {problem}") from None

    def _look_or_index(self, tags: bytes, begin: int) -> None:
        if b"<!--" in tags:
            tags = _COMMENT.sub(lambda found: b" " * len(found[0]), tags)
        if self._index_at < 0:
            found = tags.find(self.index)
            if found < 0:
                return self._look(tags, begin)
            self._look(tags[:found], begin)
            self._index_at = self._source.start + begin + found
            tags = tags[found:]
        if len(self._index) > MAX_INDEX:
            raise Fault("its index is larger than any")
        self._index += tags

    def _look(self, tags: bytes, begin: int) -> None:
        """Learn from tags, which begin at a place of the text."""
        raise NotImplementedError

    def _array(self, tags: bytes, base64: bytes) -> None:
        """Check what follows its tag. Raises ValueError with what is wrong."""
        raise NotImplementedError

    def _compare(self, root: str) -> None:
        """At the end: what the file says of itself. Raises Fault."""
        raise NotImplementedError


class Seen:
    """Where elements are that an index names, and what they are called."""

    def __init__(self) -> None:
        self._places = array("Q")
        self._names = 0

    def add(self, name: bytes, place: int) -> None:
        """One more."""
        self._places.append(place)
        self._names = crc32(name + b"\n", self._names)

    def __len__(self) -> int:
        return len(self._places)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seen) and (self._places, self._names) == (other._places, other._names)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def of_index(cls, text: bytes, name: bytes) -> Seen:
        """What an index says; ``name``: the attribute that an element is named by."""
        seen = cls()
        for found in _OFFSET.finditer(text):
            seen.add(attribute(found[1], name) or b"", int(found[2]))
        return seen


class FileChecksum:
    """The SHA-1 that an indexed file has of itself, at its end: of all up to and including its opening tag.

    A compressed file has better ones, and its end cannot be seen beforehand.
    """

    def __init__(self, path: str, tag: bytes) -> None:
        self._wanted = b""
        self._left = 0
        self.is_wrong = False
        with open(path, "rb") as file:
            begin = file.seek(max(0, file.seek(0, 2) - TAIL))
            found = re.search(tag + rb"\s*([0-9a-fA-F]{40})\s*<", file.read())
        if found and found[1].strip(b"0"):
            self._wanted = found[1].lower()
            self._left = begin + found.start() + len(tag)

    def passed(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The chunks as they come; afterwards it is known whether the sum is right."""
        if not self._wanted:
            yield from chunks
            return
        from hashlib import sha1

        total = sha1(usedforsecurity=False)
        for chunk in chunks:
            total.update(memoryview(chunk)[: self._left])
            self._left = max(0, self._left - len(chunk))
            yield chunk
        self.is_wrong = total.hexdigest().encode() != self._wanted


def inflated(data: bytes, size: int) -> bytes:
    """What zlib has compressed; ``size``: how many bytes that should be, about. Raises ValueError."""
    try:
        return zlib.decompress(data, bufsize=min(size, MAX_ARRAY) + 1)
    except zlib.error:
        raise ValueError("its compressed values (zlib) are damaged") from None


def binary(base64: bytes, said: int | None) -> bytes:
    """What base64 stands for; ``said``: how many characters it should have. Raises ValueError."""
    data = decoded(base64)
    if said != len(base64) and said is not None and said != (len(data) + 2) // 3 * 4:
        raise ValueError(f"it says {said} characters and has {len(base64)}")
    return data


_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_OFFSET = re.compile(rb"<offset\b" + ATTRIBUTES + rb">\s*([0-9]{1,18})\s*</offset>")
