"""Sessions: opened by a log-in, prolonged by use up to a limit, ended by a log-out. The cookie is known to its browser alone.

When a session or a token was used last is written now and then, and never waited for.
"""

import threading
from collections.abc import Callable

from peewee import OperationalError

from server.db.account_models import Session, User
from server.db.account_queries import SessionRow, session_row
from server.db.cached_sql import add
from server.db.transactions import exclusive_at_once
from server.services.accounts.errors import SessionExpired, SessionUnknown, UserDisabled
from server.services.accounts.rules import AccountRules
from server.services.accounts.secret_texts import hash_of, is_secret, new_secret

AGAIN_S = 1.0  # after which a write that found the database busy is tried again
MANY = 10_000
UNKNOWN = "this session was ended: log in again"


class UsageNotes:
    """Which uses are due to be written. ``every_s``: how often each one is."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()

    def is_due(self, name: str, written: float | None, now: float) -> bool:
        """Whether the use should be written, by one of the threads that ask. ``written``: the last time in the row."""
        if written is not None and 0 <= now - written < self._every_s:
            return False
        with self._lock:
            later = self._next.get(name, now)
            if later > now and later - now <= self._every_s:
                return False
            if len(self._next) >= MANY:
                self._next.clear()
            self._next[name] = now + self._every_s
            return True

    def write(self, name: str, now: float, write: Callable[[], None]) -> None:
        """Write it, unless somebody else writes at this moment; then it is due again in a second."""
        try:
            with exclusive_at_once():
                write()
        except OperationalError:
            with self._lock:
                self._next[name] = now + AGAIN_S


class Sessions:
    """The sessions of an installation. ``clock``: Unix seconds."""

    def __init__(self, clock: Callable[[], float], rules: AccountRules, usage: UsageNotes) -> None:
        self._clock = clock
        self._rules = rules
        self._usage = usage

    def open(self, user_id: int, now: float) -> str:
        """A new session's cookie. Within a transaction of the caller's; the oldest of too many ends."""
        Session.delete().where(Session.expires <= now).execute()
        own = Session.select(Session.id).where(Session.user_id == user_id).order_by(Session.last_used.desc(), Session.id.desc())
        surplus = [one.id for one in own][self._rules.sessions_per_user - 1 :]
        if surplus:
            Session.delete().where(Session.id.in_(surplus)).execute()
        cookie = new_secret()
        ends = min(now + self._rules.session_idle_s, now + self._rules.session_max_s)
        add(Session(hash=hash_of(cookie), user_id=user_id, created=now, expires=ends, last_used=now, csrf=new_secret()))
        User.update(last_seen=now).where(User.id == user_id).execute()
        return cookie

    def find(self, cookie: str) -> tuple[SessionRow, float]:
        """The session, and when it ends if it is not used again. Raises SessionUnknown, SessionExpired, UserDisabled."""
        now = self._clock()
        found = session_row(hash_of(cookie)) if is_secret(cookie) else None
        if found is None:
            raise SessionUnknown(UNKNOWN)
        ends = found.created + self._rules.session_max_s
        if now >= min(found.expires, ends):
            raise SessionExpired("the session's time is over: log in again")
        if found.account.disabled_at is not None:
            raise UserDisabled("this account is disabled: ask an administrator")
        prolonged = min(now + self._rules.session_idle_s, ends)
        if self._usage.is_due(f"session {found.id}", found.last_used, now):
            self._usage.write(f"session {found.id}", now, lambda: self._prolong(found, prolonged, now))
        return found, max(found.expires, prolonged)

    def _prolong(self, found: SessionRow, until: float, now: float) -> None:
        values = {"last_used": now, "expires": until}
        # One that was ended meanwhile stays ended, and a clock that was set back shortens none.
        Session.update(**values).where(Session.id == found.id, Session.expires <= until).execute()
        User.update(last_seen=now).where(User.id == found.account.id).execute()
