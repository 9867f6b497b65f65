r"""What rsync prints, read: how many bytes have passed, and what became of each file.

The format is ours (``--out-format``, ``FORMAT`` below): rsync writes bytes that are not printable as ``\#ooo``, so
that a name, whatever is in it, is one line.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

FORMAT = "%i:%C:%l:%n"  # changes, checksum, bytes, name
_ITEM = re.compile(rb"([<>ch.*][fdLDS][^:]{9}):([0-9a-f ]*):([0-9]+):(.+)", re.DOTALL)
_PROGRESS = re.compile(rb" *([0-9]+) +[0-9]+%")
_ESCAPED = re.compile(rb"\\#([0-3][0-7]{2})")
MAX_LINE = 64 * 1024


@dataclass(frozen=True)
class Item:
    """A file or folder that rsync has dealt with. ``checksum``: of the whole file, "" where rsync did not read it."""

    changes: str
    path: str
    size: int
    checksum: str

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.changes[1] == "f"

    @property
    def is_same(self) -> bool:
        """Whether the target had this content already (its time may have been wrong)."""
        return self.changes[0] == "."

    @property
    def has_source_time(self) -> bool:
        """Whether the target's time is the source's, or becomes it."""
        return not (self.is_same and self.changes[4] in "tT")


@dataclass(frozen=True)
class Progress:
    """Bytes of all files that have passed so far, those that the target had among them."""

    bytes: int


@dataclass
class Reader:
    """Puts the output together from the pieces that a pipe gives."""

    _rest: bytes = field(default=b"", init=False)

    def feed(self, piece: bytes) -> Iterator[Item | Progress]:
        """What the piece completes. Lines of another form are left out."""
        *lines, self._rest = re.split(rb"[\r\n]", self._rest + piece)
        if len(self._rest) > MAX_LINE:
            self._rest = b""
        for line in lines:
            if found := _ITEM.fullmatch(line):
                path = unescape(found[4]).decode(errors="surrogateescape").rstrip("/")
                yield Item(found[1].decode(), path, int(found[3]), found[2].decode().strip())
            elif found := _PROGRESS.match(line):
                yield Progress(int(found[1]))


def unescape(name: bytes) -> bytes:
    """A name as it is, from rsync's way to print it."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), name)
