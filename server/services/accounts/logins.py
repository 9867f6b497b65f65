"""The log-ins: by password, by a link that works once, by the laboratory's directory (OIDC). Each makes a session."""

from collections.abc import Callable, Mapping

from server.db.account_models import LoginLink, Session, User
from server.errors import InvalidInput
from server.services.accounts.changes import Action, account_change, user_subject
from server.services.accounts.errors import LinkInvalid, LoginRefused, NoAccount, UserDisabled
from server.services.accounts.passwords import Passwords
from server.services.accounts.people import ADMIN, has_administrator, new_user, user_of_key, user_or_none
from server.services.accounts.rules import MAX_EMAIL, MAX_TEXT, name_key, require_email, require_user_name
from server.services.accounts.secret_texts import hash_of, is_secret
from server.services.accounts.sessions import Sessions
from server.services.principal import Established, Origin, Principal, Role

FIRST_ADMIN, INVITE = "first_admin", "invite"
NO_LINK = (
    "this link was used or has expired: ask for a new one; the first administrator's is printed at each start of `cumulus serve`"
)
MAX_SUBJECT = 1000


class Logins:
    """The ways to a session."""

    def __init__(self, clock: Callable[[], float], passwords: Passwords, sessions: Sessions) -> None:
        self._clock = clock
        self._passwords = passwords
        self._sessions = sessions

    def by_password(self, name: str, password: str, origin: Origin) -> str:
        """As :meth:`server.services.accounts.authentication.Authenticator.log_in`."""
        user = user_or_none(name)
        usable = "" if user is None or user.disabled_at is not None else user.password
        if not self._passwords.verify(usable, password) or user is None:
            raise LoginRefused("the name or the password is wrong")
        better = self._passwords.renewed(password) if self._passwords.is_old(usable) else ""
        with account_change(_who(user.name, origin), Action.LOG_IN, user_subject(user.name), self._clock(), rights=bool(better)):
            # Disabled, deleted, or given another password while the old one was checked: the log-in is too late.
            there = User.update(password=better or usable).where(
                User.id == user.id, User.password == usable, User.disabled_at.is_null()
            )
            if not there.execute():
                raise LoginRefused("the name or the password is wrong")
            return self._sessions.open(user.id, self._clock())

    def by_link(self, secret: str, name: str, password: str, origin: Origin) -> str:
        """As :meth:`server.services.accounts.authentication.Authenticator.log_in_by_link`."""
        now = self._clock()
        link = _usable_link(secret, now)
        user = _invited(link, name)
        if not password and (user is None or not user.oidc_subject):
            raise InvalidInput("choose a password", field="password")
        hashed = self._passwords.hash(password) if password else ""
        name = user.name if user else require_user_name(name)
        with account_change(_who(name, origin), Action.LOG_IN, user_subject(name), now, detail=f"by a link: {link.purpose}"):
            used = LoginLink.update(used_at=now).where(
                LoginLink.id == link.id, LoginLink.used_at.is_null(), LoginLink.expires > now
            )
            if not used.execute() or (link.purpose == FIRST_ADMIN and has_administrator()):
                raise LinkInvalid(NO_LINK)
            user_id = _redeemed(link, name, hashed, now)
            return self._sessions.open(user_id, now)

    def by_oidc(self, issuer: str, subject: str, claims: Mapping[str, object], create: bool, origin: Origin) -> str:
        """As :meth:`server.services.accounts.authentication.Authenticator.log_in_by_oidc`."""
        if not issuer or " " in issuer or not subject or len(issuer) + len(subject) > MAX_SUBJECT:
            raise LoginRefused("the directory has not said who this is")
        now, known = self._clock(), f"{issuer} {subject}"
        if user := User.get_or_none(User.oidc_subject == known):
            return self._opened(user, origin, now)
        name = _claimed_name(claims)
        with account_change(_who(name, origin), Action.LOG_IN, user_subject(name), now, detail="first by the directory"):
            user = user_of_key(name_key(name))
            if user is None and create:
                user = new_user(name, now, **_profile(claims), oidc_subject=known)
            elif user is None or not _waits_for_the_directory(user, name):
                raise NoAccount(f"there is no account for {name!r} from the directory here: ask an administrator")
            else:
                User.update(oidc_subject=known).where(User.id == user.id).execute()
            return self._sessions.open(user.id, now)

    def _opened(self, user: User, origin: Origin, now: float) -> str:
        with account_change(
            _who(user.name, origin), Action.LOG_IN, user_subject(user.name), now, rights=False, detail="by the directory"
        ):
            if not User.select().where(User.id == user.id, User.disabled_at.is_null()).exists():
                raise UserDisabled("this account is disabled: ask an administrator")
            return self._sessions.open(user.id, now)


def _who(name: str, origin: Origin) -> Principal:
    return Principal(name, frozenset({Role.USER}), Established.SESSION, origin=origin)


def _usable_link(secret: str, now: float) -> LoginLink:
    found = LoginLink.get_or_none(LoginLink.hash == hash_of(secret)) if is_secret(secret) else None
    if found is None or found.used_at is not None or now >= found.expires:
        raise LinkInvalid(NO_LINK)
    return found


def _invited(link: LoginLink, name: str) -> User | None:
    """The link's user, or the one that the first administrator's link is used for; None where there is none yet."""
    if link.purpose == FIRST_ADMIN:
        return user_or_none(name)
    user = User.get_or_none(User.id == link.user_id)
    if user is None or user.disabled_at is not None:
        raise LinkInvalid(NO_LINK)
    if name not in ("", user.name):
        raise InvalidInput("this link is for another user", field="name")
    return user


def _redeemed(link: LoginLink, name: str, hashed: str, now: float) -> int:
    """The number of the user whom the link has let in. Sessions from before end: who had the old password is out."""
    user = user_or_none(name) if link.purpose == FIRST_ADMIN else User.get_or_none(User.id == link.user_id)
    if user is None:
        return int(new_user(name, now, role=ADMIN, password=hashed).id)
    if link.purpose == INVITE and user.disabled_at is not None:
        raise LinkInvalid(NO_LINK)
    fields: dict[str, object] = {"password": hashed} if hashed else {}
    if link.purpose == FIRST_ADMIN:
        fields |= {"role": ADMIN, "disabled_at": None}
    if fields:
        User.update(**fields).where(User.id == user.id).execute()
    Session.delete().where(Session.user_id == user.id).execute()
    return int(user.id)


def _waits_for_the_directory(user: User, name: str) -> bool:
    """Whether an administrator has made the account for somebody of the directory: it has no way in yet.

    Never an administrator's: what a directory lets people call themselves gives nobody more than their own rights.
    """
    return (
        user.name == name and not user.password and user.oidc_subject is None and user.disabled_at is None and user.role != ADMIN
    )


def _claimed_name(claims: Mapping[str, object]) -> str:
    for claim in ("preferred_username", "email"):
        if name := _text(claims, claim):
            return require_user_name(name)
    raise NoAccount("the directory gives no name: it needs the claim preferred_username or email")


def _profile(claims: Mapping[str, object]) -> dict[str, str]:
    name = "".join(char for char in _text(claims, "name") if char.isprintable())[:MAX_TEXT]
    email = _text(claims, "email")[: MAX_EMAIL + 1]
    try:
        require_email(email)
    except InvalidInput:
        email = ""
    return {"display_name": name, "email": email}


def _text(claims: Mapping[str, object], claim: str) -> str:
    found = claims.get(claim)
    return found if isinstance(found, str) else ""
