"""The numbers of jobs and batches: each is given once, whatever becomes of its row."""

import threading

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


class JobNumbers:
    """The numbers of jobs that are about to have rows. One object for all that make jobs on a database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def take(self) -> int:
        """A number that nobody else is given. The job's row makes that last."""
        with self._lock:
            self._last = max(self._last, last_number()) + 1
            return self._last

    def give_back(self, number: int) -> None:
        """There will be no such job: the number is given again unless there are later ones."""
        with self._lock:
            if number == self._last:
                self._last -= 1

    def reserve(self, count: int) -> int:
        """The first of ``count`` numbers in a row that nobody else is given from now on, whatever becomes of them."""
        with exclusive(), self._lock:
            first = max(self._last, last_number()) + 1
            self._last = first + count - 1
            sqlite.skip_numbers(Job._meta.database, Job._meta.table_name, self._last)
            return first
