"""Groups as the API gives them, the operations on them, and the client of these."""

import builtins
from typing import Annotated

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.operations import Done, Nothing, Operation, Request, Response
from cumulus_client.users import Name, Quota

GroupName = Annotated[str, Field(min_length=1, max_length=64)]


class Member(Response):
    """A user in a group."""

    name: str
    is_manager: bool


class Group(Response):
    """A group. ``shares_jobs``: its members see each other's jobs."""

    name: str
    shares_jobs: bool
    quota_gb: float | None
    created: float
    members: list[Member]


class GroupList(Response):
    """Groups by name."""

    groups: list[Group]


class OneGroup(Request):
    """Which group."""

    group: GroupName


class NewGroup(Request):
    """A group to be made."""

    name: GroupName
    shares_jobs: bool = False
    quota_gb: Quota = None


class GroupChanges(OneGroup):
    """What to change; what is left out stays. ``quota_gb`` null: no limit."""

    shares_jobs: bool | None = None
    quota_gb: Quota = None


class OneMember(OneGroup):
    """Which user of which group."""

    user: Name


class Membership(OneMember):
    """A member, and whether the group is theirs to manage."""

    is_manager: bool = False


LIST = Operation("groups.list", "GET", "/groups", Nothing, GroupList, "List the groups that you may see.")
GET = Operation("groups.get", "GET", "/groups/{group}", OneGroup, Group, "One group with its members.")
CREATE = Operation("groups.create", "POST", "/groups", NewGroup, Group, "Make a group without members.", "admin", 201)
CHANGE = Operation(
    "groups.change", "PATCH", "/groups/{group}", GroupChanges, Group, "Change what members see, and the quota.", "admin"
)
DELETE = Operation(
    "groups.delete", "DELETE", "/groups/{group}", OneGroup, Done, "Delete a group; its members stay users.", "admin"
)
ADD = Operation("groups.add", "PUT", "/groups/{group}/members/{user}", Membership, Group, "Put a user into a group.", "admin")
REMOVE = Operation(
    "groups.remove", "DELETE", "/groups/{group}/members/{user}", OneMember, Group, "Take a user out of a group.", "admin"
)


class Groups:
    """The groups of an installation."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self) -> "builtins.list[Group]":
        """The groups that one may see."""
        return self._caller.call(LIST, Nothing()).groups

    def get(self, group: str) -> Group:
        """One group."""
        return self._caller.call(GET, OneGroup(group=group))

    def create(self, given: NewGroup) -> Group:
        """Make a group."""
        return self._caller.call(CREATE, given)

    def change(self, changes: GroupChanges) -> Group:
        """Change what is given."""
        return self._caller.call(CHANGE, changes)

    def delete(self, group: str) -> str:
        """Delete a group; returns a sentence."""
        return self._caller.call(DELETE, OneGroup(group=group)).message

    def add(self, group: str, user: str, *, is_manager: bool = False) -> Group:
        """Put a user into a group, or change whether a member manages it."""
        return self._caller.call(ADD, Membership(group=group, user=user, is_manager=is_manager))

    def remove(self, group: str, user: str) -> Group:
        """Take a user out of a group."""
        return self._caller.call(REMOVE, OneMember(group=group, user=user))
