"""The bytes of an upload: taken as they come, kept where the sender breaks off, and counted once they are on the disk."""

import hashlib
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from server.db.models import Upload
from server.services.uploads.errors import BrokenOff, ChunkMismatch, UploadGone, UploadLocked
from server.states import UploadState
from server.storage.inputs.partials import Flushing, Partial, Partials

PIECE_BYTES = 1 << 20
SYNC_BYTES = 16 << 20  # as often a long part is brought to the disk and counted, while more of it comes
KEPT_DIGESTS = 256  # of uploads whose parts come one by one
QUIET_S = 2.0  # a sender that says nothing for so long gives way to the next: its line may be dead
TAKE_OVER_S = 5.0


class Body(Protocol):
    """What a request brings. ``left``: bytes that are still to come."""

    left: int

    def readinto(self, buffer: memoryview) -> int:
        """Put what comes into the buffer; bytes, 0 at the end or where the rest does not come."""

    def quiet_s(self) -> float:
        """For how long nothing has come."""

    def interrupt(self) -> None:
        """Let nothing more come; from another thread."""


class _Crc32:
    """As hashlib's digests."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: Any) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


ALGORITHMS: dict[str, Callable[[], Any]] = {
    "sha256": hashlib.sha256,
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "crc32": _Crc32,
}


@dataclass(frozen=True)
class Checksum:
    """What a part has to have: the name of an algorithm, the digest."""

    algorithm: str
    digest: bytes


@dataclass
class _Writer:
    """A request that writes to an upload."""

    body: Body
    ended: threading.Event = field(default_factory=threading.Event)


class Receiving:
    """All that comes in one controller. ``keep_s``: for how long an upload can be continued; ``clock``: Unix seconds."""

    def __init__(self, partials: Partials, keep_s: float, clock: Callable[[], float]) -> None:
        self._partials = partials
        self._keep_s = keep_s
        self._clock = clock
        self._lock = threading.Lock()
        self._writers: dict[str, _Writer] = {}
        self._digests: OrderedDict[str, tuple[int, Any]] = OrderedDict()

    @contextmanager
    def alone(self, upload_id: str, body: Body) -> Iterator[None]:
        """Nobody else writes to the upload within the block. Raises UploadLocked.

        A sender from whom nothing comes gives way: its connection may be dead though nobody has said so.
        """
        self.end_quiet(upload_id)
        writer = _Writer(body)
        with self._lock:
            if upload_id in self._writers:
                raise UploadLocked("another request writes to this upload")
            self._writers[upload_id] = writer
        try:
            yield
        finally:
            with self._lock:
                del self._writers[upload_id]
            writer.ended.set()

    def end_quiet(self, upload_id: str) -> None:
        """End the turn of a sender from whom nothing comes, and wait until what it has sent is kept."""
        writer = self._writers.get(upload_id)
        if writer is not None and writer.body.quiet_s() > QUIET_S:
            writer.body.interrupt()
            writer.ended.wait(TAKE_OVER_S)

    def is_written(self, upload_id: str) -> bool:
        """Whether a request writes to it now."""
        return upload_id in self._writers

    def receive(self, row: Upload, body: Body, checksum: Checksum | None) -> None:
        """Add what comes to the upload, within :meth:`alone`; ``row.received`` is what is on the disk then.

        Raises BrokenOff, ChunkMismatch, UploadGone, OSError.
        """
        with self._partials.continued(row.id, row.received) as partial:
            if checksum is None:
                try:
                    self._take(row, body, partial)
                finally:
                    self._count(row, partial)
            else:
                self._take_checked(row, body, partial, checksum)
        if body.left:
            raise BrokenOff(f"{body.left} bytes fewer came than were announced", offset=row.received)

    def digest(self, row: Upload) -> str:
        """The SHA-256 of an upload that is whole: as it came, or read again. Raises OSError."""
        known = self._digests.pop(row.id, None)
        if known is not None and known[0] == row.length:
            return str(known[1].hexdigest())
        return self._partials.sha256(row.id)

    def forget(self, upload_id: str) -> None:
        """The upload has ended."""
        self._digests.pop(upload_id, None)

    def _take_checked(self, row: Upload, body: Body, partial: Partial, checksum: Checksum) -> None:
        """All of the part, or nothing of it. Raises ChunkMismatch."""
        begin, part = row.received, ALGORITHMS[checksum.algorithm]()
        self._take(row, body, partial, part)
        if not body.left and part.digest() == checksum.digest:
            return self._count(row, partial)
        partial.cut(begin)
        self.forget(row.id)
        row.received = begin
        if not body.left:
            text = f"what came is not what its {checksum.algorithm} says"
            raise ChunkMismatch(text, field="Upload-Checksum", offset=begin)

    def _take(self, row: Upload, body: Body, partial: Partial, part: Any = None) -> None:
        """Write what comes. ``part``: gets it, too; then nothing counts until all has come."""
        total = self._digest_at(row)
        buffer = memoryview(bytearray(min(PIECE_BYTES, body.left)))
        at, counted = 0, row.received
        with Flushing(partial) as flushing:
            while count := body.readinto(buffer[at:]):
                at += count
                if at < len(buffer) and body.left:
                    continue
                self._put(row, buffer[:at], partial, total, part)
                at = 0
                if part is None and row.received - counted >= SYNC_BYTES and flushing.is_idle():
                    counted = row.received
                    if flushed := flushing.next(counted):
                        self._record(row.id, flushed)
        self._put(row, buffer[:at], partial, total, part)

    def _put(self, row: Upload, data: memoryview, partial: Partial, total: Any, part: Any) -> None:
        partial.write(data)
        row.received += len(data)
        for digest in (total, part):
            if digest is not None:
                digest.update(data)
        if total is not None:
            self._keep_digest(row, total)

    def _count(self, row: Upload, partial: Partial) -> None:
        """Let what has come count, once it is on the disk. Raises UploadGone where the upload has ended meanwhile."""
        partial.sync()
        self._record(row.id, row.received)

    def _record(self, upload_id: str, received: int) -> None:
        changed = Upload.update(received=received, expires=self._clock() + self._keep_s).where(
            Upload.id == upload_id, Upload.state == UploadState.RECEIVING
        )
        if not changed.execute():
            raise UploadGone("the upload has ended meanwhile")

    def _digest_at(self, row: Upload) -> Any:
        """The digest of all that is there, to be continued; None where that is not known: then it is read at the end."""
        known = self._digests.pop(row.id, None)
        if known is not None and known[0] == row.received:
            return known[1]
        return None if row.received else hashlib.sha256()

    def _keep_digest(self, row: Upload, total: Any) -> None:
        with self._lock:
            self._digests[row.id] = (row.received, total)
            while len(self._digests) > KEPT_DIGESTS:
                self._digests.popitem(last=False)
