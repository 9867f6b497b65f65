"""What has come of each upload so far: ``<storage>/.cumulus.uploads/ID``, on the file system that its file belongs to.

Only what was synced counts: whoever keeps the offset says how much that is, and what lies behind it is cut off before more is
written. So neither a kill nor a power cut makes bytes count that are not there.
"""

import errno
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from server.home.files import InTheWay, own_folder
from server.storage.inputs.checksums import content_sha256
from server.storage.paths import PRIVATE_PREFIX
from server.storage.regular import is_regular

FOLDER = f"{PRIVATE_PREFIX}uploads"
_FLAGS = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
MODE = 0o600


class PartialLost(OSError):
    """Less of an upload is there than was received."""


class Partial:
    """The file of one upload, open to be continued."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def write(self, data: memoryview) -> None:
        """Add to its end. Raises OSError."""
        while data:
            data = data[os.write(self._handle, data) :]

    def sync(self) -> None:
        """Return once all of it is on the disk. Raises OSError."""
        os.fdatasync(self._handle)

    def cut(self, size: int) -> None:
        """Keep so many bytes only. Raises OSError."""
        os.ftruncate(self._handle, size)
        os.lseek(self._handle, size, os.SEEK_SET)


class Flushing:
    """Brings what is written to the disk in a thread beside, while more comes; within a block."""

    def __init__(self, partial: Partial) -> None:
        self._partial = partial
        self._pool: ThreadPoolExecutor | None = None
        self._work: Future[None] | None = None
        self._size = 0

    def __enter__(self) -> "Flushing":
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def is_idle(self) -> bool:
        """Whether the next may begin."""
        return self._work is None or self._work.done()

    def next(self, size: int) -> int:
        """Begin with the first ``size`` bytes, all of them written; how many the last one has brought there, 0 for none.

        Raises OSError where that failed.
        """
        flushed = self._size
        if self._work is not None:
            self._work.result()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="flush")
        self._work, self._size = self._pool.submit(self._partial.sync), size
        return flushed


class Partials:
    """Those of one storage; an id is a name that the service has made."""

    def __init__(self, root: Path) -> None:
        self.folder = root / FOLDER

    def path(self, upload_id: str) -> Path:
        """Where an upload's file is."""
        return self.folder / upload_id

    @contextmanager
    def continued(self, upload_id: str, size: int) -> Iterator[Partial]:
        """The file with its first ``size`` bytes, open. Raises PartialLost where they are not there, OSError."""
        handle = self._opened(upload_id, size)
        try:
            if os.fstat(handle).st_size < size:
                raise PartialLost(errno.ENODATA, "less of the upload is there than was received", upload_id)
            partial = Partial(handle)
            partial.cut(size)
            yield partial
        finally:
            os.close(handle)

    def make_empty(self, upload_id: str) -> None:
        """The file of an upload without content. Raises OSError."""
        with self.continued(upload_id, 0) as partial:
            partial.sync()

    def sha256(self, upload_id: str) -> str:
        """Of the file as it lies there. Raises OSError."""
        return content_sha256(self.path(upload_id))

    def is_there(self, upload_id: str) -> bool:
        """Whether something has come. Raises OSError where it is no file."""
        return is_regular(self.path(upload_id))

    def remove(self, upload_id: str) -> None:
        """Remove the file; not an error where there is none, or the storage is away: upkeep finds it."""
        with suppress(OSError):
            self.path(upload_id).unlink(missing_ok=True)

    def left_before(self, moment: float) -> list[str]:
        """The ids of files that nobody has written to since ``moment`` (Unix seconds)."""
        found = []
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < moment:
                        found.append(entry.name)
        return found

    def _opened(self, upload_id: str, size: int) -> int:
        path = self.path(upload_id)
        if size:
            try:
                is_regular(path)
                return os.open(path, _FLAGS)
            except FileNotFoundError:
                raise PartialLost(errno.ENODATA, "what was received of the upload is gone", upload_id) from None
        self._prepare()
        is_regular(path)
        return os.open(path, _FLAGS | os.O_CREAT, MODE)

    def _prepare(self) -> None:
        try:
            own_folder(self.folder, 0o700)
        except InTheWay as problem:
            raise OSError(errno.EEXIST, problem.message) from None
