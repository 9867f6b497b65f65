"""Users as the API gives them, the operations on them, and the client of these."""

import builtins
from typing import Annotated, Literal

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.operations import Done, Nothing, Operation, Request, Response

UserRole = Literal["user", "admin"]
Name = Annotated[str, Field(min_length=1, max_length=64, description="The login by which the user's jobs are known.")]
Quota = Annotated[float | None, Field(gt=0, le=1e9, description="GB of the storage; null for no limit of their own.")]


class Me(Response):
    """Who asks. ``roles`` and ``scopes``: what is allowed; ``established``: how it is known; ``token``: the number of theirs."""

    name: str
    roles: list[str]
    scopes: list[str]
    established: str
    team: list[str]
    token: int | None


class User(Response):
    """A user. ``groups``: of each group whether the user manages it; ``logs_in_by``: password, oidc."""

    name: str
    display_name: str
    email: str
    role: str
    groups: dict[str, bool]
    logs_in_by: list[str]
    quota_gb: float | None
    created: float
    disabled_at: float | None
    last_seen: float | None


class UserList(Response):
    """Users by name."""

    users: list[User]


class Invitation(Response):
    """A link that is given once: who opens it chooses the user's password."""

    url: str
    expires: float


class OneUser(Request):
    """Which user."""

    user: Name


class NewUser(Request):
    """A user to be made. Without a password: by an invitation, or at the first login by the directory."""

    name: Name
    display_name: str = Field(default="", max_length=200)
    email: str = Field(default="", max_length=254)
    role: UserRole = "user"
    password: str = Field(default="", max_length=1024, repr=False)
    quota_gb: Quota = None


class UserChanges(OneUser):
    """What to change; what is left out stays. ``quota_gb`` null: no limit."""

    display_name: str | None = Field(default=None, max_length=200)
    email: str | None = Field(default=None, max_length=254)
    role: UserRole | None = None
    quota_gb: Quota = None


class NewPassword(OneUser):
    """A new password. ``old``: needed for one's own."""

    new: str = Field(max_length=1024, repr=False)
    old: str = Field(default="", max_length=1024, repr=False)


ME = Operation("users.me", "GET", "/me", Nothing, Me, "Who asks, and what is allowed.")
LIST = Operation("users.list", "GET", "/users", Nothing, UserList, "List the users that you may see.")
GET = Operation("users.get", "GET", "/users/{user}", OneUser, User, "One user with groups and quota.")
CREATE = Operation("users.create", "POST", "/users", NewUser, User, "Make a user.", "admin", 201)
CHANGE = Operation(
    "users.change", "PATCH", "/users/{user}", UserChanges, User, "Change a user; everybody the own name and e-mail.", "admin"
)
PASSWORD = Operation(
    "users.password",
    "POST",
    "/users/{user}/password",
    NewPassword,
    Done,
    "Set a password; all sessions of the user end.",
    "admin",
)
INVITE = Operation(
    "users.invite",
    "POST",
    "/users/{user}/invitation",
    OneUser,
    Invitation,
    "Make a link by which the user chooses a password.",
    "admin",
)
DISABLE = Operation(
    "users.disable",
    "POST",
    "/users/{user}/disable",
    OneUser,
    User,
    "Let a user in no more: tokens and sessions end at once, jobs go on.",
    "admin",
)
ENABLE = Operation("users.enable", "POST", "/users/{user}/enable", OneUser, User, "Let a disabled user in again.", "admin")
DELETE = Operation("users.delete", "DELETE", "/users/{user}", OneUser, Done, "Delete a user who has no jobs.", "admin")


class Users:
    """The users of an installation."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def me(self) -> Me:
        """Who asks."""
        return self._caller.call(ME, Nothing())

    def list(self) -> "builtins.list[User]":
        """The users that one may see."""
        return self._caller.call(LIST, Nothing()).users

    def get(self, user: str) -> User:
        """One user."""
        return self._caller.call(GET, OneUser(user=user))

    def create(self, given: NewUser) -> User:
        """Make a user."""
        return self._caller.call(CREATE, given)

    def change(self, changes: UserChanges) -> User:
        """Change what is given."""
        return self._caller.call(CHANGE, changes)

    def set_password(self, user: str, new: str, old: str = "") -> str:
        """Set a password; returns a sentence."""
        return self._caller.call(PASSWORD, NewPassword(user=user, new=new, old=old)).message

    def invite(self, user: str) -> Invitation:
        """A link by which the user chooses a password."""
        return self._caller.call(INVITE, OneUser(user=user))

    def disable(self, user: str) -> User:
        """Let a user in no more."""
        return self._caller.call(DISABLE, OneUser(user=user))

    def enable(self, user: str) -> User:
        """Let a disabled user in again."""
        return self._caller.call(ENABLE, OneUser(user=user))

    def delete(self, user: str) -> str:
        """Delete a user who has no jobs; returns a sentence."""
        return self._caller.call(DELETE, OneUser(user=user)).message
