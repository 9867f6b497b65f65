"""The rows: Job, Worker, Event, Conversion; how the database is opened; and the one way to change a state.

Owns the schema's Python side (its history is in ``migrations``). Knows nothing of clouds, folders or HTTP.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from peewee import (
    SQL,
    AutoField,
    CompositeKey,
    DatabaseError,
    FloatField,
    IntegerField,
    Model,
    OperationalError,
    SqliteDatabase,
    TextField,
)

from programs.database.sqlite import connect, is_damaged, is_known, is_lost, why_unusable
from programs.errors import explained
from programs.regular import is_regular
from server.db import migrations
from server.db.cached_sql import add, change_row, rows, tuples
from server.db.database import Database
from server.errors import CumulusError
from server.states import JOB_TRANSITIONS, WORKER_TRANSITIONS, JobState, WorkerState

BUSY_TIMEOUT_MS = 10_000
OPENING_PAUSE_S = 0.02
# Literal text, as in the indexes: SQLite cannot use a partial index for a condition with bound parameters.
UNFINISHED = "state NOT IN ('done', 'failed', 'cancelled', 'archived', 'deleted')"
_LIVING = "state <> 'deleted'"
_LARGE = "settings"  # of a job: lists are without them
AFTER_A_LOSS = (
    "restart the controller (`cumulus stop`, `cumulus serve`): it goes on with the right file, or makes the database anew from"
    " the job folders; of a wrong file it says so, and `cumulus db rebuild` sets that aside"
)
CACHE_KIB = 1_024  # of each connection, and each thread has its own; more is in the system's cache of files anyway


class Row(Model):
    """Base of all tables; bound to a database by :func:`open_database`."""

    id = AutoField()

    @classmethod
    def get_by_id(cls, pk: int) -> Self:
        """The row of that number. Raises DoesNotExist."""
        found = rows(cls, "id = ?", pk)
        if not found:
            raise cls.DoesNotExist(f"{cls._meta.table_name} {pk}")  # type: ignore[attr-defined]  # made by peewee
        return found[0]


class Stateful(Row):
    """Base of the tables whose rows have a state. Times are Unix seconds; nothing is begun with a row before ``not_before``."""

    state = TextField()
    state_since = FloatField()
    not_before = FloatField(default=0.0)
    created = FloatField()
    ended = FloatField(null=True)


class Job(Stateful):
    """One run of an app for its owner; ``settings``: the form as JSON text, ``inputs``: the input files' names, a line each.

    ``spared``: attempts that a trouble of the site, or an administrator, ended; they do not count.
    ``warning``: what a job that is done warns of, a line each; ``figures``: what its app says it found, as JSON text.
    """

    owner = TextField()
    app = TextField()
    flavor = TextField()
    weight = IntegerField()
    description = TextField(default="")
    settings = TextField()
    inputs = TextField(default="")
    workflow = TextField(default="")
    start_after = IntegerField(null=True)
    folder = TextField(unique=True)
    outcome = TextField(default="")
    reason = TextField(default="")
    message = TextField(default="")
    attempt = IntegerField(default=0)
    spared = IntegerField(default=0)
    warning = TextField(default="")
    figures = TextField(default="")
    priority = IntegerField(default=0)
    started = FloatField(null=True)

    class Meta:
        table_name = "job"


class Worker(Stateful):
    """One machine, from the wish for it to its confirmed end. Its name is its Terraform workspace.

    ``held_until``: it stays that long (Unix seconds) for inspection should its job fail.
    """

    name = TextField(unique=True)
    job_id = IntegerField(null=True)
    flavor = TextField()
    weight = IntegerField()
    address = TextField(default="")
    port = IntegerField(default=0)
    boot = TextField(default="")
    attempt = IntegerField(default=1)
    failures = IntegerField(default=0)
    held_until = FloatField(default=0.0)
    message = TextField(default="")

    class Meta:
        table_name = "worker"


def worker_name(job_id: int, attempt: int) -> str:
    """What the machine is called that is made for an attempt of a job, and so its Terraform workspace."""
    return f"job-{job_id}" if attempt == 1 else f"job-{job_id}-{attempt}"


class Event(Row):
    """What happened to a job or a worker: who, why, when. Written with the change itself."""

    at = FloatField()
    subject = TextField()
    subject_id = IntegerField()
    who = TextField()
    old = TextField()
    new = TextField()
    reason = TextField(default="")
    text = TextField(default="")

    class Meta:
        table_name = "event"


class Conversion(Row):
    """A shared input, the ``number``-th of its job, that becomes mzML; ``key``: what the result is known by in the storage."""

    job_id = IntegerField()
    number = IntegerField()
    name = TextField()
    key = TextField()

    class Meta:
        table_name = "conversion"


class StoredSetting(Model):
    """Something that the installation remembers by its name."""

    name = TextField(primary_key=True)
    value = TextField()
    at = FloatField()
    who = TextField()

    class Meta:
        table_name = "switch"


class Look(Model):
    """Something that a cleaning has come upon: first ``at`` (Unix seconds), when controllers had run for ``elapsed`` seconds."""

    kind = TextField()
    name = TextField()
    at = FloatField()
    elapsed = FloatField()
    bytes = IntegerField(default=0)

    class Meta:
        table_name = "look"
        primary_key = CompositeKey("kind", "name")


TABLES = (Job, Worker, Event, Conversion, StoredSetting, Look)


class DatabaseDamaged(CumulusError):
    """The file is no database, or not a sound one."""

    code = "database_damaged"


class DatabaseLost(CumulusError):
    """The file was removed, replaced or overwritten while a controller had it open."""

    code = "database_lost"


class DatabaseUnusable(CumulusError):
    """The database cannot be opened, read or written: rights, a full disk, another program that keeps it locked."""

    code = "database_unusable"


class ForbiddenTransition(CumulusError):
    """A programmer's error: the table of transitions has no such move."""

    code = "forbidden_transition"


@dataclass(frozen=True)
class Change:
    """Who moves a row, when (Unix seconds) and why."""

    at: float
    who: str = "controller"
    reason: str = ""
    text: str = ""


def open_database(path: Path) -> Database:
    """Open (or make) the database at the newest schema, and bind the tables to it. Raises DatabaseDamaged, DatabaseUnusable.

    For who runs the installation; commands use :mod:`server.db.opening`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise DatabaseUnusable(f"there can be no database {path}: {explained(problem)}") from None
    require_file(path)
    pragmas = {
        "journal_mode": "wal",
        "synchronous": "full",  # a submitted job survives a power cut, too
        "foreign_keys": 1,
        "busy_timeout": BUSY_TIMEOUT_MS,
        "cache_size": -CACHE_KIB,
    }
    # Also for the pragmas themselves: several processes may open a new database at once.
    database = Database(str(path), pragmas, BUSY_TIMEOUT_MS / 1000)
    try:
        _upgrade(database)
    except DatabaseError as problem:
        raise (unusable(problem, path) if is_known(problem) else problem) from None
    database.bind(TABLES)
    return database


def require_file(path: Path) -> bool:
    """Whether there is a file; raises DatabaseUnusable where something else lies there, which SQLite might wait for."""
    try:
        return is_regular(path, follow=True)
    except OSError as problem:
        raise DatabaseUnusable(
            f"the database cannot be used: {explained(problem)}; move it away, or set another database"
        ) from None


def _upgrade(database: SqliteDatabase) -> None:
    """Bring the schema up to date. Where two processes make a database at once, SQLite refuses one of them without waiting."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            migrations.upgrade(database)
        except OperationalError as problem:
            database.close()
            if "locked" not in str(problem) or time.monotonic() > deadline:
                raise
            time.sleep(OPENING_PAUSE_S)
        else:
            return


def unusable(problem: Exception, path: Path | None = None) -> DatabaseDamaged | DatabaseLost | DatabaseUnusable:
    """What SQLite said of a database (default: the one that is open) as an error for a person."""
    if is_lost(problem):
        return DatabaseLost(f"the database is damaged or lost: {problem}; {AFTER_A_LOSS}")
    path = path or Path(Job._meta.database.database)
    if is_damaged(problem):
        text = f"the database {path} is damaged, or another program's ({problem})"
        return DatabaseDamaged(f"{text}: `cumulus db rebuild` makes it anew from the job folders")
    return DatabaseUnusable(why_unusable(path, problem, BUSY_TIMEOUT_MS / 1000))


class ChangeCounter:
    """Tells whether a row may have changed since the last question, whoever changed it: for what is made from rows and kept.

    SQLite counts for each connection what the others commit, so this is one of its own, which writes nothing.
    """

    def __init__(self, path: Path, require_file: Callable[[], None] = lambda: None) -> None:
        """``require_file``: raises where the file is not the one that was opened any more."""
        self._connection = connect(path, "rw", several_threads=True)
        self._require_file = require_file
        self._lock = threading.Lock()

    def number(self) -> int:
        """Another one after each commit of any process."""
        with self._lock:
            self._require_file()
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])


def create(table: type[Stateful], change: Change, **fields: Any) -> Any:
    """Add a row in its first state with its first event, in one transaction; returns it."""
    with _database(table).atomic("IMMEDIATE"):
        row = table(state_since=change.at, created=change.at, **fields)
        add(row)
        _record(table, row.id, "", row.state, change)
        return row


def transition(
    table: type[Stateful],
    row_id: int,
    old: JobState | WorkerState,
    new: JobState | WorkerState,
    change: Change,
    fields: Mapping[str, Any] | None = None,
) -> bool:
    """Change a row's state if it is still ``old``, with its event, in one transaction.

    ``fields`` are set in the same statement. False: somebody else was first, so drop what you were doing.
    Raises ForbiddenTransition.
    """
    _require(old, new)
    with _database(table).atomic("IMMEDIATE"):
        values = {"state": new, "state_since": change.at, **(fields or {})}
        if moved := change_row(table, row_id, old, values):
            _record(table, row_id, old, new, change)
        return moved


def last_number() -> int:
    """The highest number that a job ever got, as the database knows; 0: none."""
    row = Job._meta.database.execute_sql("SELECT seq FROM sqlite_sequence WHERE name = 'job'").fetchone()
    return int(row[0]) if row else 0


def never_again(number: int) -> None:
    """Give no job a number up to this one: they were given, whatever the rows say."""
    database = _database(Job)
    with database.atomic("IMMEDIATE"):
        raised = database.execute_sql("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'job'", (number,)).rowcount
        if not raised and number:
            database.execute_sql("INSERT INTO sqlite_sequence VALUES ('job', ?)", (number,))


def record_event(table: type[Row], row_id: int, change: Change) -> None:
    """Record something that happened to a row without a change of state."""
    with _database(table).atomic("IMMEDIATE"):
        _record(table, row_id, "", "", change)


def shift_times(seconds: float) -> None:
    """Move what limits and pauses are counted from, of all that is unfinished: the computer's clock was set by so much."""
    with _database(Job).atomic("IMMEDIATE"):
        for table, condition in ((Job, UNFINISHED), (Worker, _LIVING)):
            shifted = {"state_since": table.state_since + seconds, "not_before": table.not_before + seconds}
            if table is Worker:
                shifted["held_until"] = Worker.held_until + seconds
            table.update(shifted).where(SQL(condition)).execute()


def _require(old: JobState | WorkerState, new: JobState | WorkerState) -> None:
    allowed = JOB_TRANSITIONS[old] if isinstance(old, JobState) else WORKER_TRANSITIONS[old]
    if new not in allowed:
        raise ForbiddenTransition(f"no way leads from {old} to {new}")


def _record(table: type[Row], row_id: int, old: str, new: str, change: Change) -> None:
    subject = table._meta.table_name
    event = Event(
        at=change.at, subject=subject, subject_id=row_id, who=change.who, old=old, new=new, reason=change.reason, text=change.text
    )
    add(event)


def _database(table: type[Row]) -> SqliteDatabase:
    database: SqliteDatabase = table._meta.database
    return database


def known_job(job_id: int) -> Job | None:
    """The job of that number; None where there is none, or its owner has deleted it."""
    found = rows(Job, "id = ? AND state <> 'deleted'", job_id)
    return found[0] if found else None


def unfinished_jobs() -> list[Job]:
    """The jobs that something may still happen to, oldest first, without their settings. Uses a partial index."""
    return rows(Job, f"{UNFINISHED} ORDER BY id", without=_LARGE)


def jobs_in_motion() -> list[Job]:
    """Those of them that do not wait for a machine: their number is bounded by the machines and the uploads, not by the queue."""
    return rows(Job, f"{UNFINISHED} AND state <> 'queued' ORDER BY id", without=_LARGE)


def jobs_of(workers: Sequence[Worker]) -> list[Job]:
    """The jobs that these machines are for and that something may still happen to, without their settings."""
    numbers = [worker.job_id for worker in workers if worker.job_id is not None]
    marks = ", ".join("?" for _ in numbers)
    return rows(Job, f"id IN ({marks}) AND {UNFINISHED}", *numbers, without=_LARGE) if numbers else []


class Queued(NamedTuple):
    """A job that waits for a machine, as far as its turn depends on it. Made a thousand at a time."""

    id: int
    owner: str
    flavor: str
    weight: int
    priority: int
    state_since: float


def queued_jobs(now: float) -> list[Queued]:
    """The jobs that wait for a machine and may begin, oldest first."""
    waiting = f"{UNFINISHED} AND state = 'queued' AND not_before <= ? ORDER BY id"
    return list(map(Queued._make, tuples(Job, Queued._fields, waiting, now)))


def let_spared_begin(now: float) -> None:
    """Whoever waits for the end of a trouble of the site need not wait longer."""
    waiting = SQL(UNFINISHED), Job.state == JobState.QUEUED, Job.spared > 0, Job.not_before > now
    Job.update(not_before=now).where(*waiting).execute()


def next_queued_at(now: float) -> float | None:
    """When the next of the waiting jobs may begin that may not yet (Unix seconds)."""
    later = f"{UNFINISHED} AND state = 'queued' AND not_before > ? ORDER BY not_before LIMIT 1"
    return next((at for (at,) in tuples(Job, ("not_before",), later, now)), None)


def living_workers() -> list[Worker]:
    """The workers whose end is not confirmed, oldest first. Uses a partial index."""
    return rows(Worker, f"{_LIVING} ORDER BY id")
