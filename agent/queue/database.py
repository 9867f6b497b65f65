"""Opening the queue's file, bringing it up to date, and what is wrong with one that cannot be used."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from peewee import DatabaseError, SqliteDatabase

from agent.errors import AgentError
from agent.queue.models import TABLES, Job, database_of
from agent.queue.schema import STEPS
from programs.database.guarded import GuardedDatabase
from programs.database.sqlite import is_damaged, is_known, is_lost, reading_mode, why_unusable
from programs.errors import explained
from programs.regular import is_regular

BUSY_TIMEOUT_MS = 30_000
CACHE_KIB = 1_024


class DatabaseTooNew(AgentError):
    """The queue was written by a later version of the agent."""

    code = "database_too_new"


class QueueMissing(AgentError):
    """No agent has run with this home yet, or the setting names another folder than was meant."""

    code = "queue_missing"


class QueueLost(AgentError):
    """The queue's file was removed, replaced or overwritten while the agent had it open."""

    code = "queue_lost"


class QueueUnusable(AgentError):
    """The queue's file cannot be opened, read or written: rights, a full disk, another program that keeps it locked."""

    code = "queue_unusable"


def open_database(path: Path) -> GuardedDatabase:
    """Open (or make) the queue at the newest schema, and bind the tables to it. Raises QueueUnusable, DatabaseTooNew."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise QueueUnusable(f"there can be no queue {path}: {explained(problem)}") from None
    require_file(path)
    pragmas: dict[str, object] = {
        "journal_mode": "wal",
        "synchronous": "full",  # an order that the client knows to be queued survives a power cut
        "foreign_keys": 1,
    }
    return _bound(path, pragmas, "rwc", "", _upgrade)


def open_to_read(path: Path) -> GuardedDatabase:
    """Open the queue that there is, as it is; nothing is made or changed. Raises QueueMissing, QueueUnusable, DatabaseTooNew."""
    if not require_file(path):
        raise QueueMissing(f"there is no queue {path}: no agent has run there yet")
    try:
        mode, options = reading_mode(path)
    except sqlite3.DatabaseError as problem:
        raise unusable(problem, path) from None
    return _bound(path, {"query_only": 1}, mode, options, _require_schema)


def require_file(path: Path) -> bool:
    """Whether there is a file; raises QueueUnusable where something else lies there, which SQLite might wait for."""
    try:
        return is_regular(path, follow=True)
    except OSError as problem:
        raise QueueUnusable(f"the queue cannot be used: {explained(problem)}; move it away") from None


def _bound(
    path: Path, pragmas: dict[str, object], mode: str, options: str, prepare: Callable[[SqliteDatabase, Path], None]
) -> GuardedDatabase:
    shared: dict[str, object] = {"busy_timeout": BUSY_TIMEOUT_MS, "cache_size": -CACHE_KIB}
    database = GuardedDatabase(str(path), {**pragmas, **shared}, BUSY_TIMEOUT_MS / 1000, mode=mode, options=options)
    try:
        prepare(database, path)
    except DatabaseError as problem:
        database.close()
        raise (unusable(problem, path) if is_known(problem) else problem) from None
    database.bind(TABLES)
    return database


def _require_schema(database: SqliteDatabase, path: Path) -> None:
    version = _version(database, path)
    if version < len(STEPS):
        tables = database.get_tables()
        text = "is of an earlier version: restart the agent, which brings it up to date" if version else "is another program's"
        raise QueueUnusable(f"the queue {path} {text if tables else 'is empty'}")


def _version(database: SqliteDatabase, path: Path) -> int:
    """How many steps it has seen. Raises DatabaseTooNew."""
    version = int(database.execute_sql("PRAGMA user_version").fetchone()[0])
    if version > len(STEPS):
        raise DatabaseTooNew(f"the queue {path} has schema {version}, this agent knows {len(STEPS)}: upgrade the agent")
    return version


def _upgrade(database: SqliteDatabase, path: Path) -> None:
    with database.atomic("IMMEDIATE"):
        version = _version(database, path)
        if not version and database.get_tables():
            raise QueueUnusable(f"the queue {path} is another program's: move it away, and a new one is begun")
        if left := STEPS[version:]:
            for statement in (statement for step in left for statement in step):
                database.execute_sql(statement)
            database.execute_sql(f"PRAGMA user_version = {len(STEPS)}")


def unusable(problem: Exception, path: Path | None = None) -> QueueUnusable | QueueLost:
    """What SQLite said of a queue (default: the one that is open) as an error for a person."""
    if is_lost(problem):
        return QueueLost(f"the queue is lost: {problem}; restart the agent, and send again what was in it")
    path = path or Path(database_of(Job).database)
    if is_damaged(problem):
        text = f"the queue {path} is damaged, or another program's ({problem})"
        return QueueUnusable(f"{text}: move it away; a new one is made, and clients have to send again what was in it")
    return QueueUnusable(why_unusable(path, problem, BUSY_TIMEOUT_MS / 1000))
