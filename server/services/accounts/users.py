"""Users: made, changed, disabled and deleted by administrators; everybody changes the own name, address and password."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from server.db.account_models import ApiToken, LoginLink, Membership, Session, User
from server.db.models import Job, StoredSetting
from server.engine.records.account_roster import RESTORED
from server.errors import InvalidInput
from server.services.accounts.changes import Action, account_change, require_change, require_reading, user_subject
from server.services.accounts.errors import LastAdministrator, UserHasJobs, WrongPassword, no_user
from server.services.accounts.passwords import Passwords
from server.services.accounts.people import ADMIN, USER, has_administrator, new_user, require_user
from server.services.accounts.rules import require_display_name, require_email, require_quota
from server.services.accounts.views import UserView, groups_of_users, user_view
from server.services.principal import Established, Principal, Role

MAX_SUBJECT = 1000


@dataclass(frozen=True)
class NewUser:
    """A user to be made. Without a password: by an invitation, or at the first log-in by the directory."""

    name: str
    display_name: str = ""
    email: str = ""
    role: str = USER
    password: str = field(default="", repr=False)
    oidc_subject: str | None = None
    quota_gb: float | None = None


@dataclass(frozen=True)
class UserChanges:
    """What to change of a user; None: as it is. ``no_quota`` takes the quota away, ``no_oidc`` the log-in by the directory."""

    display_name: str | None = None
    email: str | None = None
    role: str | None = None
    quota_gb: float | None = None
    no_quota: bool = False
    oidc_subject: str | None = None
    no_oidc: bool = False


class UserService:
    """The users of the database that is open. ``clock``: Unix seconds."""

    def __init__(self, clock: Callable[[], float], passwords: Passwords | None = None) -> None:
        self._clock = clock
        self._passwords = passwords or Passwords()

    def list(self, principal: Principal) -> list[UserView]:
        """The users whom the principal may see, by name: an administrator all, a manager the own groups', everybody themselves.

        Raises Forbidden.
        """
        require_reading(principal)
        groups = groups_of_users()
        found = User.select().order_by(User.name)
        if not principal.is_administrator:
            found = found.where(User.name.in_(_visible(principal)))
        return [user_view(user, groups.get(user.id, {})) for user in found]

    def get(self, principal: Principal, name: str) -> UserView:
        """One user. Raises Forbidden, NotFound."""
        require_reading(principal)
        return _view(_seen(principal, name))

    def create(self, principal: Principal, given: NewUser) -> UserView:
        """Make a user. Raises Forbidden, InvalidInput, NameTaken, TooManyLogins."""
        _require_administrator(principal)
        fields = {
            "display_name": require_display_name(given.display_name),
            "email": require_email(given.email),
            "role": _role(given.role),
            "password": self._passwords.hash(given.password) if given.password else "",
            "oidc_subject": _subject(given.oidc_subject, ""),
            "quota_gb": require_quota(given.quota_gb),
        }
        now = self._clock()
        with account_change(principal, Action.USER_CREATE, user_subject(given.name), now, detail=f"role {given.role}"):
            return _view(new_user(given.name, now, **fields))

    def change(self, principal: Principal, name: str, changes: UserChanges) -> UserView:
        """Change a user: everybody the own display name and e-mail, an administrator all.

        Raises Forbidden, NotFound, InvalidInput, LastAdministrator.
        """
        require_change(principal)
        user = _seen(principal, name)
        fields = _fields(changes, name)
        if set(fields) - {"display_name", "email"} or principal.name != name:
            principal.require(Role.ADMINISTRATOR)
        detail = ", ".join(f"{one}={value}" if one in ("role", "quota_gb") else one for one, value in sorted(fields.items()))
        with account_change(principal, Action.USER_CHANGE, user_subject(name), self._clock(), detail=detail):
            if fields.get("role") == USER:
                _require_another_administrator(user.id)
            if fields:
                User.update(**fields).where(User.id == user.id).execute()
            return _view(require_user(name))

    def set_password(self, principal: Principal, name: str, new: str, old: str = "") -> None:
        """Set a password: the own with the old one; an administrator anybody's else. All sessions of the user end.

        Raises Forbidden, NotFound, WrongPassword, InvalidInput, TooManyLogins.
        """
        require_change(principal)
        user = _seen(principal, name)
        if principal.name != name:
            principal.require(Role.ADMINISTRATOR)
        elif principal.established is not Established.LOCAL_ADMIN and not self._passwords.verify(user.password, old):
            raise WrongPassword("the old password is another one", field="old")
        hashed = self._passwords.hash(new, field="new")
        with account_change(principal, Action.USER_PASSWORD, user_subject(name), self._clock()):
            if not User.update(password=hashed).where(User.id == user.id, User.password == user.password).execute():
                raise WrongPassword("the password was changed meanwhile", field="old")
            _end_ways_in(user.id, self._clock(), tokens=False)

    def disable(self, principal: Principal, name: str) -> UserView:
        """Let a user in no more; tokens, sessions and links end at once, jobs go on.

        Raises Forbidden, NotFound, LastAdministrator.
        """
        _require_administrator(principal)
        now = self._clock()
        with account_change(principal, Action.USER_DISABLE, user_subject(name), now) as note:
            user = require_user(name)
            _require_another_administrator(user.id)
            disabled = User.update(disabled_at=now).where(User.id == user.id, User.disabled_at.is_null())
            note.is_done = bool(disabled.execute())
            _end_ways_in(user.id, now)
            return _view(require_user(name))

    def enable(self, principal: Principal, name: str) -> UserView:
        """Let a disabled user in again; the tokens from before stay revoked. Raises Forbidden, NotFound."""
        _require_administrator(principal)
        with account_change(principal, Action.USER_ENABLE, user_subject(name), self._clock()) as note:
            user = require_user(name)
            enabled = User.update(disabled_at=None).where(User.id == user.id, User.disabled_at.is_null(is_null=False))
            note.is_done = bool(enabled.execute())
            return _view(require_user(name))

    def enable_restored(self, principal: Principal) -> tuple[str, ...]:
        """Enable all whom the start after a restored backup has disabled; returns their names. Raises Forbidden."""
        _require_administrator(principal)
        at = StoredSetting.select(StoredSetting.at).where(StoredSetting.name == RESTORED).scalar()
        with account_change(principal, Action.USER_ENABLE, "users of a restored backup", self._clock()) as note:
            names = [user.name for user in User.select().where(User.disabled_at == at).order_by(User.name)] if at else []
            User.update(disabled_at=None).where(User.name.in_(names)).execute()
            note.detail = ", ".join(names)
            return tuple(names)

    def delete(self, principal: Principal, name: str) -> None:
        """Delete a user who has no jobs. Raises Forbidden, NotFound, UserHasJobs, LastAdministrator."""
        _require_administrator(principal)
        with account_change(principal, Action.USER_DELETE, user_subject(name), self._clock()):
            user = require_user(name)
            _require_another_administrator(user.id)
            if number := Job.select().where(Job.owner == name, Job.state != "deleted").count():
                raise UserHasJobs(f"{number} jobs are {name}'s: disable the user instead, or delete the jobs first", field="user")
            User.delete().where(User.id == user.id).execute()


def _end_ways_in(user_id: int, now: float, *, tokens: bool = True) -> None:
    Session.delete().where(Session.user_id == user_id).execute()
    LoginLink.update(used_at=now).where(LoginLink.user_id == user_id, LoginLink.used_at.is_null()).execute()
    if tokens:
        ApiToken.update(revoked_at=now).where(ApiToken.user_id == user_id, ApiToken.revoked_at.is_null()).execute()


def _require_administrator(principal: Principal) -> None:
    require_change(principal)
    principal.require(Role.ADMINISTRATOR)


def _require_another_administrator(user_id: int) -> None:
    user = User.get_by_id(user_id)
    if user.role == ADMIN and user.disabled_at is None and not has_administrator(besides=user_id):
        raise LastAdministrator(f"{user.name} is the only administrator: make another one first", field="user")


def _visible(principal: Principal) -> frozenset[str]:
    """The names of those whom somebody sees who is no administrator."""
    if Role.GROUP_MANAGER not in principal.roles:
        return frozenset({principal.name})
    mine = Membership.select(Membership.group_id).join(User, on=(User.id == Membership.user_id))
    mine = mine.where(User.name == principal.name, Membership.is_manager)
    theirs = User.select(User.name).join(Membership, on=(Membership.user_id == User.id)).where(Membership.group_id.in_(mine))
    return frozenset({principal.name, *(user.name for user in theirs)})


def _seen(principal: Principal, name: str) -> User:
    if not principal.is_administrator and name not in _visible(principal):
        raise no_user(name)
    return require_user(name)


def _view(user: User) -> UserView:
    return user_view(user, groups_of_users().get(user.id, {}))


def _fields(changes: UserChanges, name: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if changes.display_name is not None:
        fields["display_name"] = require_display_name(changes.display_name)
    if changes.email is not None:
        fields["email"] = require_email(changes.email)
    if changes.role is not None:
        fields["role"] = _role(changes.role)
    if changes.no_quota or changes.quota_gb is not None:
        fields["quota_gb"] = None if changes.no_quota else require_quota(changes.quota_gb)
    if changes.no_oidc or changes.oidc_subject is not None:
        fields["oidc_subject"] = None if changes.no_oidc else _subject(changes.oidc_subject, name)
    return fields


def _role(role: str) -> str:
    if role not in (USER, ADMIN):
        raise InvalidInput(f"a role is {USER} or {ADMIN}, not {role[:40]!r}", field="role")
    return role


def _subject(subject: str | None, name: str) -> str | None:
    """The directory's issuer and subject, with a blank between. Raises InvalidInput."""
    if subject is None:
        return None
    issuer, _, inner = subject.partition(" ")
    if not issuer or not inner or len(subject) > MAX_SUBJECT or not subject.isprintable():
        raise InvalidInput(
            "a subject of the directory is its issuer and the person's `sub`, with a blank between", field="oidc_subject"
        )
    other = User.get_or_none(User.oidc_subject == subject)
    if other is not None and other.name != name:
        raise InvalidInput(f"{other.name} logs in as that subject already", field="oidc_subject")
    return subject
