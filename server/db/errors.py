"""What can be wrong with the database, in words that help an administrator."""

import sqlite3
from pathlib import Path

from peewee import DatabaseError

from programs.database.sqlite import is_damaged, is_lost, why_unusable
from server.db.dialects.sqlite import BUSY_TIMEOUT_S
from server.db.models import Job
from server.errors import CumulusError

DATABASE_ERRORS = (DatabaseError, sqlite3.DatabaseError)  # of Peewee, and of what is read beside it
AFTER_A_LOSS = (
    "restart the controller (`cumulus stop`, `cumulus serve`): it continues with the right file, or makes the database anew from"
    " the job folders; of a wrong file it says so, and `cumulus db rebuild` sets that aside"
)


class DatabaseDamaged(CumulusError):
    """The file is no database, or not a sound one."""

    code = "database_damaged"


class DatabaseLost(CumulusError):
    """The file was removed, replaced or overwritten while a controller had it open."""

    code = "database_lost"


class DatabaseUnusable(CumulusError):
    """The database cannot be opened, read or written: rights, a full disk, another program that keeps it locked."""

    code = "database_unusable"


def unusable(problem: Exception, path: Path | None = None) -> DatabaseDamaged | DatabaseLost | DatabaseUnusable:
    """The database's own error (default: of the database that is open) as an error for a person."""
    if is_lost(problem):
        return DatabaseLost(f"the database is damaged or lost: {problem}; {AFTER_A_LOSS}")
    path = path or Path(Job._meta.database.database)
    if is_damaged(problem):
        text = f"the database {path} is damaged, or another program's ({problem})"
        return DatabaseDamaged(f"{text}: `cumulus db rebuild` makes it anew from the job folders")
    return DatabaseUnusable(why_unusable(path, problem, BUSY_TIMEOUT_S))
