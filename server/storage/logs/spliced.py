"""A file with lines inserted into it, to be read from any place: what a download of a log is made from."""

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from typing import BinaryIO


class Spliced(io.RawIOBase):
    """The first ``size`` bytes of a file, with each of the insertions (offset in the file, bytes) before that byte of it."""

    def __init__(self, file: BinaryIO, size: int, insertions: Sequence[tuple[int, bytes]]) -> None:
        super().__init__()
        self._file = file
        self._pieces: list[tuple[int, bytes]] = []  # where in the file, or the text itself
        self._begins: list[int] = []
        self.size = 0
        at = 0
        for offset, text in [*insertions, (size, b"")]:
            self._add(at, b"", min(offset, size) - at)
            self._add(0, text, len(text))
            at = min(offset, size)
        self._position = 0

    def _add(self, offset: int, text: bytes, length: int) -> None:
        if length > 0:
            self._begins.append(self.size)
            self._pieces.append((offset, text))
            self.size += length

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is read from."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on elsewhere; returns where."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Fill the buffer as far as one piece reaches; returns how many bytes there are, 0 at the end."""
        data = self._part(len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file, too."""
        self._file.close()
        super().close()

    def _part(self, count: int) -> bytes:
        if self._position >= self.size:
            return b""
        number = bisect_right(self._begins, self._position) - 1
        end = self._begins[number + 1] if number + 1 < len(self._begins) else self.size
        inside, count = self._position - self._begins[number], min(count, end - self._position)
        offset, text = self._pieces[number]
        return text[inside : inside + count] if text else os.pread(self._file.fileno(), count, offset + inside)
