"""The numbers of jobs and batches: each is given once, whatever becomes of its row."""

from server.db.dialects import sqlite
from server.db.models import Job, Row
from server.db.transactions import exclusive


def last_number() -> int:
    """The highest number that a job ever got, as the database knows; 0: none."""
    return sqlite.last_number(Job._meta.database, Job._meta.table_name)


def never_again(number: int) -> None:
    """Give no job a number up to this one: they were given, whatever the rows say."""
    with exclusive():
        sqlite.skip_numbers(Job._meta.database, Job._meta.table_name, number)


def reserved(table: type[Row], count: int) -> int:
    """The first of ``count`` numbers in a row that nobody else is given from now on."""
    name = table._meta.table_name
    with exclusive():
        first = sqlite.last_number(Job._meta.database, name) + 1
        sqlite.skip_numbers(Job._meta.database, name, first + count - 1)
    return first
