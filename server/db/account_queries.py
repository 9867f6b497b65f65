"""The questions about accounts that are asked at each request, in one statement each."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from server.db.account_models import User

GENERATION = "accounts_generation"  # the stored setting that has another value after each change of somebody's rights

_BY_NUMBER = """
    SELECT t.id, t.hash, t.role, t.scopes, t.expires, t.revoked_at, t.last_used,
        u.id, u.name, u.role, u.disabled_at, (SELECT value FROM switch WHERE name = 'accounts_generation')
    FROM api_token t LEFT JOIN user u ON u.id = t.user_id WHERE t.id = ?
"""
_BY_COOKIE = """
    SELECT s.id, s.csrf, s.created, s.expires, s.last_used,
        u.id, u.name, u.role, u.disabled_at, (SELECT value FROM switch WHERE name = 'accounts_generation')
    FROM session s JOIN user u ON u.id = s.user_id WHERE s.hash = ?
"""
_TEAM = """
    SELECT DISTINCT u.name FROM membership mine JOIN user_group g ON g.id = mine.group_id AND g.shares_jobs
        JOIN membership theirs ON theirs.group_id = g.id JOIN user u ON u.id = theirs.user_id
    WHERE mine.user_id = ?
"""
_MANAGED = """
    SELECT DISTINCT u.name FROM membership mine JOIN membership theirs ON theirs.group_id = mine.group_id
        JOIN user u ON u.id = theirs.user_id AND u.role <> 'admin'
    WHERE mine.user_id = ? AND mine.is_manager
"""


class AccountRow(NamedTuple):
    """What decides of a user's rights; ``id`` is None for an agent's token. ``generation`` changes with anybody's rights."""

    id: int | None
    name: str | None
    role: str | None
    disabled_at: float | None
    generation: str | None


class TokenRow(NamedTuple):
    """A token as it is checked."""

    id: int
    hash: str
    role: str
    scopes: str
    expires: float | None
    revoked_at: float | None
    last_used: float | None
    account: AccountRow


class SessionRow(NamedTuple):
    """A session as it is checked."""

    id: int
    csrf: str
    created: float
    expires: float
    last_used: float
    account: AccountRow


def token_row(number: int) -> TokenRow | None:
    """The token of that number with its user."""
    found = _one(_BY_NUMBER, number)
    return TokenRow._make((*found[:7], AccountRow._make(found[7:]))) if found else None


def session_row(cookie_hash: str) -> SessionRow | None:
    """The session whose cookie has that hash, with its user."""
    found = _one(_BY_COOKIE, cookie_hash)
    return SessionRow._make((*found[:5], AccountRow._make(found[5:]))) if found else None


def team_of(user_id: int) -> frozenset[str]:
    """The members of those groups of the user that share their jobs."""
    return _names(_TEAM, user_id)


def managed_by(user_id: int) -> frozenset[str]:
    """The members of the groups that the user manages, without administrators."""
    return _names(_MANAGED, user_id)


def manages_a_group(user_id: int) -> bool:
    """Whether the user manages any group."""
    return _one("SELECT 1 FROM membership WHERE user_id = ? AND is_manager LIMIT 1", user_id) is not None


def _one(statement: str, value: object) -> tuple[Any, ...] | None:
    found: tuple[Any, ...] | None = _asked(statement, value).fetchone()
    return found


def _names(statement: str, value: object) -> frozenset[str]:
    rows: Iterable[tuple[str]] = _asked(statement, value)
    return frozenset(name for (name,) in rows)


def _asked(statement: str, value: object) -> Any:
    return User._meta.database.execute_sql(statement, (value,))
