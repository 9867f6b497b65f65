"""Who may do what with groups."""

import pytest

from server.db.account_models import UserGroup
from server.errors import InvalidInput, NotFound
from server.services.accounts.errors import NameTaken
from server.services.accounts.groups import GroupChanges
from server.services.accounts.views import MemberView, group_json
from server.services.principal import Forbidden, Principal
from tests.services.accounts.conftest import NOW, ROOT, Accounts


@pytest.fixture
def team(accounts: Accounts) -> dict[str, Principal]:
    """A group ``ms`` that max and eva manage, with ada; bob is outside, boss an administrator, ``nmr`` another group."""
    for name in ("ada", "bob", "eva", "max"):
        accounts.user(name)
    accounts.user("boss", "admin")
    for group in ("ms", "nmr"):
        accounts.groups.create(ROOT, group)
    accounts.groups.add_member(ROOT, "ms", "ada")
    for name in ("eva", "max"):
        accounts.groups.add_member(ROOT, "ms", name, is_manager=True)
    return {name: accounts.session(name) for name in ("ada", "bob", "boss", "eva", "max")}


def test_a_group_is_made_and_changed_as_asked(accounts: Accounts) -> None:
    accounts.groups.create(ROOT, "Proteomics 2", shares_jobs=True, quota_gb=100.0)
    assert group_json(accounts.groups.get(ROOT, "Proteomics 2")) == {
        "name": "Proteomics 2",
        "shares_jobs": True,
        "quota_gb": 100.0,
        "created": NOW,
        "members": (),
    }
    changed = accounts.groups.change(ROOT, "Proteomics 2", GroupChanges(shares_jobs=False))
    assert (changed.shares_jobs, changed.quota_gb) == (False, 100.0)
    changed = accounts.groups.change(ROOT, "Proteomics 2", GroupChanges(no_quota=True))
    assert (changed.shares_jobs, changed.quota_gb) == (False, None)
    accounts.groups.delete(ROOT, "Proteomics 2")
    for act in (accounts.groups.get, accounts.groups.delete):
        with pytest.raises(NotFound, match="there is no group 'Proteomics 2'"):
            act(ROOT, "Proteomics 2")


@pytest.mark.parametrize("name", ["", "a/b", " a", "<i>", "x" * 65])
def test_what_is_no_name_is_no_group(accounts: Accounts, name: str) -> None:
    with pytest.raises(InvalidInput, match="a group's name"):
        accounts.groups.create(ROOT, name)


def test_names_that_people_take_for_one_are_refused(accounts: Accounts) -> None:
    accounts.groups.create(ROOT, "Massen spektrometrie")
    with pytest.raises(NameTaken):
        accounts.groups.create(ROOT, "MASSEN  SPEKTROMETRIE")
    assert UserGroup.select().count() == 1
    with pytest.raises(InvalidInput) as refused:
        accounts.groups.create(ROOT, "x", quota_gb=float("inf"))
    assert refused.value.field == "quota_gb"


def test_a_manager_adds_and_removes_members_of_the_own_group(accounts: Accounts, team: dict[str, Principal]) -> None:
    view = accounts.groups.add_member(team["max"], "ms", "bob")
    assert view.members == (MemberView("ada", False), MemberView("bob", False), MemberView("eva", True), MemberView("max", True))
    view = accounts.groups.remove_member(team["max"], "ms", "ada")
    assert [member.name for member in view.members] == ["bob", "eva", "max"]
    with pytest.raises(NotFound, match="there is no user 'ada'"):
        accounts.groups.remove_member(team["max"], "ms", "ada")
    with pytest.raises(NotFound, match="there is no user 'nobody'"):
        accounts.groups.add_member(team["max"], "ms", "nobody")


def test_a_manager_touches_no_manager_and_makes_none(accounts: Accounts, team: dict[str, Principal]) -> None:
    for act in (
        lambda: accounts.groups.remove_member(team["max"], "ms", "eva"),
        lambda: accounts.groups.remove_member(team["max"], "ms", "max"),
        lambda: accounts.groups.add_member(team["max"], "ms", "bob", is_manager=True),
        lambda: accounts.groups.add_member(team["max"], "ms", "ada", is_manager=True),
        lambda: accounts.groups.add_member(team["max"], "ms", "eva"),
        lambda: accounts.groups.add_member(team["max"], "ms", "boss"),
    ):
        with pytest.raises(Forbidden, match="only an administrator"):
            act()
    managers = [member.name for member in accounts.groups.get(ROOT, "ms").members if member.is_manager]
    assert managers == ["eva", "max"]
    assert len(accounts.groups.get(ROOT, "ms").members) == 3


def test_an_administrator_removes_managers_and_makes_them(accounts: Accounts, team: dict[str, Principal]) -> None:
    accounts.groups.add_member(team["boss"], "ms", "ada", is_manager=True)
    accounts.groups.add_member(team["boss"], "ms", "eva")
    view = accounts.groups.remove_member(team["boss"], "ms", "max")
    assert view.members == (MemberView("ada", True), MemberView("eva", False))


@pytest.mark.parametrize("name", ["ada", "bob", "max"])
def test_another_group_is_not_there_for_who_is_not_in_it(accounts: Accounts, team: dict[str, Principal], name: str) -> None:
    with pytest.raises(NotFound, match="there is no group 'nmr'"):
        accounts.groups.get(team[name], "nmr")
    for act in (accounts.groups.add_member, accounts.groups.remove_member):
        with pytest.raises((NotFound, Forbidden)):
            act(team[name], "nmr", "ada")
    assert accounts.groups.get(ROOT, "nmr").members == ()


def test_members_see_their_group_and_change_nothing(accounts: Accounts, team: dict[str, Principal]) -> None:
    assert [view.name for view in accounts.groups.list(team["ada"])] == ["ms"]
    assert accounts.groups.list(team["bob"]) == []
    assert [view.name for view in accounts.groups.list(team["boss"])] == ["ms", "nmr"]
    for name in ("ada", "bob"):
        for act in (
            lambda who: accounts.groups.add_member(who, "ms", "bob"),
            lambda who: accounts.groups.remove_member(who, "ms", "eva"),
            lambda who: accounts.groups.change(who, "ms", GroupChanges(shares_jobs=True)),
            lambda who: accounts.groups.delete(who, "ms"),
        ):
            with pytest.raises(Forbidden):
                act(team[name])
    with pytest.raises(Forbidden):
        accounts.groups.change(team["max"], "ms", GroupChanges(shares_jobs=True))
    assert len(accounts.groups.get(ROOT, "ms").members) == 3
    assert not accounts.groups.get(ROOT, "ms").shares_jobs


def test_who_managed_when_the_request_came_and_does_no_more_is_refused(accounts: Accounts, team: dict[str, Principal]) -> None:
    accounts.groups.remove_member(ROOT, "ms", "max")
    with pytest.raises(NotFound, match="there is no group 'ms'"):
        accounts.groups.add_member(team["max"], "ms", "bob")
    accounts.groups.add_member(ROOT, "ms", "max")
    with pytest.raises(Forbidden, match="only those who manage the group ms"):
        accounts.groups.add_member(team["max"], "ms", "bob")
