"""Statements whose text is made once, for what the loop asks in each turn and writes with each change of a state.

peewee makes a query's text anew each time, which takes ten times as long as the database needs to run it. Texts hold names
of tables and columns and the callers' literal conditions; values are always bound.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

from peewee import Model

from server.db.dialects.sqlite import added_number

T = TypeVar("T", bound=Model)


def rows(table: type[T], condition: str, *values: object, without: str = "") -> list[T]:
    """The rows that fulfil a literal condition, in which ``?`` stands for a value. ``without``: a column that is left out."""
    names = _names(table, without)
    return [_row(table, names, found) for found in tuples(table, names, condition, *values)]


def tuples(table: type[Model], names: tuple[str, ...], condition: str, *values: object) -> Iterable[tuple[Any, ...]]:
    """The same, of some columns only."""
    found: Iterable[tuple[Any, ...]] = table._meta.database.execute_sql(_select(table, names, condition), values)
    return found


def add(row: Model) -> None:
    """Insert a row: under the number that it has, or else the next one, which it is given."""
    data = {name: value for name, value in row.__data__.items() if (name, value) != ("id", None)}
    table = type(row)
    row.__data__["id"] = added_number(table._meta.database.execute_sql(_insert(table, tuple(data)), tuple(data.values())))


def change_row(table: type[Model], row_id: int, state: str, values: Mapping[str, object]) -> bool:
    """Set columns of the row of that number while it is in that state; whether it was."""
    text = _update(table, tuple(values))
    return bool(table._meta.database.execute_sql(text, (*values.values(), row_id, state)).rowcount)


def _row(table: type[T], names: Collection[str], found: tuple[Any, ...]) -> T:
    row = table(__no_default__=1)
    row.__data__.update(zip(names, found, strict=True))
    return row


@cache
def _names(table: type[Model], without: str) -> tuple[str, ...]:
    return tuple(field.name for field in table._meta.sorted_fields if field.name != without)


@cache
def _select(table: type[Model], names: tuple[str, ...], condition: str) -> str:
    return f"SELECT {_list(table, names)} FROM {_quoted(table._meta.table_name)} WHERE {condition}"  # noqa: S608  # see above


@cache
def _insert(table: type[Model], names: tuple[str, ...]) -> str:
    marks = ", ".join("?" for _ in names)
    return f"INSERT INTO {_quoted(table._meta.table_name)} ({_list(table, names)}) VALUES ({marks})"  # noqa: S608


@cache
def _update(table: type[Model], names: tuple[str, ...]) -> str:
    settings = ", ".join(f"{_list(table, (name,))} = ?" for name in names)
    return f"UPDATE {_quoted(table._meta.table_name)} SET {settings} WHERE id = ? AND state = ?"  # noqa: S608


def _list(table: type[Model], names: Collection[str]) -> str:
    """The columns of fields; raises KeyError for what is none."""
    return ", ".join(_quoted(table._meta.fields[name].column_name) for name in names)


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))
