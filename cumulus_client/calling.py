"""What can carry operations out; over HTTP that is :mod:`cumulus_client.http`."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from cumulus_client.operations import Download, Gives, Operation, Takes


class Caller(Protocol):
    """What can carry operations out."""

    def call(self, operation: Operation[Takes, Gives], request: Takes) -> Gives:
        """Carry an operation out. Raises Refused, Unreachable."""

    def download(
        self, operation: Download[Takes], request: Takes, start: int = 0, tag: str = ""
    ) -> AbstractContextManager["Stream"]:
        """A file from the byte ``start`` on, open while the block runs. Raises Refused, Unreachable.

        ``tag``: of the content that one has the beginning of; where it is another one now, the file comes from its first byte on.
        """


class Stream(Protocol):
    """A file that comes. ``size``: bytes from ``start`` to its end, None where that is not known.

    ``start``: the first byte that comes.
    """

    size: int | None
    start: int

    def parts(self) -> Iterator[bytes]:
        """What comes, in parts. Raises Unreachable where the connection breaks."""


class FileStream:
    """A file of this computer that is read as if it came."""

    PART = 1 << 20

    def __init__(self, file: BinaryIO, size: int | None, start: int = 0) -> None:
        self._file = file
        self.size = size
        self.start = start

    def parts(self) -> Iterator[bytes]:
        """As :meth:`Stream.parts`."""
        while part := self._file.read(self.PART):
            yield part
