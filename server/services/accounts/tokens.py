"""API tokens: made by their users, an agent's by an administrator; shown once, revoked at once."""

from collections.abc import Callable, Iterable

from server.db.account_models import ApiToken, Session, User
from server.db.cached_sql import add
from server.errors import InvalidInput
from server.services.accounts.changes import (
    Action,
    account_change,
    require_change,
    require_reading,
    token_subject,
)
from server.services.accounts.errors import UserDisabled, no_token
from server.services.accounts.people import require_user
from server.services.accounts.rules import DAY_S, AccountRules, require_token_name
from server.services.accounts.secret_texts import hash_of, new_secret, token_text
from server.services.accounts.views import NewToken, TokenView, token_view
from server.services.principal import Principal, Role, Scope, ScopeMissing

AGENT = "agent"
MAX_NUMBER = (1 << 63) - 1
AGENT_SCOPES = frozenset({Scope.READ, Scope.SUBMIT})


class TokenService:
    """The tokens of the database that is open. ``clock``: Unix seconds."""

    def __init__(self, clock: Callable[[], float], rules: AccountRules | None = None) -> None:
        self._clock = clock
        self._rules = rules or AccountRules()

    def create(
        self, principal: Principal, name: str, scopes: Iterable[str], *, days: int | None = None, owner: str = ""
    ) -> NewToken:
        """Make a token; its text is returned this once. ``days`` until it expires, by default 90.

        ``owner``: by default the principal's own; an administrator may make one for another user. ADMIN brings READ and SUBMIT.
        Raises Forbidden, NotFound, InvalidInput.
        """
        require_change(principal)
        if owner and owner != principal.name:
            principal.require(Role.ADMINISTRATOR)
        wanted = _scopes(scopes)
        if lacking := sorted(wanted - principal.scopes):
            raise ScopeMissing(
                f"your own token lacks the scope {', '.join(lacking)}, and so does each that it makes", field="scopes"
            )
        user = require_user(owner or principal.name)
        if user.disabled_at is not None:
            raise InvalidInput(f"{user.name} is disabled and uses no token", field="owner")
        return self._create(principal, require_token_name(name), wanted, self._expiry(days), user)

    def create_for_agent(self, principal: Principal, name: str, *, days: int | None = None) -> NewToken:
        """Make a token for an agent, which is no user. Raises Forbidden, InvalidInput."""
        require_change(principal)
        principal.require(Role.ADMINISTRATOR)
        return self._create(principal, require_token_name(name), AGENT_SCOPES, self._expiry(days), None)

    def list(self, principal: Principal, *, everybodys: bool = False) -> list[TokenView]:
        """The principal's tokens, newest first; ``everybodys``: all, for an administrator. Raises Forbidden."""
        require_reading(principal)
        if everybodys:
            principal.require(Role.ADMINISTRATOR)
        owners = {user.id: user.name for user in User.select(User.id, User.name)}
        rows = ApiToken.select().order_by(ApiToken.id.desc())
        views = [token_view(token, owners.get(token.user_id or 0, "")) for token in rows]
        return [view for view in views if everybodys or view.owner == principal.name]

    def revoke(self, principal: Principal, number: int) -> TokenView:
        """Let a token be used no more, from now on; one that was revoked before stays as it was.

        A token may revoke itself, whatever its scopes. Raises Forbidden, NotFound.
        """
        if principal.token_id != number:
            require_change(principal)
        token = ApiToken.get_or_none(ApiToken.id == number) if 0 < number <= MAX_NUMBER else None
        owner = _owner(token)
        if token is None or not (principal.token_id == number or principal.is_administrator or owner == principal.name):
            raise no_token(number)
        if token.revoked_at is not None:
            return token_view(token, owner)
        now = self._clock()
        with account_change(principal, Action.TOKEN_REVOKE, token_subject(number), now, detail=f"{token.name!r}") as note:
            revoked = ApiToken.update(revoked_at=now).where(ApiToken.id == number, ApiToken.revoked_at.is_null())
            note.is_done = bool(revoked.execute())
            return token_view(ApiToken.get_by_id(number), owner)

    def revoke_all(self, principal: Principal) -> int:
        """Revoke everybody's tokens and end all sessions, such as after the home was restored whole; how many tokens.

        Raises Forbidden.
        """
        require_change(principal)
        principal.require(Role.ADMINISTRATOR)
        now = self._clock()
        with account_change(principal, Action.TOKEN_REVOKE, "all tokens and sessions", now) as note:
            revoked = int(ApiToken.update(revoked_at=now).where(ApiToken.revoked_at.is_null()).execute())
            note.detail = f"{revoked} tokens, {Session.delete().execute()} sessions"
            return revoked

    def _create(self, principal: Principal, name: str, scopes: Iterable[Scope], expires: float, user: User | None) -> NewToken:
        now, secret = self._clock(), new_secret()
        with account_change(principal, Action.TOKEN_CREATE, "token", now, rights=False) as note:
            if user is not None:
                self._require_room(user.id, now)
            token = ApiToken(
                user_id=user.id if user else None,
                name=name,
                role="" if user else AGENT,
                hash=hash_of(secret),
                scopes=" ".join(sorted(scopes)),
                created=now,
                created_by=principal.name,
                expires=expires,
            )
            add(token)
            owner = user.name if user else ""
            note.subject = token_subject(token.id)
            note.detail = f"{name!r} of {f'user {owner}' if owner else 'an agent'}: {token.scopes}"
        return NewToken(token_view(ApiToken.get_by_id(token.id), owner), token_text(token.id, secret))

    def _require_room(self, user_id: int, now: float) -> None:
        """Raises UserDisabled where the user was disabled meanwhile, InvalidInput where there are too many tokens."""
        if User.get_by_id(user_id).disabled_at is not None:
            raise UserDisabled("this account is disabled: ask an administrator")
        usable = ApiToken.select().where(ApiToken.user_id == user_id, ApiToken.revoked_at.is_null(), ApiToken.expires > now)
        if usable.count() >= self._rules.tokens_per_user:
            raise InvalidInput(f"a user has {self._rules.tokens_per_user} tokens at most: revoke one first", field="name")

    def _expiry(self, days: int | None) -> float:
        days = self._rules.token_days if days is None else days
        if not 1 <= days <= self._rules.token_max_days:
            raise InvalidInput(f"a token lasts 1 to {self._rules.token_max_days} days", field="days")
        return self._clock() + days * DAY_S


def _owner(token: ApiToken | None) -> str:
    """The name of the token's user; "" of an agent's."""
    return "" if token is None or token.user_id is None else str(User.get_by_id(token.user_id).name)


def _scopes(given: Iterable[str]) -> frozenset[Scope]:
    """What a token is made for. Raises InvalidInput."""
    words, known = set(given), [scope.value for scope in Scope]
    if not words or words - set(known):
        raise InvalidInput(f"scopes are one or more of {', '.join(known)}", field="scopes")
    return frozenset(Scope) if Scope.ADMIN in words else frozenset(map(Scope, words))
