"""Accounts are in no job folder: a database that is made anew gets them from the file that is set aside, if that can be read.

Whole or not at all: half of the accounts could lack what takes a right away.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import structlog

from programs.database.sqlite import connect, reading_mode
from server.db.account_models import ACCOUNT_TABLES
from server.db.account_queries import GENERATION
from server.db.cached_sql import add
from server.db.connection import require_file
from server.db.dialects.own_log import has_foreign_log
from server.db.dialects.sqlite_file import table_names
from server.db.errors import DatabaseUnusable
from server.db.models import Row, StoredSetting
from server.db.opening import OWNER
from server.db.upsert import add_if_absent
from server.engine.records.account_roster import RESTORED

KEPT_SETTINGS = (GENERATION, RESTORED)
log = structlog.get_logger()


class _Unreadable(Exception):
    """The former file has no accounts that can be relied on; the text says why."""


def copy_accounts(former: Path, server_id: str) -> int:
    """Copy the accounts of the installation from its former database into the open one; returns how many users that were.

    Within a transaction of the caller's, into empty tables.
    """
    try:
        rows, settings = _read(former, server_id)
    except (_Unreadable, sqlite3.Error, DatabaseUnusable, OSError) as problem:
        log.warning("no accounts are taken from the former database", file=str(former), why=str(problem))
        return 0
    for table, found in rows:
        for values in found:
            add(table(**values))
    for values in settings:
        add_if_absent(StoredSetting, **values)
    return len(rows[0][1]) if rows else 0


def _read(former: Path, server_id: str) -> tuple[list[tuple[type[Row], list[dict[str, Any]]]], list[dict[str, Any]]]:
    if not require_file(former):
        raise _Unreadable("it is not there")
    # A log of another file would put that one's pages into this one.
    how = ("ro", "&immutable=1") if has_foreign_log(former) else reading_mode(former)
    with closing(connect(former, *how)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")  # all as of one moment
        if not {"switch", *(table._meta.table_name for table in ACCOUNT_TABLES)} <= table_names(connection):
            raise _Unreadable("it is of a version without accounts")
        owner = connection.execute("SELECT value FROM switch WHERE name = ?", (OWNER,)).fetchone()
        if owner is None or owner["value"] != server_id:
            raise _Unreadable("it is another installation's")
        settings = [dict(row) for row in connection.execute("SELECT * FROM switch WHERE name IN (?, ?)", KEPT_SETTINGS)]
        return [(table, _rows(connection, table)) for table in ACCOUNT_TABLES], settings


def _rows(connection: sqlite3.Connection, table: type[Row]) -> list[dict[str, Any]]:
    name = table._meta.table_name
    said = str(connection.execute(f"PRAGMA quick_check('{name}')").fetchone()[0])
    if said != "ok":
        raise _Unreadable(f"its table {name} is damaged: {' '.join(said.split())}")
    known = set(table._meta.fields)
    return [
        {column: row[column] for column in row.keys() if column in known}  # noqa: SIM118  # a Row iterates over its values
        for row in connection.execute(f"SELECT * FROM {name} ORDER BY id")  # noqa: S608  # of our own names
    ]
