"""SQLite's own words: pragmas, transactions, numbers of rows, insertion in place of another row.

How its writers take turns is in :mod:`server.db.dialects.sqlite_database`, the file's log in :mod:`server.db.dialects.own_log`.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from peewee import JOIN, SQL, Database, Field, Model, ModelSelect, Table

from server.errors import CumulusError

M = TypeVar("M", bound=Model)
OLDEST = (3, 34, 0)  # the first with substring indexes

EXCLUSIVE = "IMMEDIATE"  # the kind of transaction beside which nobody else writes
AT_ONCE = "IMMEDIATE, AT ONCE"  # the same, refused where somebody writes
BUSY_TIMEOUT_MS = 10_000
BUSY_TIMEOUT_S = BUSY_TIMEOUT_MS / 1000
CACHE_KIB = 1_024  # of each connection, and each thread has its own; more is in the system's cache of files anyway
SHARED_PRAGMAS: dict[str, object] = {"busy_timeout": BUSY_TIMEOUT_MS, "cache_size": -CACHE_KIB}
CONTROLLER_PRAGMAS: dict[str, object] = {
    "journal_mode": "wal",
    "synchronous": "full",  # a submitted job survives a power cut, too
    "foreign_keys": 1,
    **SHARED_PRAGMAS,
}
CHANGING_PRAGMAS: dict[str, object] = {**SHARED_PRAGMAS, "synchronous": "full", "foreign_keys": 1}
READING_PRAGMAS: dict[str, object] = {**SHARED_PRAGMAS, "query_only": 1}


class SqliteTooOld(CumulusError):
    """This computer's SQLite lacks what the schema needs."""

    code = "sqlite_too_old"


def require_version() -> None:
    """Raises SqliteTooOld."""
    if sqlite3.sqlite_version_info < OLDEST:
        raise SqliteTooOld(f"SQLite {sqlite3.sqlite_version} is too old: 3.34 or later is needed")


def commits_of_others(connection: sqlite3.Connection) -> int:
    """Another number after each commit of any other connection."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def added_number(cursor: Any) -> int:
    """The number of the row that a statement has inserted."""
    return int(cursor.lastrowid)


def last_number(database: Database, table: str) -> int:
    """The highest number that a row of the table ever got; 0: none."""
    row = database.execute_sql("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(row[0]) if row else 0


def skip_numbers(database: Database, table: str, number: int) -> None:
    """Give no row of the table a number up to this one. For a transaction of the caller's."""
    raised = database.execute_sql("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (number, table)).rowcount
    if not raised and number:
        database.execute_sql("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, number))


def replace_row(table: type[Model], **fields: object) -> None:
    """Insert a row, in place of the one with the same key."""
    table.insert(**fields).on_conflict_replace().execute()


def add_if_absent(table: type[Model], **fields: object) -> None:
    """Insert a row where none has its key."""
    table.insert(**fields).on_conflict_ignore().execute()


def matching(job: type[M], columns: Sequence[Field], texts: Mapping[str, str]) -> "ModelSelect[M]":
    """The jobs whose columns have these texts, in the order of the index ``job_text``, which gives the newest first by itself.

    The index is an FTS5 table with trigrams, kept by triggers (:mod:`server.db.migrations.m0002_search`).
    """
    index = Table("job_text")
    phrases = [f'{column} : "{text.replace(chr(34), chr(34) * 2)}"' for column, text in texts.items()]
    rows = job.select(*columns).from_(index.join(job, JOIN.CROSS, on=index.c.rowid == job.id))  # type: ignore[attr-defined]
    return rows.where(SQL("job_text MATCH ?", (" AND ".join(phrases),))).order_by(index.c.rowid.desc())


def empty_log(database: Database) -> bool:
    """Move what the write-ahead log holds into the main file; whether all could be moved."""
    busy, _, _ = database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def file_mark(database: Database) -> int:
    """The number that the main file's header carries for its application."""
    return int(database.execute_sql("PRAGMA application_id").fetchone()[0])


def set_file_mark(database: Database, mark: int) -> None:
    """Write that number; ``mark``: 31 bits."""
    database.execute_sql(f"PRAGMA application_id = {int(mark)}")


def has_table(database: Database, name: str) -> bool:
    """Whether the database has the table."""
    found = database.execute_sql("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).fetchone()
    return found is not None
