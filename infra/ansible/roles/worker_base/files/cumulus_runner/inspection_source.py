"""A file's content as the checks read it: uncompressed, as UTF-8, in pieces, while its checksum is made of the very same bytes.

Owns gzip, character encodings and line ends. What the content means is the other modules' matter.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from typing import Callable

CHUNK = 1024 * 1024
MAX_OUTPUT = 4 * CHUNK  # of one step of decompression
HEAD = 64 * 1024
GZIP_MAGIC = b"\x1f\x8b"
UTF8_MARK = codecs.BOM_UTF8
GZIP, MEMBERS, BOM, UTF16, CR, LEGACY = "gzip", "gzip-members", "bom", "utf-16", "cr", "not-utf-8"
_STRAY = re.compile("[\udc80-\udcff]")
Progress = Callable[[int], None]  # is told each time how many bytes were read; may raise, which ends the reading


class Fault(Exception):
    """What is wrong with a file and where, in words for whoever sent it."""


def unheard(_size: int) -> None:
    """Nobody wants to know how far it is."""


class Source:
    """One file, read once from its beginning to its end.

    ``features``: what the reading found about its form. ``size``, ``sha256``: of the file as it is, right after the reading.
    ``start``: where its text begins, in bytes.
    """

    def __init__(self, path: str, progress: Progress = unheard) -> None:
        self.path = path
        self.features: set[str] = set()
        self.size = 0
        self.start = 0
        self._progress = progress
        self._hash = _sha256()

    @property
    def sha256(self) -> str:
        """Of all that was read."""
        return str(self._hash.hexdigest())

    def bytes(self) -> Iterator[bytes]:
        """The file as it is. Raises OSError, Fault where it is no file."""
        handle = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Fault("it is not a file")
            while chunk := file.read(CHUNK):
                self.size += len(chunk)
                self._hash.update(chunk)
                yield chunk
                self._progress(len(chunk))

    def content(self) -> Iterator[bytes]:
        """Its bytes, uncompressed where they are compressed."""
        chunks = self.bytes()
        first = next(chunks, b"")
        if not first.startswith(GZIP_MAGIC):
            yield from _with(first, chunks)
            return
        self.features.add(GZIP)
        yield from self._gunzipped(_with(first, chunks))

    def text(self) -> Iterator[bytes]:
        """Its content as UTF-8 (or whatever an XML declaration says), without a mark of its encoding."""
        chunks = self.content()
        first = _beginning(chunks)
        if encoding := utf16_encoding(first):
            self.features.add(UTF16)
            yield from _recoded(_with(first, chunks), encoding)
            return
        if first.startswith(UTF8_MARK):
            self.features.add(BOM)
            self.start = len(UTF8_MARK)
            first = first[self.start :]
        yield from _with(first, chunks)

    def lines(self) -> Iterator[bytes]:
        """Its text with a line feed at each line's end; carriage returns alone count as ends of lines. No text has zero bytes.

        Letters that are no UTF-8 are taken for those of Windows (cp1252).
        """
        held = b""
        for chunk in self._as_utf8(_without_holes(self.text(), self.start)):
            text = held + chunk
            held = b"\r" if text.endswith(b"\r") else b""
            yield self._with_line_feeds(text[: len(text) - len(held)])
        if held:
            yield self._with_line_feeds(held)

    def _as_utf8(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        for chunk in chunks:
            if chunk.isascii() and not decoder.getstate()[0]:
                yield chunk
            else:
                yield self._encoded(decoder.decode(chunk))
        if rest := decoder.decode(b"", final=True):
            yield self._encoded(rest)

    def _encoded(self, text: str) -> bytes:
        if _STRAY.search(text):
            self.features.add(LEGACY)
            text = _STRAY.sub(_windows_letter, text)
        return text.encode()

    def _with_line_feeds(self, text: bytes) -> bytes:
        if b"\r" not in text:
            return text
        text = text.replace(b"\r\n", b"\n")
        if b"\r" in text:
            self.features.add(CR)
        return text.replace(b"\r", b"\n")

    def _gunzipped(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        member, number = zlib.decompressobj(31), 1
        for chunk in chunks:
            data = chunk
            while data:
                if member.eof:
                    if not data.strip(b"\0"):  # padding, as a tape leaves it
                        break
                    member, number = zlib.decompressobj(31), number + 1
                    self.features.add(MEMBERS)
                try:
                    yield member.decompress(data, MAX_OUTPUT)
                except zlib.error:
                    what = "what follows its compressed data is no gzip data" if self._is_junk(data, number) else "it is damaged"
                    raise Fault(f"{what}: it cannot be uncompressed near byte {self.size}") from None
                data = member.unused_data if member.eof else member.unconsumed_tail
        while not member.eof and (rest := member.decompress(b"", MAX_OUTPUT)):
            yield rest
        if not member.eof:
            raise Fault(f"it is cut off: its compressed data end in the middle, at byte {self.size}")

    def _is_junk(self, data: bytes, number: int) -> bool:
        return number > 1 and not data.startswith(GZIP_MAGIC)


def utf16_encoding(head: bytes) -> str | None:
    """The name of the encoding where a text is UTF-16, with or without its mark."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(head) >= 4 and head[0] and head[2] and not head[1] and not head[3]:
        return "utf-16-le"
    if len(head) >= 4 and head[1] and head[3] and not head[0] and not head[2]:
        return "utf-16-be"
    return None


def _recoded(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError:
        raise Fault("it is damaged: it begins as UTF-16 and does not go on so") from None


def _windows_letter(found: re.Match[str]) -> str:
    byte = found[0].encode("ascii", "surrogateescape")
    return byte.decode("cp1252", "replace")


def _without_holes(chunks: Iterable[bytes], start: int) -> Iterator[bytes]:
    """Text, which has no zero bytes. Raises Fault where it has."""
    done = start
    for chunk in chunks:
        if (hole := chunk.find(0)) >= 0:
            size = len(chunk) - hole - len(chunk[hole:].lstrip(b"\0"))
            more = " or more" if hole + size == len(chunk) else ""
            raise Fault(f"it is damaged: a hole of {size} zero bytes{more} at byte {done + hole}")
        done += len(chunk)
        yield chunk


def _beginning(chunks: Iterator[bytes]) -> bytes:
    """As much of it as tells what it is, however small the pieces are."""
    first = b""
    for chunk in chunks:
        first += chunk
        if len(first) >= HEAD:
            break
    return first


def _with(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _sha256():  # type: ignore[no-untyped-def]
    from hashlib import sha256  # not before it is needed: its import costs more than a small file

    return sha256()
