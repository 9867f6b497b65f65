"""Where things are in a job's log: the measures that the client plots, thinned, and where each attempt begins.

Owns what is remembered of a log that is too long to be kept, and where a remark that is no part of the file belongs. Reads
nothing.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

MAX_POINTS = 3000  # half of them at least, as soon as there are so many; the client's plot has no more pixels
MAX_POINT_BYTES = 64
MAX_REST = 256 * 1024  # longer than any line of ours
_INFO, _SERVER = b"[INFO] ", b"[SERVER] "
_ATTEMPT = re.compile(rb"\[SERVER\] .{23} - job \d+, attempt (\d{1,9}), on ")
Insertion = tuple[int, bytes]


@dataclass(frozen=True)
class Remark:
    """What happened beside the run, as a line for its log. ``at``: Unix seconds; ``begun``: whether the attempt's run had."""

    at: float
    attempt: int
    begun: bool
    text: str

    def line(self) -> bytes:
        """The line as the log has it; what follows in a text of several lines passes for no such line."""
        text = "\n ".join(self.text.splitlines())
        return f"[SERVER] {self.stamp} UTC - {text}\n".encode(errors="replace")

    @property
    def stamp(self) -> str:
        """The time as the log has it."""
        return f"{datetime.fromtimestamp(self.at, UTC):%Y-%m-%d %H:%M:%S}"


class LogIndex:
    """The index of one log, of whose bytes each is given to it once, in order."""

    def __init__(self) -> None:
        self._position = 0  # of the first byte of ``_rest``
        self._rest = b""
        self._skips = False  # whether it is within a line that is none of ours
        self._seen = 0
        self._step = 1
        self._points: list[Insertion] = []
        self._attempts: list[tuple[int, int]] = []  # offset and number

    @property
    def kept_bytes(self) -> int:
        """The memory that it takes, roughly."""
        return len(self._rest) + sum(150 + len(line) for _, line in self._points)

    def feed(self, data: bytes) -> None:
        """The next bytes."""
        data = self._rest + data
        if self._skips:
            data = self._skipped(data)
        end = data.rfind(b"\n") + 1
        self._find(data[:end])
        self._position += end
        self._rest = data[end:]
        if len(self._rest) > MAX_REST:
            self._position += len(self._rest)
            self._rest, self._skips = b"", True

    def skip_to(self, position: int) -> None:
        """Leave out what comes before that byte of the file; whatever line it is in."""
        self._position, self._rest, self._skips = position, b"", True

    def points(self, begin: int, end: int) -> list[Insertion]:
        """The measures between two bytes of the file, thinned evenly over all of it."""
        return [point for point in self._points if begin <= point[0] and point[0] + len(point[1]) <= end]

    def place(self, remarks: Iterable[Remark], size: int) -> list[Insertion]:
        """Where each belongs in a log of that size, in order."""
        placed = [(self._place(remark, size), remark.at, remark.line()) for remark in remarks]
        return [(offset, line) for offset, _, line in sorted(placed, key=lambda one: one[:2])]

    def _skipped(self, data: bytes) -> bytes:
        end = data.find(b"\n") + 1
        self._skips = not end
        end = end or len(data)
        self._position += end
        return data[end:]

    def _find(self, lines: bytes) -> None:
        for begin in _beginnings(lines, _INFO):
            end = lines.index(b"\n", begin) + 1
            if end - begin <= MAX_POINT_BYTES:
                self._add_point(self._position + begin, lines[begin:end])
        for begin in _beginnings(lines, _SERVER):
            if found := _ATTEMPT.match(lines, begin):
                self._attempts.append((self._position + begin, int(found[1])))

    def _add_point(self, offset: int, line: bytes) -> None:
        if self._seen % self._step == 0:
            self._points.append((offset, line))
        self._seen += 1
        if len(self._points) > MAX_POINTS:
            self._points = self._points[::2]
            self._step *= 2

    def _place(self, remark: Remark, size: int) -> int:
        begin, end = self._range(remark.attempt, size)
        if not remark.begun:
            return begin
        stamp = remark.stamp.encode()
        later = (offset for offset, line in self._points if begin < offset < end and line[len(_INFO) :][: len(stamp)] > stamp)
        return next(later, end)

    def _range(self, attempt: int, size: int) -> tuple[int, int]:
        """Where the attempt begins, or the next one after it, and where that ends."""
        if not self._attempts:
            return 0, size
        attempts = [*self._attempts, (size, 0)]
        return next(
            ((begin, end) for (begin, number), (end, _) in pairwise(attempts) if number >= attempt),
            (size, size),
        )


def merged(pieces: Sequence[Insertion], insertions: Sequence[Insertion]) -> bytes:
    """Pieces of a file, each with where it begins, with lines inserted; what belongs between two pieces is put there."""
    parts: list[bytes] = []
    left = list(reversed(insertions))
    for begin, data in pieces:
        cut = 0
        while left and left[-1][0] < begin + len(data):
            offset, line = left.pop()
            at = max(cut, offset - begin)
            parts += [data[cut:at], line]
            cut = at
        parts.append(data[cut:])
    if left and any(parts) and not next(part for part in reversed(parts) if part).endswith(b"\n"):
        parts.append(b"\n")
    return b"".join([*parts, *(line for _, line in reversed(left))])


def _beginnings(lines: bytes, prefix: bytes) -> Iterable[int]:
    """Where lines begin with the prefix."""
    at = lines.find(prefix)
    while at >= 0:
        if at == 0 or lines[at - 1] == 10:
            yield at
        at = lines.find(prefix, at + 1)
