"""The one way to change a row's state: guarded by the state that it had, with an event, in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peewee import SQL

from server.db.cached_sql import add, change_row
from server.db.models import Event, Job, Row, Stateful, Worker
from server.db.queries import LIVING, UNFINISHED
from server.db.transactions import exclusive
from server.errors import CumulusError
from server.states import JOB_TRANSITIONS, WORKER_TRANSITIONS, JobState, WorkerState


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


def create(table: type[Stateful], change: Change, **fields: Any) -> Any:
    """Add a row in its first state with its first event, in one transaction; returns it."""
    with exclusive():
        row = table(state_since=change.at, created=change.at, **fields)
        add_created(row, change)
        return row


def add_created(row: Stateful, change: Change) -> None:
    """The same of a row that is made already, under the number that it has; for a transaction of the caller's."""
    add(row)
    _record(type(row), row.id, "", row.state, change)


def transition(
    table: type[Stateful],
    row_id: int,
    old: JobState | WorkerState,
    new: JobState | WorkerState,
    change: Change,
    fields: Mapping[str, Any] | None = None,
) -> bool:
    """Change a row's state if it is still ``old``, with its event, in one transaction.

    ``fields`` are set in the same statement. False: somebody else was first, so the caller stops there.
    Raises ForbiddenTransition.
    """
    _require(old, new)
    with exclusive():
        values = {"state": new, "state_since": change.at, **(fields or {})}
        if moved := change_row(table, row_id, old, values):
            _record(table, row_id, old, new, change)
        return moved


def record_event(table: type[Row], row_id: int, change: Change) -> None:
    """Record something that happened to a row without a change of state."""
    with exclusive():
        _record(table, row_id, "", "", change)


def shift_times(seconds: float) -> None:
    """Shift the times that limits and pauses are counted from, of all unfinished rows: the clock was set by so many seconds."""
    with exclusive():
        for table, condition in ((Job, UNFINISHED), (Worker, LIVING)):
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
