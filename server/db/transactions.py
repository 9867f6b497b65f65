"""Transactions in which one reads, then writes, and nobody writes between."""

from contextlib import AbstractContextManager

from peewee import Database

from server.db.dialects.sqlite import AT_ONCE, EXCLUSIVE
from server.db.models import Job


def exclusive(database: Database | None = None) -> AbstractContextManager[object]:
    """A transaction beside which nobody else writes, from its beginning; default: on the database of the tables.

    Raises OperationalError where others write for too long.
    """
    transaction: AbstractContextManager[object] = (database or Job._meta.database).atomic(EXCLUSIVE)
    return transaction


def exclusive_at_once(database: Database | None = None) -> AbstractContextManager[object]:
    """The same for what can be left until later: raises OperationalError at once where somebody writes."""
    transaction: AbstractContextManager[object] = (database or Job._meta.database).atomic(AT_ONCE)
    return transaction
