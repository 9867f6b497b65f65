"""What callers get of accounts: typed, and without a secret except where one is given out once."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from server.db.account_models import ApiToken, AuditEntry, Membership, User, UserGroup
from server.services.principal import Principal


@dataclass(frozen=True)
class UserView:
    """A user. ``groups``: the name of each group, and whether the user manages it. ``logs_in_by``: password, oidc.

    Times are Unix seconds, here and below.
    """

    name: str
    display_name: str
    email: str
    role: str
    groups: Mapping[str, bool]
    logs_in_by: tuple[str, ...]
    quota_gb: float | None
    created: float
    disabled_at: float | None
    last_seen: float | None


@dataclass(frozen=True)
class MemberView:
    """A user in a group."""

    name: str
    is_manager: bool


@dataclass(frozen=True)
class GroupView:
    """A group with its members, by name."""

    name: str
    shares_jobs: bool
    quota_gb: float | None
    created: float
    members: tuple[MemberView, ...]


@dataclass(frozen=True)
class TokenView:
    """A token without its secret. ``owner``: "" for an agent's, whose role is ``agent``. ``expires``: None for never."""

    id: int
    name: str
    owner: str
    role: str
    scopes: tuple[str, ...]
    created: float
    created_by: str
    expires: float | None
    revoked_at: float | None
    last_used: float | None


@dataclass(frozen=True)
class NewToken:
    """A token that was just made; ``text`` is what its user keeps, and is never given again."""

    view: TokenView
    text: str = field(repr=False)


@dataclass(frozen=True)
class NewLink:
    """A link's secret, given once; ``expires``: Unix seconds."""

    secret: str = field(repr=False)
    expires: float


@dataclass(frozen=True)
class SessionView:
    """A session that holds. ``csrf``: the token that its forms carry. ``expires``: when it ends if it is not used."""

    principal: Principal
    csrf: str = field(repr=False)
    expires: float


@dataclass(frozen=True)
class AuditView:
    """A line of the audit; ``count``: how often it happened from ``at`` until ``last_at`` (Unix seconds)."""

    id: int
    at: float
    last_at: float
    count: int
    who: str
    established: str
    address: str
    action: str
    subject: str
    outcome: str
    code: str
    detail: str
    request_id: str


def user_view(user: User, groups: Mapping[str, bool]) -> UserView:
    """A user's row as a view."""
    ways = (("password", user.password), ("oidc", user.oidc_subject))
    return UserView(
        name=user.name,
        display_name=user.display_name,
        email=user.email,
        role=user.role,
        groups=groups,
        logs_in_by=tuple(way for way, known in ways if known),
        quota_gb=user.quota_gb,
        created=user.created,
        disabled_at=user.disabled_at,
        last_seen=user.last_seen,
    )


def group_view(group: UserGroup, members: tuple[MemberView, ...]) -> GroupView:
    """A group's row as a view."""
    return GroupView(group.name, bool(group.shares_jobs), group.quota_gb, group.created, members)


def token_view(token: ApiToken, owner: str) -> TokenView:
    """A token's row as a view."""
    return TokenView(
        id=token.id,
        name=token.name,
        owner=owner,
        role=token.role,
        scopes=tuple(token.scopes.split()),
        created=token.created,
        created_by=token.created_by,
        expires=token.expires,
        revoked_at=token.revoked_at,
        last_used=token.last_used,
    )


def audit_view(entry: AuditEntry) -> AuditView:
    """A row of the audit as a view."""
    return AuditView(**{name: getattr(entry, name) for name in AuditView.__dataclass_fields__})


def groups_of_users() -> dict[int, dict[str, bool]]:
    """Each user's groups, by the number of the user's row."""
    names = {group.id: group.name for group in UserGroup.select(UserGroup.id, UserGroup.name)}
    found: dict[int, dict[str, bool]] = {}
    for one in Membership.select().order_by(Membership.group_id):
        found.setdefault(one.user_id, {})[names[one.group_id]] = bool(one.is_manager)
    return found


def user_json(view: UserView) -> dict[str, Any]:
    """A user for programs."""
    return asdict(view)


def group_json(view: GroupView) -> dict[str, Any]:
    """A group for programs."""
    return asdict(view)


def token_json(view: TokenView) -> dict[str, Any]:
    """A token for programs; its secret is not in it."""
    return asdict(view)


def new_token_json(made: NewToken) -> dict[str, Any]:
    """A new token for programs, this once with what its user keeps."""
    return {**token_json(made.view), "token": made.text}


def audit_json(view: AuditView) -> dict[str, Any]:
    """A line of the audit for programs."""
    return asdict(view)
