"""Result files, each put into its place whole or not at all, and never over another file.

What has come of a file is kept beside its place under a name of its content, so the next try continues it.
"""

import fcntl
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from cumulus_client.calling import Stream
from cumulus_client.jobs import ResultFile
from cumulus_client.results import Results
from server.errors import InvalidInput
from server.progress import MB, Advance

DIGEST_BYTES = 8


def chosen(files: Iterable[ResultFile], included: Iterable[str], excluded: Iterable[str]) -> list[ResultFile]:
    """The files that one of the globs takes, all where none is given, and that no other one leaves out."""
    wanted, unwanted = tuple(included), tuple(excluded)
    return [
        file
        for file in files
        if (not wanted or any(_is_like(file.path, glob) for glob in wanted))
        and not any(_is_like(file.path, glob) for glob in unwanted)
    ]


def _is_like(path: str, glob: str) -> bool:
    return fnmatchcase(path if "/" in glob else path.rsplit("/", 1)[-1], glob)


class FileCopier(ABC):
    """Copies files that a controller gives into the folder ``top``."""

    def __init__(self, top: Path) -> None:
        self._top = top

    @abstractmethod
    def _stream(self, file: ResultFile) -> AbstractContextManager[Stream]:
        """The file from its first byte on, open while a block runs. Raises Refused, Unreachable."""

    @abstractmethod
    def _fetch_into(self, file: ResultFile, target: BinaryIO, heard: Callable[[int], None]) -> None:
        """Fetch what ``target`` lacks of the file. Raises Refused, Unreachable."""

    def copy(self, file: ResultFile, advance: Advance) -> Path:
        """Copy a file; returns where it is. ``advance``: in MB.

        Raises InvalidInput where that would change a file or lead elsewhere, Refused, Unreachable, OSError.
        """
        name = os.fsdecode(file.name)
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise InvalidInput("this is no path below a folder")
        target = self._top / name
        self._top.mkdir(parents=True, exist_ok=True)
        _make_folder(self._top, target.parent)
        if target.is_symlink() or target.exists():
            if target.is_file() and not target.is_symlink() and self._is_same(file, target):
                return target
            raise _taken(target)
        self._fetch(file, target, advance)
        return target

    def _fetch(self, file: ResultFile, target: Path, advance: Advance) -> None:
        beside = target.with_name(f".cumulus-{_digest(file.name)}-{_digest(file.tag.encode())}.part")
        with _opened(beside) as part:
            size = part.seek(0, os.SEEK_END)

            def heard(count: int) -> None:
                nonlocal size
                size += count
                advance(size / MB, file.size / MB)

            self._fetch_into(file, part, heard)
            try:
                _put(beside, target)
            finally:
                beside.unlink(missing_ok=True)
        for former in target.parent.glob(f".cumulus-{_digest(file.name)}-*.part"):  # of what the file was before
            former.unlink(missing_ok=True)

    def _is_same(self, file: ResultFile, target: Path) -> bool:
        if target.stat().st_size != file.size:
            return False
        with target.open("rb") as known, self._stream(file) as stream:
            return all(known.read(len(part)) == part for part in stream.parts()) and not known.read(1)


class Copier(FileCopier):
    """Copies results of one job."""

    def __init__(self, results: Results, job_id: int, top: Path) -> None:
        super().__init__(top)
        self._results = results
        self._job = job_id

    def _stream(self, file: ResultFile) -> AbstractContextManager[Stream]:
        return self._results.file(self._job, file)

    def _fetch_into(self, file: ResultFile, target: BinaryIO, heard: Callable[[int], None]) -> None:
        self._results.fetch(self._job, file, target, heard)


def _digest(text: bytes) -> str:
    return blake2b(text, digest_size=DIGEST_BYTES).hexdigest()


def _opened(beside: Path) -> "closing[BinaryIO]":
    """What has come of a file, to be continued. Raises InvalidInput where another command does that, OSError."""
    handle = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    file = os.fdopen(handle, "r+b")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InvalidInput("another command is copying it into this folder") from None
    except OSError:  # a file system without locks
        pass
    return closing(file)


def _put(beside: Path, target: Path) -> None:
    """Give the file its name. Raises InvalidInput where somebody was quicker, OSError."""
    try:
        os.link(beside, target)  # never over another file
    except FileExistsError:
        raise _taken(target) from None
    except OSError:  # a file system without hard links
        beside.rename(target)


def _taken(target: Path) -> InvalidInput:
    return InvalidInput(f"{target} is there already, with another content")


def _make_folder(top: Path, folder: Path) -> None:
    """A folder below ``top``. Raises InvalidInput where a link leads out of it, OSError."""
    for part in _below(top, folder):
        if part.is_symlink():
            raise InvalidInput(f"{part} is a link; results are not copied through links")
        part.mkdir(exist_ok=True)


def _below(top: Path, folder: Path) -> Iterator[Path]:
    place = top
    for name in folder.relative_to(top).parts:
        place /= name
        yield place
