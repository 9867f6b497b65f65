"""The agent's rows: Job, Transfer, Want, Event; how the database is opened; and the one way to change a state."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from peewee import AutoField, DatabaseError, FloatField, IntegerField, Model, SqliteDatabase, TextField

from agent.errors import AgentError
from agent.queue.states import JOB_TRANSITIONS, TRANSFER_TRANSITIONS, JobState, TransferState
from programs.database.guarded import GuardedDatabase
from programs.database.sqlite import is_damaged, is_known, is_lost, reading_mode, why_unusable
from programs.errors import explained
from programs.regular import is_regular

BUSY_TIMEOUT_MS = 30_000
CHUNK = 500  # rows of one statement: SQLite limits its variables
CACHE_KIB = 1_024

# Steps of the schema; one that has been released never changes. `PRAGMA user_version` tells how many a file has seen.
STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE job (
            id INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL, folder TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
            state TEXT NOT NULL, state_since REAL NOT NULL, created REAL NOT NULL, not_before REAL NOT NULL DEFAULT 0,
            failures INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '')""",
        """CREATE TABLE transfer (
            id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, source TEXT NOT NULL, place TEXT NOT NULL,
            name TEXT NOT NULL, state TEXT NOT NULL, state_since REAL NOT NULL, created REAL NOT NULL,
            not_before REAL NOT NULL DEFAULT 0, began REAL, ended REAL, failures INTEGER NOT NULL DEFAULT 0,
            failing_since REAL, bytes INTEGER NOT NULL DEFAULT 0, sent INTEGER NOT NULL DEFAULT 0,
            is_folder INTEGER NOT NULL DEFAULT 0, alone INTEGER NOT NULL DEFAULT 0, is_put INTEGER NOT NULL DEFAULT 0,
            fingerprint TEXT NOT NULL DEFAULT '', still_since REAL NOT NULL DEFAULT 0,
            contents TEXT NOT NULL DEFAULT '', message TEXT NOT NULL DEFAULT '')""",
        """CREATE TABLE want (
            id INTEGER PRIMARY KEY AUTOINCREMENT, job_id INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
            transfer_id INTEGER NOT NULL REFERENCES transfer (id) ON DELETE CASCADE, UNIQUE (job_id, transfer_id))""",
        """CREATE TABLE event (
            id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, subject TEXT NOT NULL, subject_id INTEGER NOT NULL,
            old TEXT NOT NULL, new TEXT NOT NULL, text TEXT NOT NULL DEFAULT '')""",
        "CREATE INDEX want_transfer ON want (transfer_id)",
        "CREATE INDEX job_number ON job (number)",
        "CREATE INDEX job_state ON job (state)",
        "CREATE INDEX transfer_state ON transfer (state)",
        "CREATE INDEX transfer_target ON transfer (place, name)",
        "CREATE INDEX transfer_owner ON transfer (owner, began)",
        "CREATE INDEX event_subject ON event (subject, subject_id)",
    ),
    (
        "ALTER TABLE transfer DROP COLUMN is_put",
        "ALTER TABLE transfer ADD COLUMN upload TEXT NOT NULL DEFAULT ''",
        "UPDATE transfer SET upload = '.upload.' || lower(hex(randomblob(8))) || '.' || lower(hex(randomblob(3)))",
        "ALTER TABLE transfer ADD COLUMN skipped TEXT NOT NULL DEFAULT '[]'",
    ),
)


class Row(Model):
    """Base of all tables; bound to a database by :func:`open_database`."""

    id = AutoField()


class Stateful(Row):
    """A row with a state. Times are Unix seconds; nothing is begun with it before ``not_before``."""

    state = TextField()
    state_since = FloatField()
    created = FloatField()
    not_before = FloatField(default=0.0)
    failures = IntegerField(default=0)
    message = TextField(default="")


class Job(Stateful):
    """A controller's job whose files are sent. ``number``: its id there; ``folder``: its folder's name there."""

    number = IntegerField()
    folder = TextField(unique=True)
    owner = TextField()

    class Meta:
        table_name = "job"


class Transfer(Stateful):
    """One file or folder on its way from ``source`` (a path here) to ``place``/``name`` below the storage.

    ``owner``: who asked for it first. ``sent``: bytes that are there. ``fingerprint``: its source as it was last seen,
    unchanged since ``still_since``. ``contents``: what arrived, a manifest's lines (``agent.queue.manifest``). ``alone``: in no
    batch. ``upload``: the folder in ``place`` in which it arrives before its name. ``skipped``: what is left out of it,
    as JSON.
    """

    owner = TextField()
    source = TextField()
    place = TextField()
    name = TextField()
    began = FloatField(null=True)
    ended = FloatField(null=True)
    failing_since = FloatField(null=True)
    bytes = IntegerField(default=0)
    sent = IntegerField(default=0)
    is_folder = IntegerField(default=0)
    alone = IntegerField(default=0)
    fingerprint = TextField(default="")
    still_since = FloatField(default=0.0)
    contents = TextField(default="")
    upload = TextField(default=lambda: f".upload.{token_hex(8)}.{token_hex(3)}")
    skipped = TextField(default="[]")

    class Meta:
        table_name = "transfer"


class Want(Row):
    """A job needs a transfer."""

    job_id = IntegerField()
    transfer_id = IntegerField()

    class Meta:
        table_name = "want"


class Event(Row):
    """What happened to a job or a transfer, written with the change itself."""

    at = FloatField()
    subject = TextField()
    subject_id = IntegerField()
    old = TextField()
    new = TextField()
    text = TextField(default="")

    class Meta:
        table_name = "event"


TABLES = (Job, Transfer, Want, Event)
LISTED = tuple(field for field in Transfer._meta.sorted_fields if field is not Transfer.contents)  # which may be megabytes


class ForbiddenTransition(AgentError):
    """A programmer's error: the table of transitions has no such move."""

    code = "forbidden_transition"


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


@dataclass(frozen=True)
class Change:
    """When a row moves (Unix seconds) and why."""

    at: float
    text: str = ""


def open_database(path: Path) -> GuardedDatabase:
    """Open (or make) the queue at the newest schema, and bind the tables to it. Raises QueueUnusable, DatabaseTooNew."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise QueueUnusable(f"there can be no queue {path}: {explained(problem)}") from None
    require_file(path)
    pragmas: dict[str, object] = {
        "journal_mode": "wal",
        "synchronous": "full",  # what the client was told is queued survives a power cut
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


def insert(table: type[Stateful], change: Change, **fields: Any) -> Any:
    """Add a row in its first state with its first event, in one transaction; returns it."""
    with database_of(table).atomic("IMMEDIATE"):
        row = table.create(state_since=change.at, created=change.at, **fields)
        _record(table, [row.id], "", row.state, change)
        return row


def move(
    table: type[Stateful],
    row_id: int,
    old: JobState | TransferState,
    new: JobState | TransferState,
    change: Change,
    fields: Mapping[str, Any] | None = None,
) -> bool:
    """Change a row's state if it is still ``old``, with its event, in one transaction.

    ``fields`` are set in the same statement. False: somebody else was first, so drop what you were doing.
    Raises ForbiddenTransition.
    """
    return bool(move_all(table, [row_id], old, new, change, fields))


def move_all(
    table: type[Stateful],
    row_ids: Iterable[int],
    old: JobState | TransferState,
    new: JobState | TransferState,
    change: Change,
    fields: Mapping[str, Any] | None = None,
) -> list[int]:
    """:func:`move` for many rows at once; the ids of those that were still ``old``."""
    _require(old, new)
    wanted, moved = list(row_ids), []
    values = {"state": new, "state_since": change.at, **(fields or {})}
    with database_of(table).atomic("IMMEDIATE"):
        for start in range(0, len(wanted), CHUNK):
            chosen = (table.id.in_(wanted[start : start + CHUNK])) & (table.state == old)
            ids = numbers(table.select(table.id).where(chosen))
            table.update(values).where(table.id.in_(ids)).execute()
            moved += ids
        _record(table, moved, old, new, change)
    return moved


def database_of(table: type[Row]) -> GuardedDatabase:
    """The database that a table is bound to."""
    database: GuardedDatabase = table._meta.database
    return database


def _require(old: JobState | TransferState, new: JobState | TransferState) -> None:
    allowed = JOB_TRANSITIONS[old] if isinstance(old, JobState) else TRANSFER_TRANSITIONS[old]
    if new not in allowed or type(new) is not type(old):
        raise ForbiddenTransition(f"no way leads from {old} to {new}")


def _record(table: type[Row], row_ids: list[int], old: str, new: str, change: Change) -> None:
    subject = table._meta.table_name
    shared = {"at": change.at, "subject": subject, "old": old, "new": new, "text": change.text}
    for start in range(0, len(row_ids), CHUNK // 10):
        Event.insert_many([{**shared, "subject_id": row_id} for row_id in row_ids[start : start + CHUNK // 10]]).execute()


def numbers(query: Any) -> list[int]:
    """The values of a query of one column of numbers."""
    return [row[0] for row in tuples(query)]


def tuples(query: Any) -> list[tuple[Any, ...]]:
    """The columns of a query, row by row, as SQLite gives them."""
    return list(database_of(Transfer).execute(query))  # type: ignore[no-untyped-call]
