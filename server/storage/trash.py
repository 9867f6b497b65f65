"""The trash: what was removed and can still be restored, in ``.cumulus.trash`` of the storage.

Each entry is a folder with a record (``entry.json``) and ``content/``, into which removed files are renamed: one step, on the
same file system, nothing is copied. Only the controller's user may read it, and no worker sees it. Owns the format; who
keeps it for how long is :mod:`server.engine.duties.retention`.
"""

import errno
import os
import stat
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from server.storage.data import Freeing, remove
from server.storage.inputs.placing import publish
from server.storage.paths import PRIVATE_PREFIX
from server.storage.regular import read_regular

FOLDER = f"{PRIVATE_PREFIX}trash"
RECORD, CONTENT = "entry.json", "content"
MAX_RECORD_BYTES = 64 * 1024


class TrashRecord(BaseModel):
    """What an entry's record says. ``job``: an archived job's content; ``deleted``: all of a job that its owner has deleted.

    ``name``: of the job's folder, or in the shared data; ``at``: Unix seconds by the clock of then.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[1] = 1
    kind: Literal["job", "deleted", "data"]
    name: str
    job_id: int | None = None
    owner: str = ""
    at: float
    reason: str
    bytes: int = 0

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        """A record may be forged, and its name says where files are restored: never out of the folder that they were in."""
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise ValueError("it is no file's name")
        return name


@dataclass(frozen=True)
class Entry:
    """One entry: its name, and its record; None where that is unreadable."""

    path: Path
    record: TrashRecord | None

    @property
    def name(self) -> str:
        """What it is called in the trash."""
        return self.path.name

    @property
    def content(self) -> Path:
        """The folder with what was removed, under the names that it had."""
        return self.path / CONTENT


class Trash:
    """The trash of one storage. Safe to be used from several threads and processes.

    Where ``data/`` or ``jobs/`` is a file system of its own, what is removed from there is kept in a hidden trash in it.
    """

    def __init__(self, root: Path) -> None:
        self._places = tuple(place / FOLDER for place in (root, root / "jobs", root / "data"))

    def put(self, paths: Sequence[Path], record: TrashRecord) -> Entry | None:
        """Take files and folders out of the storage into one entry; None where none of them is there any more. Raises OSError.

        What was moved before an error is in the entry.
        """
        _, jobs, data = self._places
        try:
            return _put(paths, record, self._places[0])
        except OSError as problem:
            if problem.errno != errno.EXDEV:
                raise
            return _put(paths, record, data if record.kind == "data" else jobs)

    def add(self, entry: Entry, path: Path) -> None:
        """Keep a file that stays where it is in the entry, too, as it is now. Raises OSError."""
        os.link(path, entry.content / path.name, follow_symlinks=False)

    def entries(self) -> list[Entry]:
        """All entries. Raises OSError where the trash cannot be listed."""
        return [entry for place in self._places for entry in _entries(place)]

    def give_back(self, entry: Entry, folder: Path, replacing: Collection[str] = ()) -> list[str]:
        """Put an entry's content into a folder, and remove the entry; names that are taken there stay in it, and are returned.

        ``replacing``: names of files there that may be replaced. Raises OSError.
        """
        taken = []
        for one in sorted(entry.content.iterdir()):
            if one.name in replacing and not (folder / one.name).is_dir():
                one.replace(folder / one.name)
            elif not publish(one, folder / one.name):
                taken.append(one.name)
        if not taken:
            self.remove(entry)
        return taken

    def remove(self, entry: Entry) -> None:
        """Remove an entry for good. Raises OSError."""
        with suppress(FileNotFoundError):
            remove(entry.path)

    def size(self, entry: Entry) -> int:
        """The bytes that its removal gives back now."""
        return Freeing().by(entry.path)


def _put(paths: Sequence[Path], record: TrashRecord, place: Path) -> Entry | None:
    entry, moved = _begin(record, place), 0
    try:
        for path in paths:
            with suppress(FileNotFoundError):
                path.rename(entry.content / path.name)
                moved += 1
    finally:
        if not moved:
            remove(entry.path)
    return entry if moved else None


def _begin(record: TrashRecord, place: Path) -> Entry:
    """An entry without content; one that was interrupted here is removed with the others of its age."""
    place.mkdir(mode=0o700, exist_ok=True)
    _require_folder(place)
    path = place / "-".join(filter(None, (record.kind, str(record.job_id or ""), uuid4().hex[:12])))
    path.mkdir(mode=0o700)
    (path / RECORD).write_text(record.model_dump_json(indent=1) + "\n")
    (path / CONTENT).mkdir(mode=0o700)
    return Entry(path, record)


def _entries(place: Path) -> list[Entry]:
    try:
        _require_folder(place)
    except FileNotFoundError:
        return []
    found = [Path(one.path) for one in os.scandir(place) if one.is_dir(follow_symlinks=False)]
    return [Entry(path, _read(path)) for path in sorted(found)]


def _require_folder(place: Path) -> None:
    """Raises OSError where the trash is no folder: a link would lead anywhere."""
    if not stat.S_ISDIR(place.lstat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "the trash is no folder", str(place))


def _read(path: Path) -> TrashRecord | None:
    try:
        return TrashRecord.model_validate_json(read_regular(path / RECORD, MAX_RECORD_BYTES))
    except (OSError, ValidationError):
        return None
