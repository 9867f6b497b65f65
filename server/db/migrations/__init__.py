"""The schema's history on SQLite: numbered steps, each in one transaction with its own record.

A step that has been released never changes; the next change is a new step at the end of ``STEPS``.
"""

from peewee import SqliteDatabase

from server.db.dialects.sqlite import require_version
from server.db.migrations import (
    m0001_first,
    m0002_search,
    m0003_followers,
    m0004_conversions,
    m0005_scheduling,
    m0006_hold,
    m0007_waiting,
    m0008_warnings,
    m0009_deleted,
    m0010_looks,
    m0011_accounts,
    m0012_uploads,
    m0013_batches,
    m0014_submission_keys,
)
from server.db.transactions import exclusive
from server.errors import CumulusError

STEPS = (
    m0001_first.STATEMENTS,
    m0002_search.STATEMENTS,
    m0003_followers.STATEMENTS,
    m0004_conversions.STATEMENTS,
    m0005_scheduling.STATEMENTS,
    m0006_hold.STATEMENTS,
    m0007_waiting.STATEMENTS,
    m0008_warnings.STATEMENTS,
    m0009_deleted.STATEMENTS,
    m0010_looks.STATEMENTS,
    m0011_accounts.STATEMENTS,
    m0012_uploads.STATEMENTS,
    m0013_batches.STATEMENTS,
    m0014_submission_keys.STATEMENTS,
)


class DatabaseTooNew(CumulusError):
    """The database was written by a later version of Cumulus."""

    code = "database_too_new"


def upgrade(database: SqliteDatabase) -> int:
    """Run the steps that the database has not seen; returns its version. Raises DatabaseTooNew, SqliteTooOld."""
    require_version()
    with exclusive(database):
        database.execute_sql("CREATE TABLE IF NOT EXISTS migration (number INTEGER PRIMARY KEY, at REAL NOT NULL)")
    seen = version(database)
    if seen > len(STEPS):
        raise too_new(seen)
    for number in range(seen + 1, len(STEPS) + 1):
        _run(database, number)
    return len(STEPS)


def too_new(seen: int) -> DatabaseTooNew:
    """What to do about a database of a later version."""
    return DatabaseTooNew(f"the database has schema {seen}, this version of Cumulus knows {len(STEPS)}: upgrade Cumulus")


def version(database: SqliteDatabase) -> int:
    """How many steps the database has seen."""
    return int(database.execute_sql("SELECT coalesce(max(number), 0) FROM migration").fetchone()[0])


def _run(database: SqliteDatabase, number: int) -> None:
    with exclusive(database):
        if version(database) >= number:  # another process was first
            return
        for statement in STEPS[number - 1]:
            database.execute_sql(statement)
        database.execute_sql("INSERT INTO migration VALUES (?, CAST(strftime('%s', 'now') AS REAL))", (number,))
