"""Whether files are still as they were written, cheaply enough to ask before each use. Owns the question, not what the files are.

Reading some hundred MB would cost more than the start of the machine that they are for. So checksums are compared once, and
what the file system says of the files at that time is written beside them: while it says the same, since the computer's last
start, nobody can have written to them. The time of a file's last change of status is part of it, and no program can set that
one back. What the disk itself forgets is found by :func:`read_again`.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Self

from server.home.files import InTheWay, open_own, read_own, remove_own, write_own
from server.workers.clouds.qemu.accelerator import BOOT_ID
from server.workers.machine_locks import exclusive

CHUNK = 1 << 20
CHECK_LIMIT_S = 120.0
READINGS = 3
ZEROS = bytes(CHUNK)


@dataclass(frozen=True)
class Content:
    """Size of a file (bytes) and SHA-256 of its parts that are not zero: a copy has the same, however sparse it is."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """Read the file; holes cost nothing. Raises OSError."""
        digest = hashlib.sha256()
        with open_own(path) as file:
            size = file.seek(0, os.SEEK_END)
            position = _next_data(file.fileno(), 0, size)
            while position < size:
                file.seek(position)
                part = file.read(CHUNK)
                if part != ZEROS[: len(part)]:
                    digest.update(position.to_bytes(8, "big") + part)
                position = _next_data(file.fileno(), position + CHUNK, size)
        return cls(size, digest.hexdigest())


@dataclass(frozen=True)
class _Looks:
    """What the file system says of a file; times in nanoseconds."""

    device: int
    inode: int
    size: int
    written: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> Self:
        status = path.stat()
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Reader:
    """Reads each file once for as long as the file system says the same of it as before that reading."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[_Looks, Content]] = {}

    def __call__(self, path: Path) -> Content:
        """The file's content. Raises OSError."""
        looks = _Looks.of(path)
        if (known := self._known.get(path)) is None or known[0] != looks:
            self._known[path] = known = looks, Content.of(path)
        return known[1]


def first_changed(files: Mapping[Path, Content], record: Path) -> Path | None:
    """A file that is not as it was written, None if all are. Raises OSError where one is missing.

    They are read where ``record``, a file in the same folder, does not say that they have been since anything changed.
    """
    if _recorded(record) == _seen(files):
        return None
    with exclusive(record.with_suffix(".lock"), record.name, CHECK_LIMIT_S):  # several machines at once wait for one reading
        return None if _recorded(record) == _seen(files) else read_again(files, record)


def read_again(files: Mapping[Path, Content], record: Path, read: Callable[[Path], Content] | None = None) -> Path | None:
    """The same, read whatever was recorded; the record is brought up to date.

    A file whose status changes while it is read (somebody made a hard link to it, or wrote to it) is read once more; one that
    keeps changing counts as changed. ``read``: instead of :meth:`Content.of`, a :class:`Reader` for what several images share.
    """
    read = read or Content.of
    for _ in range(READINGS):
        seen = _seen(files)
        wrong = [path for path, content in files.items() if path.stat().st_size != content.size or read(path) != content]
        if wrong:
            remove_own(record)
            return wrong[0]
        if seen == _seen(files):
            with suppress(InTheWay):  # a full disk: they are only read again next time
                write_own(record, json.dumps(seen), 0o644)
            return None
    remove_own(record)
    return next(iter(files))


def _seen(files: Mapping[Path, Content]) -> dict[str, object]:
    looks = {str(path): list(astuple(_Looks.of(path))) for path in files}
    contents = {str(path): asdict(content) for path, content in files.items()}
    return {"boot": BOOT_ID.read_text().strip(), "looks": looks, "contents": contents}


def _recorded(record: Path) -> object:
    try:
        return json.loads(read_own(record))
    except (OSError, ValueError):
        return None


def _next_data(file: int, position: int, size: int) -> int:
    """The beginning of the next chunk that is not wholly a hole."""
    if position >= size:
        return size
    try:
        return os.lseek(file, position, os.SEEK_DATA) // CHUNK * CHUNK
    except OSError as problem:
        if problem.errno != errno.ENXIO:
            raise
        return size  # nothing but a hole up to the end
