"""The former server's database: one table ``jobs``, opened so that nothing in it or beside it changes.

Owns what its columns mean and who must not use it meanwhile. Rows are read one after the other: their forms are long.
"""

import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil

from programs.errors import explained
from server.errors import CumulusError
from server.storage.regular import is_regular
from server.workers.machine_locks import FLOCK

NEEDED = ("id", "owner", "app_name", "strategy", "description", "settings", "status", "creation_date", "job_dir")
# Some came with later versions of 2.x, which added them to older databases at their start; two were given up.
OTHERS = ("start_date", "end_date", "start_after_id", "workflow_name", "stdout", "stderr")
UNFINISHED = ("PENDING", "PREPARING", "RUNNING", "PAUSED")
ENDED = ("DONE", "FAILED", "CANCELLED")
ARCHIVED = "ARCHIVED_"
LATEST = 7_258_118_400  # Unix seconds, the year 2200: what is later is no time
LARGEST_NUMBER = 10**15 - 1
PROGRAM = "cumulus.py"
# SQLite's file format, "Locking": a process that reads or writes holds a lock among these 512 bytes.
_LOCK_BYTES = (0x40000000, 512)
_CREATED = re.compile(r"_([0-9]{1,10})\Z")


class FormerUnusable(CumulusError):
    """The former server's database is no such thing, is damaged, or somebody uses it."""

    code = "former_unusable"


@dataclass(frozen=True)
class FormerJob:
    """A row, with what no job may have made harmless. Times are Unix seconds, ``folder``: the last name of its path.

    ``settings``: the form as text, whatever it is; ``stdout``, ``stderr``: what the first versions kept of the log in the row.
    """

    id: int
    owner: str
    app: str
    flavor: str
    description: str
    settings: str
    status: str
    created: float
    started: float | None
    ended: float | None
    folder: str
    start_after: int | None
    workflow: str
    stdout: str
    stderr: str


@dataclass(frozen=True)
class FormerDatabase:
    """A database that was looked at and is sound. ``last``: the highest number that it ever gave to a job."""

    path: Path
    stamp: tuple[int, int]
    columns: frozenset[str]
    number: int
    last: int

    def jobs(self) -> Iterator[FormerJob]:
        """The rows by their number. Raises FormerUnusable."""
        names = ", ".join(name if name in self.columns else "NULL" for name in (*NEEDED, *OTHERS))
        with _opened(self.path) as connection:
            for row in connection.execute(f"SELECT {names} FROM jobs ORDER BY id"):  # noqa: S608  # names of this module
                yield _job(dict(zip((*NEEDED, *OTHERS), row, strict=True)))

    def numbers(self) -> set[int]:
        """The numbers of all rows. Raises FormerUnusable."""
        with _opened(self.path) as connection:
            return {number for (number,) in connection.execute("SELECT id FROM jobs")}

    def require_unchanged(self) -> None:
        """Raises FormerUnusable where somebody has written since it was looked at."""
        if _stamp(self.path) != self.stamp:
            raise FormerUnusable(
                f"{self.path} was changed while it was read: the former server is running. Stop it, and begin again"
            )


def inspected(path: Path) -> FormerDatabase:
    """The database, once nobody uses it and it is sound. Raises FormerUnusable."""
    _require_a_file(path)
    _require_unused(path)
    with _opened(path) as connection:
        if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise FormerUnusable(
                f"{path} is damaged ({found}): take a backup of it, or `sqlite3 {path.name} .recover` into a new file"
            )
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if {"job", "migration"} <= tables:
            raise FormerUnusable(
                f"{path} is the database of a Cumulus of this kind, not of the former server: `cumulus db` is for it"
            )
        columns = frozenset(row[1] for row in connection.execute("PRAGMA table_info(jobs)"))
        if missing := [name for name in NEEDED if name not in columns]:
            raise FormerUnusable(
                f"{path} is not a database of the former Cumulus server: its table jobs lacks {', '.join(missing)}"
            )
        number, last = connection.execute("SELECT count(*), coalesce(max(id), 0) FROM jobs").fetchone()
        if "sqlite_sequence" in tables:
            given = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'").fetchone()
            last = max(last, given[0] if given and isinstance(given[0], int) else 0)
        return FormerDatabase(path, _stamp(path), columns, number, min(last, LARGEST_NUMBER))


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Without locks, journals and writes. Raises FormerUnusable for what SQLite says."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1", uri=True)) as connection:
            connection.text_factory = lambda content: content.decode(errors="replace")
            yield connection
    except sqlite3.Error as problem:
        raise FormerUnusable(f"{path} cannot be read as the former server's database: {problem}") from None


def _require_a_file(path: Path) -> None:
    try:
        if not is_regular(path):
            raise FormerUnusable(f"there is no database {path}")
        with path.open("rb"):
            pass
    except OSError as problem:
        raise FormerUnusable(f"{path} cannot be read as a database: {explained(problem)}") from None


def _require_unused(path: Path) -> None:
    stop = "Stop the former server (`sudo systemctl stop Cumulus`, or its own name), and begin again"
    if pid := _user_of(path) or _server_in(path.absolute().parent):
        raise FormerUnusable(f"process {pid} uses {path}. {stop}")
    for suffix in ("-journal", "-wal"):
        beside = path.with_name(path.name + suffix)
        with suppress(FileNotFoundError):
            if beside.lstat().st_size:
                raise FormerUnusable(
                    f"{beside.name} lies beside {path}: the former server runs, or was killed while it wrote. "
                    f"Start it once more, so that it puts that in order. {stop}"
                )


def _user_of(path: Path) -> int:
    """The process that holds one of SQLite's locks, 0: none. Locks nothing."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        answer = fcntl.fcntl(handle, fcntl.F_GETLK, FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, *_LOCK_BYTES, 0))
    except OSError:  # a file system without locks
        return 0
    finally:
        os.close(handle)
    kind, _, _, _, pid = FLOCK.unpack(answer)
    return 0 if kind == fcntl.F_UNLCK else max(int(pid), 1)


def _server_in(folder: Path) -> int:
    """The process of the former server that runs in the folder, as its unit has it; 0: none is seen. It keeps no lock."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            words = process.cmdline()
            if any(Path(word).name == PROGRAM for word in words[:4]) and Path(process.cwd()) == folder.resolve():
                return int(process.pid)
    return 0


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as problem:
        raise FormerUnusable(f"{path} cannot be read as a database: {explained(problem)}") from None
    return found.st_size, found.st_mtime_ns


def _job(row: dict[str, object]) -> FormerJob:
    folder = _text(row["job_dir"]).rstrip("/").rsplit("/", 1)[-1]
    return FormerJob(
        id=row["id"] if isinstance(row["id"], int) else 0,
        owner=_text(row["owner"]),
        app=_text(row["app_name"]),
        flavor=_text(row["strategy"]),
        description=_text(row["description"]).replace("\0", ""),
        settings=_text(row["settings"]),
        status=_text(row["status"]).strip().upper(),
        created=_time(row["creation_date"]) or _in_the_name(folder),
        started=_time(row["start_date"]),
        ended=_time(row["end_date"]),
        folder=folder,
        start_after=_number(row["start_after_id"]),
        workflow=_text(row["workflow_name"]),
        stdout=_text(row["stdout"]),
        stderr=_text(row["stderr"]),
    )


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return "" if value is None else str(value)


def _time(value: object) -> float | None:
    """SQLite keeps whatever it is given, whatever the column's type is."""
    try:
        at = float(str(value))
    except ValueError:
        return None
    return at if 0 < at < LATEST else None


def _in_the_name(folder: str) -> float:
    found = _CREATED.search(folder)
    return float(found[1]) if found else 0.0


def _number(value: object) -> int | None:
    text = _text(value).strip()
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,14}", text) else None
