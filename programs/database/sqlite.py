"""What SQLite says when a database cannot be used, in words that help. Shared by the databases of both programs."""

import errno
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from peewee import DatabaseError, OperationalError

from programs.errors import explained

IN_USE = "while it was in use"
_SYSTEM = {
    "unable to open database file": errno.EACCES,
    "readonly database": errno.EACCES,
    "disk is full": errno.ENOSPC,
    "disk I/O error": errno.EIO,
}
_BROKEN = ("not a database", "malformed")
_FOREIGN = ("already exists", "no such table", "no such column")  # or a bug, where a step of the schema does that


class Lost(OperationalError):
    """The file of an open database was removed, replaced or overwritten.

    ``str()`` says how and ends with ``IN_USE``: Peewee makes an error of its own of one that is raised while it connects.
    """


def reading_mode(path: Path) -> tuple[str, str]:
    """How to open a database so that no file stays behind that was not there: mode and further options of SQLite's file names.

    Without a log, SQLite makes one for the moment and removes it with the connection; in a folder that this user cannot write
    to, a database without a log is whole by itself. With a log, the index may be made beside it.
    """
    if _log_of(path).exists():
        return "ro", ""
    try:
        with closing(connect(path, "rw")) as tried:
            tried.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        return "ro", "" if _log_of(path).exists() else "&immutable=1"
    return "rw", ""


def connect(path: Path, mode: str, options: str = "", *, several_threads: bool = False) -> sqlite3.Connection:
    """A connection in one of SQLite's modes: ``ro``, ``rw``, ``rwc``. ``several_threads``: used by one of them at a time."""
    name = f"file:{quote(str(path.absolute()))}?mode={mode}{options}"
    return sqlite3.connect(name, uri=True, isolation_level=None, check_same_thread=not several_threads)


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def why_unusable(path: Path, problem: Exception, busy_s: float) -> str:
    """One line about a database that cannot be used, with what to do. ``busy_s``: how long another writer was waited for."""
    text = str(problem)
    if "locked" in text:
        return f"{path}: another program has kept the database locked for {busy_s:.0f} s: end it, or try again"
    if path.is_dir():
        return f"{path} is a folder, not a database: move it away, or set another database"
    number = next((number for words, number in _SYSTEM.items() if words in text), 0)
    return explained(OSError(number, f"the database cannot be used ({text})", str(path)))


def is_damaged(problem: Exception) -> bool:
    """Whether the file is damaged, or not an SQLite database, or another program's."""
    return any(words in str(problem) for words in (*_BROKEN, *_FOREIGN))


def is_known(problem: Exception) -> bool:
    """Whether the error is about the file and not about a statement."""
    return is_lost(problem) or any(words in str(problem) for words in (*_BROKEN, *_SYSTEM, "locked"))


def is_of_the_file(problem: Exception) -> bool:
    """Whether an error is due to the file, its disk or other writers, and not to a mistake in the program."""
    if isinstance(problem, OperationalError | sqlite3.OperationalError):
        return True
    return isinstance(problem, DatabaseError | sqlite3.DatabaseError) and is_known(problem)


def is_lost(problem: Exception) -> bool:
    """Whether the file is no longer the one that was opened."""
    return str(problem).endswith(IN_USE)
