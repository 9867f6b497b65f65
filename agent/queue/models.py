"""The agent's rows: Job, Transfer, Want, Event; and the one way to change a state."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from peewee import AutoField, FloatField, IntegerField, Model, TextField

from agent.errors import AgentError
from agent.queue.states import JOB_TRANSITIONS, TRANSFER_TRANSITIONS, JobState, TransferState
from programs.database.guarded import GuardedDatabase

CHUNK = 500  # rows of one statement: SQLite limits its variables


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


@dataclass(frozen=True)
class Change:
    """When a row moves (Unix seconds) and why."""

    at: float
    text: str = ""


def create(table: type[Stateful], change: Change, **fields: Any) -> Any:
    """Add a row in its first state with its first event, in one transaction; returns it."""
    with database_of(table).atomic("IMMEDIATE"):
        row = table.create(state_since=change.at, created=change.at, **fields)
        record_event(table, [row.id], "", row.state, change)
        return row


def transition(
    table: type[Stateful],
    row_id: int,
    old: JobState | TransferState,
    new: JobState | TransferState,
    change: Change,
    fields: Mapping[str, Any] | None = None,
) -> bool:
    """Change a row's state if it is still ``old``, with its event, in one transaction.

    ``fields`` are set in the same statement. False: it has moved meanwhile, so drop what you were doing.
    Raises ForbiddenTransition.
    """
    return bool(transition_all(table, [row_id], old, new, change, fields))


def transition_all(
    table: type[Stateful],
    row_ids: Iterable[int],
    old: JobState | TransferState,
    new: JobState | TransferState,
    change: Change,
    fields: Mapping[str, Any] | None = None,
) -> list[int]:
    """:func:`transition` for many rows at once; the ids of those that were still ``old``."""
    _require(old, new)
    wanted, moved = list(row_ids), []
    values = {"state": new, "state_since": change.at, **(fields or {})}
    with database_of(table).atomic("IMMEDIATE"):
        for start in range(0, len(wanted), CHUNK):
            chosen = (table.id.in_(wanted[start : start + CHUNK])) & (table.state == old)
            ids = numbers(table.select(table.id).where(chosen))
            table.update(values).where(table.id.in_(ids)).execute()
            moved += ids
        record_event(table, moved, old, new, change)
    return moved


def database_of(table: type[Row]) -> GuardedDatabase:
    """The database that a table is bound to."""
    database: GuardedDatabase = table._meta.database
    return database


def _require(old: JobState | TransferState, new: JobState | TransferState) -> None:
    allowed = JOB_TRANSITIONS[old] if isinstance(old, JobState) else TRANSFER_TRANSITIONS[old]
    if new not in allowed or type(new) is not type(old):
        raise ForbiddenTransition(f"no way leads from {old} to {new}")


def record_event(table: type[Row], row_ids: list[int], old: str, new: str, change: Change) -> None:
    """Write down that rows changed. Called within the transaction that changes them."""
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
