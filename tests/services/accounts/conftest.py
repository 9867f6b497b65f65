"""A database with accounts, a clock that tests move, and hashes that take no time."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from server.db.connection import open_database
from server.db.dialects.sqlite_database import Database
from server.services.accounts.authentication import Authenticator
from server.services.accounts.groups import GroupService
from server.services.accounts.links import FirstAdmin, LinkService
from server.services.accounts.passwords import Passwords
from server.services.accounts.rules import AccountRules
from server.services.accounts.tokens import TokenService
from server.services.accounts.users import NewUser, UserService
from server.services.principal import Principal

NOW = 1_900_000_000.0
ROOT = Principal.local_admin("root")
PASSWORD = "correct horse battery"


class Clock:
    """Unix seconds that stand still unless they are moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Accounts:
    """All services on one database."""

    def __init__(self, clock: Clock, rules: AccountRules | None = None) -> None:
        self.clock = clock
        self.passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        self.authenticator = Authenticator(clock, passwords=self.passwords, rules=rules)
        self.users = UserService(clock, self.passwords)
        self.groups = GroupService(clock)
        self.tokens = TokenService(clock, rules)
        self.links = LinkService(clock, rules)
        self.first_admin = FirstAdmin(clock, rules)

    def user(self, name: str, role: str = "user", password: str = PASSWORD) -> str:
        """Make a user; returns the name."""
        return self.users.create(ROOT, NewUser(name, role=role, password=password)).name

    def session(self, name: str) -> Principal:
        """Log a user in, who has the tests' password."""
        return self.authenticator.by_session(self.authenticator.log_in(name, PASSWORD)).principal

    def token(self, name: str, *scopes: str) -> str:
        """A token of a user, made by an administrator."""
        return self.tokens.create(ROOT, "test", scopes or ("read", "submit", "admin"), owner=name).text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database lies."""
    return tmp_path / "cumulus.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """One that is open."""
    opened = open_database(path)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def accounts(database: Database, clock: Clock) -> Accounts:
    """All services."""
    return Accounts(clock)
