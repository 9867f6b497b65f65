"""Finding jobs: the filters that a client may combine, as one query with bound parameters.

Texts of three characters or more are looked up in the text index, newest first, which ends as soon as there are enough; shorter
ones are compared row by row. Both without regard to case.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import reduce
from itertools import product
from operator import or_
from typing import NamedTuple

from peewee import OP, Expression, FloatField, ModelSelect, TextField, fn

from server.db.dialects.sqlite import matching
from server.db.models import Job
from server.errors import InvalidInput
from server.states import JobState

TRIGRAM = 3
MAX_TEXT = 1000
LONG_TEXT = 100  # characters from which on a search takes tens of MB: the index searches for each three of them
FEW = 10_000  # rows up to which picking them out by an index beats reading all jobs, newest first


Span = tuple[float | None, float | None]


class DateField(StrEnum):
    """Which of a job's times a search may ask for."""

    CREATED = "creation_date"
    STARTED = "start_date"
    ENDED = "end_date"


@dataclass(frozen=True)
class Query:
    """A search; empty fields do not restrict. ``first`` and ``last`` are days (YYYY-MM-DD) of the server's own time zone.

    ``only``: no other than this job. ``text``: in the description or the name of an input file. ``owners``: only of these, None
    for all. ``before``: only jobs with a lower number. ``created`` and ``ended``: from and to, Unix seconds, None for no bound.
    """

    owner: str = ""
    app: str = ""
    description: str = ""
    file: str = ""
    states: frozenset[JobState] = frozenset()
    date: str = DateField.CREATED
    first: str = ""
    last: str = ""
    limit: int | None = None
    only: int | None = None
    text: str = ""
    owners: frozenset[str] | None = None
    before: int | None = None
    created: Span = (None, None)
    ended: Span = (None, None)

    @property
    def is_costly(self) -> bool:
        """Whether it takes so much memory that it should be made alone."""
        return any(len(text) > LONG_TEXT for text in (self.owner, self.app, self.description, self.file, self.text))


class Listed(NamedTuple):
    """A job's row without its long texts: what lists need, many at a time."""

    id: int
    owner: str
    app: str
    flavor: str
    workflow: str
    start_after: int | None
    folder: str
    state: str
    outcome: str
    reason: str
    message: str
    warning: str
    figures: str
    attempt: int
    created: float
    started: float | None
    ended: float | None


_COLUMNS: dict[DateField, FloatField] = {
    DateField.CREATED: Job.created,
    DateField.STARTED: Job.started,
    DateField.ENDED: Job.ended,
}
_THERE = Job.state != JobState.DELETED
_LISTED = [getattr(Job, name) for name in Listed._fields]


def find(query: Query) -> Iterator[Listed]:
    """The jobs that match, newest first, but none that its owner has deleted.

    Raises InvalidInput for a date that is none and for a text too long to be one.
    """
    require_short(query)
    texts = {"owner": query.owner, "app": query.app, "description": query.description, "inputs": query.file}
    indexed = {column: text for column, text in texts.items() if len(text) >= TRIGRAM and "\0" not in text}
    compared = [_contains(getattr(Job, column), text) for column, text in texts.items() if text and column not in indexed]
    if len(query.text) >= TRIGRAM and "\0" not in query.text:
        indexed["{description inputs}"] = query.text
    elif query.text:
        compared.append(_contains(Job.description, query.text) | _contains(Job.inputs, query.text))
    compared += _numbered(query)
    conditions = [*compared, *(_picked(condition) for condition in _indexed_conditions(query))]
    if indexed:
        return _listed(_limited(matching(Job, _LISTED, indexed), [*conditions, _THERE], query.limit))
    rows = Job.select(*_LISTED).order_by(Job.id.desc())
    if query.owners is not None and not query.owners:
        return iter(())
    if not conditions:
        return _listed(_limited(rows, (_THERE,), query.limit))
    ids = Job.select(Job.id).order_by(Job.id.desc())  # found in the index job_searched alone, without the rows
    return _listed(rows.where(Job.id.in_(_limited(ids, [*conditions, _THERE], query.limit))))


def require_short(query: Query) -> None:
    """Raises InvalidInput for a text too long to be one that somebody searches for."""
    texts = (query.owner, query.app, query.description, query.file, query.text, query.date, query.first, query.last)
    if any(len(text) > MAX_TEXT for text in texts):
        raise InvalidInput(f"a text to search for has {MAX_TEXT} characters at most", field="search")


def listed(job_id: int) -> Listed | None:
    """One job as :func:`find` gives it; None where there is none."""
    return next(_listed(Job.select(*_LISTED).where(Job.id == job_id, _THERE)), None)


def named_apps() -> list[str]:
    """The ids of all apps that some job names, by steps in their index: there are few among many jobs."""
    apps = [""]
    while app := Job.select(fn.MIN(Job.app)).where(Job.app > apps[-1], _THERE).scalar():
        apps.append(app)
    return apps[1:]


def _listed(rows: "ModelSelect[Job]") -> Iterator[Listed]:
    """The rows as the database gives them: Peewee's conversions do nothing to texts and numbers, and take as long as the rest."""
    return map(Listed._make, Job._meta.database.execute(rows))


def _limited(rows: "ModelSelect[Job]", conditions: Iterable[Expression], limit: int | None) -> "ModelSelect[Job]":
    for condition in conditions:
        rows = rows.where(condition)
    return rows if limit is None else rows.limit(limit)


def _contains(column: TextField, text: str) -> Expression:
    """LIKE, which ignores case in a to z only, once for each way to write the other letters of a short text."""
    if len(text) >= TRIGRAM:
        return column.contains(text)
    ways = [{letter, letter.lower(), letter.upper()} if not letter.isascii() else {letter} for letter in text]
    return reduce(or_, (column.contains("".join(letters)) for letters in sorted(product(*ways))))


def _numbered(query: Query) -> Iterator[Expression]:
    """What is decided by numbers and whole names, as the indexes have them."""
    if query.only is not None:
        yield Expression(Job.id, OP.EQ, query.only)
    if query.before is not None:
        yield Expression(Job.id, OP.LT, query.before)
    if query.owners is not None:
        yield Expression(Job.owner, OP.IN, sorted(query.owners))


def _within(column: FloatField, span: Span) -> Iterator[Expression]:
    """The bounds of a time as one condition, where there is any."""
    first, last = span
    bounds = [Expression(column, how, bound) for how, bound in ((OP.GTE, first), (OP.LT, last)) if bound is not None]
    if bounds:
        yield bounds[0] if len(bounds) == 1 else bounds[0] & bounds[1]


def _indexed_conditions(query: Query) -> Iterator[Expression]:
    if query.states:
        yield Job.state.in_(sorted(query.states))
    first = _midnight(query.first, "from") if query.first else None
    last = _midnight(query.last, "to", days=1) if query.last else None
    yield from _within(_COLUMNS[_date_field(query.date)], (first, last))
    yield from _within(Job.created, query.created)
    yield from _within(Job.ended, query.ended)


def _picked(condition: Expression) -> Expression:
    """The condition in the way that costs less: where few jobs meet it, their ids are fetched from its index first."""
    ids = Job.select(Job.id).where(condition)
    few = ids.limit(FEW).count() < FEW
    return Job.id.in_(ids) if few else condition


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
