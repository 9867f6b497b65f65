"""Groups: made by administrators, their members added and removed by their managers, too."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from server.db.account_models import Membership, User, UserGroup
from server.db.cached_sql import add
from server.services.accounts.changes import Action, account_change, group_subject, require_change, require_reading
from server.services.accounts.errors import NameTaken, no_group, no_user
from server.services.accounts.people import ADMIN, require_user, user_or_none
from server.services.accounts.rules import name_key, require_group_name, require_quota
from server.services.accounts.views import GroupView, MemberView, group_view
from server.services.principal import Forbidden, Principal, Role


@dataclass(frozen=True)
class GroupChanges:
    """What to change of a group; None: as it is. ``no_quota`` takes the quota away."""

    shares_jobs: bool | None = None
    quota_gb: float | None = None
    no_quota: bool = False


class GroupService:
    """The groups of the database that is open. ``clock``: Unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def list(self, principal: Principal) -> list[GroupView]:
        """The groups by name: an administrator's all, anybody else's own. Raises Forbidden."""
        require_reading(principal)
        members = _members()
        views = [group_view(group, members.get(group.id, ())) for group in UserGroup.select().order_by(UserGroup.name)]
        return [view for view in views if _may_see(principal, view)]

    def get(self, principal: Principal, name: str) -> GroupView:
        """One group. Raises Forbidden, NotFound."""
        require_reading(principal)
        view = _view(_require_group(name))
        if not _may_see(principal, view):
            raise no_group(name)
        return view

    def create(self, principal: Principal, name: str, *, shares_jobs: bool = False, quota_gb: float | None = None) -> GroupView:
        """Make a group without members. Raises Forbidden, InvalidInput, NameTaken."""
        _require_administrator(principal)
        now, key = self._clock(), name_key(require_group_name(name))
        fields = {"shares_jobs": shares_jobs, "quota_gb": require_quota(quota_gb)}
        with account_change(principal, Action.GROUP_CREATE, group_subject(name), now, detail=_listed(fields)):
            if other := UserGroup.get_or_none(UserGroup.name_key == key):
                raise NameTaken(f"there is a group {other.name!r} already", field="name")
            group = UserGroup(name=name, name_key=key, created=now, **fields)
            add(group)
            return _view(group)

    def change(self, principal: Principal, name: str, changes: GroupChanges) -> GroupView:
        """Change whether its members see each other's jobs, and its quota. Raises Forbidden, NotFound, InvalidInput."""
        _require_administrator(principal)
        fields: dict[str, Any] = {} if changes.shares_jobs is None else {"shares_jobs": changes.shares_jobs}
        if changes.no_quota or changes.quota_gb is not None:
            fields["quota_gb"] = None if changes.no_quota else require_quota(changes.quota_gb)
        with account_change(principal, Action.GROUP_CHANGE, group_subject(name), self._clock(), detail=_listed(fields)):
            group = _require_group(name)
            if fields:
                UserGroup.update(**fields).where(UserGroup.id == group.id).execute()
            return _view(_require_group(name))

    def delete(self, principal: Principal, name: str) -> None:
        """Delete a group; its members stay users. Raises Forbidden, NotFound."""
        _require_administrator(principal)
        with account_change(principal, Action.GROUP_DELETE, group_subject(name), self._clock()):
            UserGroup.delete().where(UserGroup.id == _require_group(name).id).execute()

    def add_member(self, principal: Principal, group: str, user: str, *, is_manager: bool = False) -> GroupView:
        """Put a user into a group, or change whether a member manages it.

        A manager adds anybody who is no administrator, and makes nobody a manager. Raises Forbidden, NotFound.
        """
        require_change(principal)
        detail = f"user {user}" + (" as a manager" if is_manager else "")
        with account_change(principal, Action.MEMBER_ADD, group_subject(group), self._clock(), detail=detail):
            found = _managed(principal, group)
            # A manager may add whom they cannot see: the name is all that they learn.
            member = require_user(user)
            there = Membership.get_or_none(Membership.group_id == found.id, Membership.user_id == member.id)
            if not principal.is_administrator:
                if is_manager or (there is not None and there.is_manager):
                    raise Forbidden("only an administrator says who manages a group")
                if member.role == ADMIN:
                    raise Forbidden(f"only an administrator adds an administrator such as {member.name} to a group")
            if there is None:
                add(Membership(user_id=member.id, group_id=found.id, is_manager=is_manager))
            else:
                Membership.update(is_manager=is_manager).where(Membership.id == there.id).execute()
            return _view(found)

    def remove_member(self, principal: Principal, group: str, user: str) -> GroupView:
        """Take a user out of a group; a manager takes out nobody who manages it. Raises Forbidden, NotFound."""
        require_change(principal)
        with account_change(principal, Action.MEMBER_REMOVE, group_subject(group), self._clock(), detail=f"user {user}"):
            found = _managed(principal, group)
            member = user_or_none(user)
            there = member and Membership.get_or_none(Membership.group_id == found.id, Membership.user_id == member.id)
            if not there:
                raise no_user(user)
            if there.is_manager and not principal.is_administrator:
                raise Forbidden("only an administrator takes a manager out of a group")
            Membership.delete().where(Membership.id == there.id).execute()
            return _view(found)


def _require_administrator(principal: Principal) -> None:
    require_change(principal)
    principal.require(Role.ADMINISTRATOR)


def _require_group(name: str) -> UserGroup:
    found: UserGroup | None = UserGroup.get_or_none(UserGroup.name == name)
    if found is None:
        raise no_group(name)
    return found


def _managed(principal: Principal, name: str) -> UserGroup:
    """A group whose members the principal may change, as the database has it now. Raises NotFound, Forbidden."""
    group = UserGroup.get_or_none(UserGroup.name == name)
    if principal.is_administrator:
        return _require_group(name)
    principal.require(Role.GROUP_MANAGER)
    own = Membership.select().join(User, on=(User.id == Membership.user_id)).where(User.name == principal.name)
    own = own.where(Membership.group_id == (group.id if group else 0)).first()
    if group is None or own is None:
        raise no_group(name)
    if not own.is_manager:
        raise Forbidden(f"only those who manage the group {name} may do this")
    return group


def _may_see(principal: Principal, view: GroupView) -> bool:
    return principal.is_administrator or principal.name in {member.name for member in view.members}


def _members() -> dict[int, tuple[MemberView, ...]]:
    names = {user.id: user.name for user in User.select(User.id, User.name)}
    found: dict[int, list[MemberView]] = {}
    for one in Membership.select():
        found.setdefault(one.group_id, []).append(MemberView(names[one.user_id], bool(one.is_manager)))
    return {number: tuple(sorted(members, key=lambda one: one.name)) for number, members in found.items()}


def _view(group: UserGroup) -> GroupView:
    return group_view(group, _members().get(group.id, ()))


def _listed(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(fields.items()))
