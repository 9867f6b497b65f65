"""Links that log somebody in once: the first administrator's at a start of the controller, and invitations."""

from collections.abc import Callable
from urllib.parse import quote

from server.db.account_models import LoginLink
from server.db.cached_sql import add
from server.engine.records.account_roster import WHO
from server.errors import InvalidInput
from server.services.accounts.changes import Action, account_change, require_change, user_subject
from server.services.accounts.logins import FIRST_ADMIN, INVITE
from server.services.accounts.people import has_administrator, require_user
from server.services.accounts.rules import AccountRules
from server.services.accounts.secret_texts import hash_of, new_secret
from server.services.accounts.views import NewLink
from server.services.principal import Principal, Role

LOGIN_PATH = "/login/link"


def link_url(base_url: str, secret: str) -> str:
    """The link as people open it."""
    return f"{base_url.rstrip('/')}{LOGIN_PATH}?secret={quote(secret)}"


class LinkService:
    """Invitations. ``clock``: Unix seconds."""

    def __init__(self, clock: Callable[[], float], rules: AccountRules | None = None) -> None:
        self._clock = clock
        self._rules = rules or AccountRules()

    def invite(self, principal: Principal, name: str) -> NewLink:
        """A link by which a user chooses a password, once, within three days; it replaces an earlier one.

        Raises Forbidden, NotFound, InvalidInput.
        """
        require_change(principal)
        principal.require(Role.ADMINISTRATOR)
        now = self._clock()
        with account_change(principal, Action.INVITE, user_subject(name), now):
            user = require_user(name)
            if user.disabled_at is not None:
                raise InvalidInput(f"{name} is disabled: enable the user first", field="user")
            LoginLink.delete().where(LoginLink.user_id == user.id).execute()
            return _new_link(INVITE, now, self._rules.invite_s, user.id)


class FirstAdmin:
    """The way in of an installation that has no administrator yet."""

    def __init__(self, clock: Callable[[], float], rules: AccountRules | None = None) -> None:
        self._clock = clock
        self._rules = rules or AccountRules()

    def link(self, base_url: str) -> str | None:
        """A link by which somebody becomes the first administrator, once, within a day; it replaces an earlier one.

        None while there is an administrator.
        """
        if has_administrator():
            return None
        now = self._clock()
        # The next start replaces it, also one that a backup has: nothing is given back, and no roster needed.
        with account_change(Principal.local_admin(WHO), Action.FIRST_ADMIN_LINK, "first administrator", now, rights=False):
            LoginLink.delete().where(LoginLink.purpose == FIRST_ADMIN).execute()
            made = _new_link(FIRST_ADMIN, now, self._rules.first_admin_s, None)
        return link_url(base_url, made.secret)


def _new_link(purpose: str, now: float, lasts_s: float, user_id: int | None) -> NewLink:
    secret = new_secret()
    add(LoginLink(hash=hash_of(secret), purpose=purpose, user_id=user_id, created=now, expires=now + lasts_s))
    return NewLink(secret, now + lasts_s)
