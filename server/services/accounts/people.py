"""Users as rows: found by name, made, and counted as administrators."""

from typing import Any

from server.db.account_models import User
from server.db.cached_sql import add
from server.services.accounts.errors import NameTaken, no_user
from server.services.accounts.rules import name_key, require_user_name

ADMIN, USER = "admin", "user"


def user_or_none(name: str) -> User | None:
    """The user of exactly that name."""
    found: User | None = User.get_or_none(User.name == name)
    return found


def user_of_key(key: str) -> User | None:
    """The user whose name people would take for that one."""
    found: User | None = User.get_or_none(User.name_key == key)
    return found


def require_user(name: str) -> User:
    """The user of that name. Raises NotFound."""
    found = user_or_none(name)
    if found is None:
        raise no_user(name)
    return found


def new_user(name: str, now: float, **fields: Any) -> User:
    """Make a user's row, in a transaction of the caller's. Raises InvalidInput, NameTaken."""
    require_user_name(name)
    key = name_key(name)
    if other := user_of_key(key):
        difference = "" if other.name == name else ", which differs only in case or in how letters are encoded"
        raise NameTaken(f"there is a user {other.name!r} already{difference}", field="name")
    user = User(name=name, name_key=key, created=now, **fields)
    add(user)
    return user


def has_administrator(besides: int | None = None) -> bool:
    """Whether there is an administrator who is not disabled, ``besides`` a user of that number."""
    found = User.select().where(User.role == ADMIN, User.disabled_at.is_null())
    return bool((found if besides is None else found.where(User.id != besides)).exists())
