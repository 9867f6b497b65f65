"""Which owners are in which groups, as presets and usage ask; accounts themselves are not known here."""

from collections.abc import Iterable
from typing import Any

from server.db.dialects.sqlite import has_table
from server.db.models import Job

_OF_USER = """
    SELECT user_group.name, membership.is_manager FROM membership
    JOIN user ON user.id = membership.user_id JOIN user_group ON user_group.id = membership.group_id WHERE user.name = ?
"""
_MEMBERS = """
    SELECT user.name, user_group.name FROM membership
    JOIN user ON user.id = membership.user_id JOIN user_group ON user_group.id = membership.group_id ORDER BY 1, 2
"""


def groups_of(owner: str) -> dict[str, bool]:
    """The groups of somebody, and whether that is a manager of each."""
    return {name: bool(is_manager) for name, is_manager in _run(_OF_USER, owner)}


def group_names() -> frozenset[str]:
    """All groups that there are."""
    return frozenset(name for (name,) in _run("SELECT name FROM user_group"))


def groups_by_owner() -> dict[str, tuple[str, ...]]:
    """The groups of each who is in one."""
    found: dict[str, tuple[str, ...]] = {}
    for owner, group in _run(_MEMBERS):
        found[owner] = (*found.get(owner, ()), group)
    return found


def _run(text: str, *values: object) -> Iterable[tuple[Any, ...]]:
    database = Job._meta.database
    if not has_table(database, "membership"):  # a database of before there were accounts, which is only read
        return ()
    found: Iterable[tuple[Any, ...]] = database.execute_sql(text, values)
    return found
