"""Who somebody is: by a token, by a session, or by logging in. What was refused is recorded by whoever has the request.

A token and its user are read at each check, so what is revoked or disabled is refused at once. Whose jobs a user may see or
change is remembered until anybody's rights change (:data:`server.db.account_queries.GENERATION`).
"""

import threading
from collections.abc import Callable, Mapping

from server.db.account_models import ApiToken, Session, User
from server.db.account_queries import AccountRow, TokenRow, managed_by, manages_a_group, team_of, token_row
from server.services.accounts.audit import AuditRetention
from server.services.accounts.changes import Action, account_change, user_subject
from server.services.accounts.errors import TokenExpired, TokenRevoked, TokenUnknown, UserDisabled
from server.services.accounts.logins import Logins
from server.services.accounts.passwords import Passwords
from server.services.accounts.rules import AccountRules
from server.services.accounts.secret_texts import TokenText, csrf_of, hash_of, is_secret, parse_token, same
from server.services.accounts.sessions import Sessions, UsageNotes
from server.services.accounts.views import SessionView
from server.services.principal import ALL_SCOPES, Established, Origin, Principal, Role, Scope

ADMIN = "admin"
NOWHERE = Origin()
_NO_HASH = hash_of("")


class Authenticator:
    """The ways in, on the database that is open. ``clock``: Unix seconds."""

    def __init__(
        self, clock: Callable[[], float], *, passwords: Passwords | None = None, rules: AccountRules | None = None
    ) -> None:
        rules = rules or AccountRules()
        self._clock = clock
        self._usage = UsageNotes(rules.used_s)
        self._sessions = Sessions(clock, rules, self._usage)
        self._logins = Logins(clock, passwords or Passwords(), self._sessions)
        self._rights = _Rights()
        self._retention = AuditRetention(clock, rules)

    def by_token(self, text: str) -> Principal:
        """Who has this token. Raises TokenUnknown, TokenRevoked, TokenExpired, UserDisabled."""
        now = self._clock()
        token = _require_token(parse_token(text), now)
        name = f"token {token.id}"
        if self._usage.is_due(name, token.last_used, now):
            self._usage.write(name, now, lambda: _note_use(token, now))
        scopes = _scopes(token.scopes)
        if token.account.id is None:
            return Principal("agent", frozenset({Role.AGENT}), Established.TOKEN, scopes, token_id=token.id)
        return self._principal(token.account, Established.TOKEN, scopes, token.id)

    def by_session(self, cookie: str) -> SessionView:
        """The session of this cookie, prolonged by its use. Raises SessionUnknown, SessionExpired, UserDisabled."""
        found, ends = self._sessions.find(cookie)
        principal = self._principal(found.account, Established.SESSION, ALL_SCOPES, None)
        return SessionView(principal, csrf_of(cookie, found.csrf), ends)

    def log_in(self, name: str, password: str, *, origin: Origin = NOWHERE) -> str:
        """A new session's cookie. Raises LoginRefused, which says and takes the same whoever there is; TooManyLogins."""
        self._retention.prune_if_due()
        return self._logins.by_password(name, password, origin)

    def log_in_by_link(self, secret: str, name: str, password: str = "", *, origin: Origin = NOWHERE) -> str:
        """Use a link, once; returns a new session's cookie.

        The first administrator's makes ``name`` an administrator, with this password; one that has a log-in by the directory
        needs none. An invitation sets the password of its user. Raises LinkInvalid, InvalidInput, TooManyLogins.
        """
        self._retention.prune_if_due()
        return self._logins.by_link(secret, name, password, origin)

    def log_in_by_oidc(
        self, issuer: str, subject: str, claims: Mapping[str, object], *, create: bool, origin: Origin = NOWHERE
    ) -> str:
        """A new session's cookie for whom the directory knows; ``create``: make an account where there is none.

        Raises NoAccount, UserDisabled, NameTaken, InvalidInput.
        """
        self._retention.prune_if_due()
        return self._logins.by_oidc(issuer, subject, claims, create, origin)

    def require_enabled(self, name: str) -> None:
        """For whom the kernel vouches. Raises UserDisabled where the account of that name, if there is one, is disabled."""
        if User.select().where(User.name == name, User.disabled_at.is_null(is_null=False)).exists():
            raise UserDisabled("this account is disabled: ask an administrator")

    def log_out(self, cookie: str, *, origin: Origin = NOWHERE) -> None:
        """End the session of this cookie, if there is one."""
        cookie_hash = hash_of(cookie) if is_secret(cookie) else ""
        user = User.select().join(Session, on=(Session.user_id == User.id)).where(Session.hash == cookie_hash).first()
        if user is None:
            return
        who = Principal(user.name, frozenset({Role.USER}), Established.SESSION, origin=origin)
        with account_change(who, Action.LOG_OUT, user_subject(user.name), self._clock()):
            Session.delete().where(Session.hash == cookie_hash).execute()

    def _principal(self, account: AccountRow, how: Established, scopes: frozenset[Scope], token_id: int | None) -> Principal:
        team, managed, manages = self._rights.of(account)
        roles = {Role.USER}
        if manages:
            roles.add(Role.GROUP_MANAGER)
        if account.role == ADMIN and Scope.ADMIN in scopes:
            roles.add(Role.ADMINISTRATOR)
        return Principal(str(account.name), frozenset(roles), how, scopes, team, managed, token_id)


class _Rights:
    """Whose jobs each user may see and change, until anybody's rights change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._generation: str | None = None
        self._known: dict[int, tuple[frozenset[str], frozenset[str], bool]] = {}

    def of(self, account: AccountRow) -> tuple[frozenset[str], frozenset[str], bool]:
        """The team, those that are managed, and whether the user manages any group."""
        assert account.id is not None
        with self._lock:
            if self._generation == account.generation and (found := self._known.get(account.id)):
                return found
        made = team_of(account.id), managed_by(account.id), manages_a_group(account.id)
        with self._lock:
            if self._generation != account.generation:
                self._generation, self._known = account.generation, {}
            self._known[account.id] = made
        return made


def _require_token(given: TokenText | None, now: float) -> TokenRow:
    token = token_row(given.number) if given else None
    is_right = same(token.hash if token else _NO_HASH, hash_of(given.secret if given else ""))
    if token is None or given is None or not is_right:
        raise TokenUnknown("there is no such token: make a new one")
    if token.revoked_at is not None:
        raise TokenRevoked(f"token {token.id} was revoked: make a new one")
    if token.expires is not None and now >= token.expires:
        raise TokenExpired(f"token {token.id} has expired: make a new one")
    if token.account.disabled_at is not None:
        raise UserDisabled("this account is disabled: ask an administrator")
    return token


def _note_use(token: TokenRow, now: float) -> None:
    ApiToken.update(last_used=now).where(ApiToken.id == token.id).execute()
    if token.account.id is not None:
        User.update(last_seen=now).where(User.id == token.account.id).execute()


def _scopes(text: str) -> frozenset[Scope]:
    known = {scope.value for scope in Scope}
    return frozenset(Scope(word) for word in text.split() if word in known)
