"""Whether the log (``-wal``) that a killed controller left beside its database is that file's own; any other is set aside.

SQLite takes any whole log for the database's own: where a backup is put in the place of a database whose log was left, it
writes the log's pages over the backup's, and both are lost. So each start gives the main file a new number (SQLite's
``application_id``, which is in its header) and notes it in ``<database>-mark``; a backup has an earlier one, or none.
"""

import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from secrets import randbelow

import structlog

from programs.database.file import HEADER_BYTES, MAGIC, mark_in, mark_of
from programs.database.sqlite import connect
from programs.regular import open_regular, read_regular
from server.db.dialects.sqlite import empty_log, file_mark, set_file_mark
from server.db.dialects.sqlite_database import Database
from server.db.errors import DatabaseDamaged, unusable
from server.home.files import InTheWay, write_own

MAX_BYTES = 200
LARGEST_MARK = 0x7FFFFFFE
log = structlog.get_logger()


def begin_log(database: Database, path: Path) -> None:
    """Give the main file a new number, with an empty log, before it is guarded. Killed in the midst of it, both numbers hold."""
    former = mark_of(file_mark(database))
    mark = 1 + randbelow(LARGEST_MARK)
    if not _note(path, former, mark):
        return
    set_file_mark(database, mark)
    if empty_log(database):
        _note(path, mark)


def has_foreign_log(path: Path) -> bool:
    """Whether there is a log beside the database that was another file's; False where nothing shows whose it is."""
    known = _known(path)
    return bool(known) and _has_log(path) and mark_in(_header(path)) not in known


def require_own_log(path: Path) -> None:
    """For commands, which change nothing here. Raises DatabaseDamaged where the log is another file's."""
    if has_foreign_log(path):
        raise DatabaseDamaged(
            f"the database {path} is damaged: the log beside it ({_beside(path, '-wal').name}) is of the database that was in"
            " its place before: `cumulus serve` sets it aside, `cumulus db rebuild` makes the database anew from the job folders"
        )


def require_sound(path: Path, now: float = 0.0) -> None:
    """Set a log aside that is another file's; where one of its own was left, read all of the database with it.

    For who holds the home. ``now``: Unix seconds. Raises DatabaseDamaged, DatabaseUnusable.
    """
    if has_foreign_log(path):
        return _set_log_aside(path, now or time.time())
    if not _has_log(path):
        return
    try:
        with closing(connect(path, "ro")) as found:
            said = str(found.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as problem:
        raise unusable(problem, path) from None
    if said != "ok":
        raise unusable(sqlite3.DatabaseError(f"malformed: {' '.join(said.split())}"), path)


def _set_log_aside(path: Path, now: float) -> None:
    file = _beside(path, "-wal")
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    aside = file.with_name(f"{path.name}.before-{stamp}-wal")
    file.rename(aside)
    _beside(path, "-shm").unlink(missing_ok=True)
    log.warning("the database's log was another database's, which was in its place before: set aside", file=str(aside))


def _note(path: Path, *marks: int) -> bool:
    """Write down, so that it outlives a power cut, which numbers the main file may have; whether that could be done."""
    file = _beside(path, "-mark")
    try:
        write_own(file, "".join(f"{mark}\n" for mark in marks))
        for one in (file, file.parent):
            number = os.open(one, os.O_RDONLY)
            try:
                os.fsync(number)
            finally:
                os.close(number)
    except (OSError, InTheWay) as problem:
        log.warning("after a crash nothing will show whether the database's log is its own", file=str(file), detail=str(problem))
        return False
    return True


def _known(path: Path) -> frozenset[int]:
    with suppress(OSError, ValueError):
        return frozenset(map(int, read_regular(_beside(path, "-mark"), MAX_BYTES).split()))
    return frozenset()


def _header(path: Path) -> bytes:
    """The first bytes of the main file; b"" where there is none of SQLite's, which others say."""
    with suppress(OSError), open_regular(path, follow=True) as file:
        header = file.read(HEADER_BYTES)
        return header if len(header) == HEADER_BYTES and header.startswith(MAGIC) else b""
    return b""


def _has_log(path: Path) -> bool:
    """Whether there is a main file, and beside it a log that holds something."""
    with suppress(OSError):
        return bool(_header(path)) and _beside(path, "-wal").stat().st_size > 0
    return False


def _beside(path: Path, suffix: str) -> Path:
    """SQLite has these files beside the database that a link leads to."""
    real = path.resolve()
    return real.with_name(f"{real.name}{suffix}")
