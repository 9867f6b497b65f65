"""Finding jobs: the filters that a client may combine, as one query with bound parameters."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from peewee import OP, Expression, FloatField

from server.errors import InvalidInput
from server.models import Job
from server.states import JobState


class DateField(StrEnum):
    """Which of a job's times a search may ask for."""

    CREATED = "creation_date"
    STARTED = "start_date"
    ENDED = "end_date"


@dataclass(frozen=True)
class Query:
    """A search; empty fields do not restrict. ``first`` and ``last`` are days (YYYY-MM-DD) of the server's own time zone."""

    owner: str = ""
    app: str = ""
    description: str = ""
    file: str = ""
    states: frozenset[JobState] = frozenset()
    date: str = DateField.CREATED
    first: str = ""
    last: str = ""
    limit: int | None = None


_COLUMNS: dict[DateField, FloatField] = {
    DateField.CREATED: Job.created,
    DateField.STARTED: Job.started,
    DateField.ENDED: Job.ended,
}
_LISTED = [field for field in Job._meta.sorted_fields if field not in (Job.settings, Job.description, Job.inputs)]


def find(query: Query) -> list[Job]:
    """The jobs that match, newest first, without their long texts. Raises InvalidInput for a date that is none."""
    rows = Job.select(*_LISTED).where(*_conditions(query)).order_by(Job.id.desc())
    return list(rows if query.limit is None else rows.limit(query.limit))


def listed(job_id: int) -> Job | None:
    """One job as :func:`find` gives it; None where there is none."""
    found: Job | None = Job.select(*_LISTED).where(Job.id == job_id).first()
    return found


def named_apps() -> list[str]:
    """The ids of all apps that some job names."""
    return [row.app for row in Job.select(Job.app).distinct()]


def _conditions(query: Query) -> Iterator[Expression]:
    yield Job.id > 0  # peewee wants at least one
    texts = ((Job.owner, query.owner), (Job.app, query.app), (Job.description, query.description), (Job.inputs, query.file))
    yield from (column.contains(text) for column, text in texts if text)
    if query.states:
        yield Job.state.in_(sorted(query.states))
    column = _COLUMNS[_date_field(query.date)]
    if query.first:
        yield Expression(column, OP.GTE, _midnight(query.first, "from"))
    if query.last:
        yield Expression(column, OP.LT, _midnight(query.last, "to", days=1))


def _date_field(name: str) -> DateField:
    try:
        return DateField(name or DateField.CREATED)
    except ValueError:
        raise InvalidInput(f"{name[:40]!r} is not one of {', '.join(DateField)}", field="date") from None


def _midnight(day: str, field: str, days: int = 0) -> float:
    try:
        return (datetime.strptime(day, "%Y-%m-%d") + timedelta(days=days)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidInput(f"{day[:40]!r} is not a day as YYYY-MM-DD", field=field) from None
