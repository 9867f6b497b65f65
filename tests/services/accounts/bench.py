"""How long a token's and a session's check takes: ``python -m tests.services.accounts.bench``. No test; it prints figures.

A thousand users in fifty groups, two thousand tokens; each check is of another user's token than the one before.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from server.db.account_models import Membership, User, UserGroup
from server.db.cached_sql import add
from server.db.connection import open_database
from server.db.transactions import exclusive
from server.services.accounts.rules import name_key
from tests.services.accounts.conftest import NOW, PASSWORD, ROOT, Accounts, Clock

USERS, GROUPS, ROUNDS = 1000, 50, 20
MS = 1000.0


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(Path(folder) / "cumulus.sqlite")
        database.guard()
        try:
            _measure(Accounts(clock := Clock()), clock)
        finally:
            database.close()


def _measure(accounts: Accounts, clock: Clock) -> None:
    _fill()
    texts = [accounts.tokens.create(ROOT, "t", ["read"], owner=f"user{number % USERS}").text for number in range(2 * USERS)]
    for number in range(20):
        accounts.users.set_password(ROOT, f"user{number}", PASSWORD)
    cookies = [accounts.authenticator.log_in(f"user{number}", PASSWORD) for number in range(20)]
    _say("token, first use since a change of rights (its use is written)", accounts.authenticator.by_token, texts)
    for _ in range(ROUNDS):
        _times(accounts.authenticator.by_token, texts)
    _say("token", accounts.authenticator.by_token, texts)
    _say("token, one client's", accounts.authenticator.by_token, texts[:1] * len(texts))
    _say("session", accounts.authenticator.by_session, cookies * 100)
    clock.now += 61
    _say("token, its use is written", accounts.authenticator.by_token, texts)


def _fill() -> None:
    with exclusive():
        for number in range(GROUPS):
            add(UserGroup(name=f"group{number}", name_key=name_key(f"group{number}"), shares_jobs=True, created=NOW))
        for number in range(USERS):
            user = User(name=f"user{number}", name_key=f"user{number}", created=NOW)
            add(user)
            add(Membership(user_id=user.id, group_id=1 + number % GROUPS, is_manager=number < GROUPS))


def _times(check: Callable[[str], object], texts: Sequence[str]) -> list[float]:
    found = []
    for text in texts:
        begun = time.perf_counter()
        check(text)
        found.append((time.perf_counter() - begun) * MS)
    return found


def _say(what: str, check: Callable[[str], object], texts: Sequence[str]) -> None:
    found = sorted(_times(check, texts))
    p99 = found[int(len(found) * 0.99)]
    sys.stdout.write(f"{what}: median {statistics.median(found):.3f} ms, p99 {p99:.3f} ms, of {len(found)}\n")


if __name__ == "__main__":
    main()
