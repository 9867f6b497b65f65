"""A database's file as it is on the disk, inspected before anybody opens it as the installation's. Changes nothing."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from programs.database.sqlite import connect, reading_mode
from server.db.errors import unusable


@contextmanager
def inspected(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads. Within the block, too, its errors are DatabaseDamaged, DatabaseLost, DatabaseUnusable."""
    try:
        with closing(connect(path, *reading_mode(path))) as connection:
            yield connection
    except sqlite3.DatabaseError as problem:
        raise unusable(problem, path) from None


def table_names(connection: sqlite3.Connection) -> set[str]:
    """The names of all tables."""
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def last_number_in(connection: sqlite3.Connection, table: str) -> int | None:
    """The highest number that a row of the table ever got; None where it never had one."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(row[0]) if row else None
