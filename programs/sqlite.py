"""What SQLite says when a database cannot be used, in words that help. Shared by the databases of both programs."""

import errno
from pathlib import Path

from programs.errors import explained

_SYSTEM = {
    "unable to open database file": errno.EACCES,
    "readonly database": errno.EACCES,
    "disk is full": errno.ENOSPC,
    "disk I/O error": errno.EIO,
}
_BROKEN = ("not a database", "malformed")
_FOREIGN = ("already exists", "no such table", "no such column")  # or a fault of ours, where a step of the schema does that


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
    """Whether the file is none of SQLite's, or of somebody else, or broken."""
    return any(words in str(problem) for words in (*_BROKEN, *_FOREIGN))


def is_known(problem: Exception) -> bool:
    """Whether this says something of the file and not of a statement."""
    return any(words in str(problem) for words in (*_BROKEN, *_SYSTEM, "locked"))
