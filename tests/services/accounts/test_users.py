"""Who may do what with users, and what a user may be."""

import threading
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.db.account_models import ApiToken, AuditEntry, LoginLink, Session, User
from server.db.models import Job
from server.db.transitions import Change, create
from server.errors import CumulusError, InvalidInput, NotFound
from server.services.accounts.errors import (
    LastAdministrator,
    NameTaken,
    SessionUnknown,
    TokenRevoked,
    UserHasJobs,
    WrongPassword,
)
from server.services.accounts.rules import name_key
from server.services.accounts.users import NewUser, UserChanges
from server.services.accounts.views import user_json
from server.services.principal import Established, Forbidden, Principal, Role, Scope
from server.states import JobState
from tests.services.accounts.conftest import NOW, PASSWORD, ROOT, Accounts


def a_job(owner: str, state: JobState = JobState.DONE) -> Job:
    fields = {"app": "a", "flavor": "f", "weight": 1, "settings": "{}", "folder": f"Job_{owner}"}
    made: Job = create(Job, Change(1.0), owner=owner, state=state, **fields)
    return made


def test_a_user_is_made_as_asked(accounts: Accounts) -> None:
    wanted = NewUser("ada", "Ada L.", "ada@lab.org", "admin", PASSWORD, "https://id.lab 17", 12.5)
    accounts.users.create(ROOT, wanted)
    assert user_json(accounts.users.get(ROOT, "ada")) == {
        "name": "ada",
        "display_name": "Ada L.",
        "email": "ada@lab.org",
        "role": "admin",
        "groups": {},
        "logs_in_by": ("password", "oidc"),
        "quota_gb": 12.5,
        "created": NOW,
        "disabled_at": None,
        "last_seen": None,
    }


@pytest.mark.parametrize("name", ["ada", "Jürgen Müller", "李 小龙", "o.neill-2@lab.org", "+1", "x" * 64, "DOM_user"])
def test_every_owner_of_jobs_can_be_a_user(accounts: Accounts, name: str) -> None:
    assert accounts.user(name) == name


@pytest.mark.parametrize("name", ["", "x" * 65, " ada", "ada ", "-x", ".x", "a/b", "<b>", "a\nb", "a\0", "a'b", "a\u202eb"])
def test_what_is_no_name_of_an_owner_is_no_user(accounts: Accounts, name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        accounts.user(name)
    assert refused.value.field == "name"
    assert not User.select().exists()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ada", "ada"),
        ("ada", "ADA"),
        ("Müller", "MÜLLER"),
        ("K", "\N{KELVIN SIGN}"),
        ("straße", "STRASSE"),
        ("ﬁona", "fiona"),
        ("ada l", "ada  l"),
    ],
)
def test_names_that_people_take_for_one_are_refused(accounts: Accounts, first: str, second: str) -> None:
    accounts.user(first)
    with pytest.raises(NameTaken) as refused:
        accounts.user(second)
    assert (refused.value.http_status, refused.value.field) == (409, "name")
    assert [user.name for user in User.select()] == [first]


@given(st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1, max_size=20))
def test_a_name_s_key_is_the_same_however_it_is_written(name: str) -> None:
    forms = {unicodedata.normalize(form, name) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    ways = {name, name.upper(), name.lower(), name.title(), name.swapcase(), *forms}
    assert {name_key(one) for one in ways} == {name_key(name)}


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (NewUser("ada", role="root"), "role"),
        (NewUser("ada", email="nobody"), "email"),
        (NewUser("ada", email="a@b@c"), "email"),
        (NewUser("ada", email="a@b\nBcc: x@y"), "email"),
        (NewUser("ada", display_name="x" * 201), "display_name"),
        (NewUser("ada", display_name="a\x1bb"), "display_name"),
        (NewUser("ada", password="short pass"), "password"),
        (NewUser("ada", password="x" * 1025), "password"),
        (NewUser("ada", password="ä" * 513), "password"),
        (NewUser("ada", quota_gb=-1.0), "quota_gb"),
        (NewUser("ada", quota_gb=float("nan")), "quota_gb"),
        (NewUser("ada", oidc_subject="no-blank"), "oidc_subject"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(accounts: Accounts, wanted: NewUser, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        accounts.users.create(ROOT, wanted)
    assert refused.value.field == field
    assert not User.select().exists()


def test_two_users_have_no_subject_of_the_directory_in_common(accounts: Accounts) -> None:
    accounts.users.create(ROOT, NewUser("ada", oidc_subject="https://id.lab 1"))
    accounts.user("bob")
    with pytest.raises(InvalidInput, match="ada logs in"):
        accounts.users.change(ROOT, "bob", UserChanges(oidc_subject="https://id.lab 1"))
    accounts.users.change(ROOT, "ada", UserChanges(no_oidc=True))
    assert accounts.users.change(ROOT, "bob", UserChanges(oidc_subject="https://id.lab 1")).logs_in_by == ("password", "oidc")


def test_a_user_changes_the_own_name_and_address_and_nothing_else(accounts: Accounts) -> None:
    accounts.user("boss", "admin")
    ada = accounts.session(accounts.user("ada"))
    view = accounts.users.change(ada, "ada", UserChanges(display_name="Ada", email="ada@lab.org"))
    assert (view.display_name, view.email) == ("Ada", "ada@lab.org")
    for changes in (
        UserChanges(role="admin"),
        UserChanges(quota_gb=1e6),
        UserChanges(no_quota=True),
        UserChanges(oidc_subject="https://id.lab 1"),
        UserChanges(email="x@y", role="user"),
    ):
        with pytest.raises(Forbidden, match="only an administrator"):
            accounts.users.change(ada, "ada", changes)
    with pytest.raises(NotFound):
        accounts.users.change(ada, "boss", UserChanges(display_name="Bossy"))
    assert accounts.users.get(ROOT, "ada").email == "ada@lab.org"


def test_a_user_sees_only_themselves_and_a_manager_the_own_groups(accounts: Accounts) -> None:
    for name in ("ada", "bob", "cid", "max"):
        accounts.user(name)
    accounts.user("boss", "admin")
    accounts.groups.create(ROOT, "ms")
    accounts.groups.add_member(ROOT, "ms", "max", is_manager=True)
    for name in ("ada", "boss"):
        accounts.groups.add_member(ROOT, "ms", name)
    seen = {name: [view.name for view in accounts.users.list(accounts.session(name))] for name in ("ada", "max", "boss")}
    assert seen == {"ada": ["ada"], "max": ["ada", "boss", "max"], "boss": ["ada", "bob", "boss", "cid", "max"]}
    with pytest.raises(NotFound, match="there is no user 'bob'"):
        accounts.users.get(accounts.session("max"), "bob")


def acts(accounts: Accounts) -> list[Callable[[Principal], object]]:
    """All that is an administrator's."""
    return [
        lambda who: accounts.users.create(who, NewUser("eve")),
        lambda who: accounts.users.disable(who, "ada"),
        lambda who: accounts.users.enable(who, "ada"),
        lambda who: accounts.users.enable_restored(who),
        lambda who: accounts.users.delete(who, "ada"),
        lambda who: accounts.groups.create(who, "ms"),
        lambda who: accounts.tokens.create_for_agent(who, "lab"),
        lambda who: accounts.tokens.list(who, everybodys=True),
        lambda who: accounts.tokens.revoke_all(who),
        lambda who: accounts.links.invite(who, "ada"),
    ]


@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("kind", ["user", "narrow token of an administrator", "desktop", "agent", "local user"])
def test_what_is_an_administrator_s_is_refused_to_others(accounts: Accounts, kind: str, number: int) -> None:
    accounts.user("ada")
    accounts.user("boss", "admin")
    who = {
        "user": lambda: accounts.session("ada"),
        "narrow token of an administrator": lambda: accounts.authenticator.by_token(accounts.token("boss", "read", "submit")),
        "desktop": lambda: Principal.desktop("boss"),
        "agent": lambda: accounts.authenticator.by_token(accounts.tokens.create_for_agent(ROOT, "lab").text),
        "local user": lambda: Principal.local_user("ada"),
    }[kind]()
    before = accounts.users.list(ROOT)
    with pytest.raises(Forbidden):
        acts(accounts)[number](who)
    assert [(one.name, one.disabled_at) for one in accounts.users.list(ROOT)] == [(one.name, one.disabled_at) for one in before]
    assert len(acts(accounts)) == 10


def test_a_name_that_nobody_has_checked_changes_no_account(accounts: Accounts) -> None:
    accounts.user("ada")
    for act in (
        lambda: accounts.users.list(Principal.desktop("ada")),
        lambda: accounts.users.change(Principal.desktop("ada"), "ada", UserChanges(email="x@y")),
        lambda: accounts.users.set_password(Principal.desktop("ada"), "ada", "a new password", PASSWORD),
        lambda: accounts.tokens.create(Principal.desktop("ada"), "mine", ["read"]),
    ):
        with pytest.raises(Forbidden, match="log in for this"):
            act()


def test_the_own_password_takes_the_old_one_and_ends_all_sessions(accounts: Accounts) -> None:
    accounts.user("ada")
    cookie = accounts.authenticator.log_in("ada", PASSWORD)
    ada = accounts.session("ada")
    with pytest.raises(WrongPassword) as refused:
        accounts.users.set_password(ada, "ada", "a new password", "not the old one")
    assert refused.value.field == "old"
    with pytest.raises(InvalidInput, match="has 5 characters, and needs 12"):
        accounts.users.set_password(ada, "ada", "short", PASSWORD)
    assert accounts.authenticator.by_session(cookie)
    accounts.users.set_password(ada, "ada", "a new password", PASSWORD)
    with pytest.raises(SessionUnknown):
        accounts.authenticator.by_session(cookie)
    assert accounts.authenticator.log_in("ada", "a new password")


def test_an_administrator_sets_anybody_s_password_but_the_own_only_with_the_old_one(accounts: Accounts) -> None:
    accounts.user("ada")
    boss = accounts.session(accounts.user("boss", "admin"))
    accounts.users.set_password(boss, "ada", "another password")
    assert accounts.authenticator.log_in("ada", "another password")
    with pytest.raises(WrongPassword):
        accounts.users.set_password(boss, "boss", "another password")
    with pytest.raises(NotFound):
        accounts.users.set_password(accounts.authenticator.by_token(accounts.token("ada")), "boss", "another password")


def test_of_two_who_change_a_password_at_once_one_is_refused(accounts: Accounts) -> None:
    accounts.user("ada")
    first, second = accounts.session("ada"), accounts.session("ada")
    changed = accounts.passwords.verify

    def meanwhile(stored: str, password: str) -> bool:
        accounts.passwords.verify = changed  # type: ignore[method-assign]
        is_right = changed(stored, password)
        accounts.users.set_password(second, "ada", "the second password", PASSWORD)
        return is_right

    accounts.passwords.verify = meanwhile  # type: ignore[method-assign]
    with pytest.raises(WrongPassword, match="meanwhile"):
        accounts.users.set_password(first, "ada", "the first password", PASSWORD)
    assert accounts.authenticator.log_in("ada", "the second password")


def test_who_is_disabled_is_out_at_once_and_for_good(accounts: Accounts) -> None:
    accounts.user("ada")
    token, cookie = accounts.token("ada"), accounts.authenticator.log_in("ada", PASSWORD)
    link = accounts.links.invite(ROOT, "ada").secret
    accounts.users.disable(ROOT, "ada")
    with pytest.raises(TokenRevoked):
        accounts.authenticator.by_token(token)
    with pytest.raises(SessionUnknown):
        accounts.authenticator.by_session(cookie)
    assert accounts.users.get(ROOT, "ada").disabled_at == NOW
    accounts.users.disable(ROOT, "ada")
    accounts.users.enable(ROOT, "ada")
    accounts.users.enable(ROOT, "ada")
    entries = [entry.action for entry in AuditEntry.select() if entry.action in ("user_disable", "user_enable")]
    assert entries == ["user_disable", "user_enable"], "what was so before is no change"
    with pytest.raises(TokenRevoked):
        accounts.authenticator.by_token(token)
    with pytest.raises(SessionUnknown):
        accounts.authenticator.by_session(cookie)
    assert LoginLink.select().where(LoginLink.used_at.is_null()).count() == 0
    assert link
    assert accounts.session("ada").name == "ada"


def test_the_last_administrator_stays_one(accounts: Accounts) -> None:
    accounts.user("boss", "admin")
    accounts.user("former", "admin")
    accounts.users.disable(ROOT, "former")
    for act in (
        lambda: accounts.users.disable(ROOT, "boss"),
        lambda: accounts.users.change(ROOT, "boss", UserChanges(role="user")),
        lambda: accounts.users.delete(ROOT, "boss"),
    ):
        with pytest.raises(LastAdministrator, match="boss is the only administrator"):
            act()
    accounts.users.delete(ROOT, "former")
    accounts.user("deputy", "admin")
    accounts.users.disable(ROOT, "boss")
    with pytest.raises(LastAdministrator):
        accounts.users.disable(ROOT, "deputy")


@pytest.mark.parametrize("way", ["disable", "demote", "delete"])
def test_two_administrators_who_remove_each_other_at_once_leave_one(accounts: Accounts, way: str) -> None:
    names = [accounts.user(name, "admin") for name in ("one", "two", "three", "four")]
    begin, refused = threading.Barrier(len(names)), []
    act = {
        "disable": accounts.users.disable,
        "demote": lambda who, name: accounts.users.change(who, name, UserChanges(role="user")),
        "delete": accounts.users.delete,
    }[way]

    def remove(name: str) -> None:
        begin.wait(10)
        try:
            act(ROOT, name)
        except LastAdministrator as problem:
            refused.append(problem)
        finally:
            User._meta.database.close()

    threads = [threading.Thread(target=remove, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(refused) == 1
    assert User.select().where(User.role == "admin", User.disabled_at.is_null()).count() == 1


def test_who_has_jobs_is_not_deleted(accounts: Accounts) -> None:
    accounts.user("ada")
    job = a_job("ada")
    with pytest.raises(UserHasJobs, match="1 jobs are ada's"):
        accounts.users.delete(ROOT, "ada")
    Job.update(state=JobState.DELETED).where(Job.id == job.id).execute()
    accounts.users.delete(ROOT, "ada")
    with pytest.raises(NotFound):
        accounts.users.get(ROOT, "ada")


def test_with_a_user_all_that_is_theirs_goes_and_the_audit_stays(accounts: Accounts) -> None:
    accounts.user("ada")
    accounts.groups.create(ROOT, "ms")
    accounts.groups.add_member(ROOT, "ms", "ada")
    accounts.token("ada")
    accounts.session("ada")
    accounts.links.invite(ROOT, "ada")
    accounts.users.delete(ROOT, "ada")
    assert [table.select().count() for table in (User, ApiToken, Session, LoginLink)] == [0, 0, 0, 0]
    assert accounts.groups.get(ROOT, "ms").members == ()
    about = [entry.action for entry in AuditEntry.select().where(AuditEntry.subject == "user ada").order_by(AuditEntry.id)]
    assert about == ["user_create", "log_in", "invite", "user_delete"]


def test_each_change_says_who_made_it_and_from_where(accounts: Accounts) -> None:
    boss = accounts.session(accounts.user("boss", "admin"))
    accounts.users.create(boss, NewUser("ada"))
    entry = AuditEntry.select().order_by(AuditEntry.id.desc()).get()
    assert (entry.who, entry.established, entry.action, entry.subject, entry.outcome) == (
        "boss",
        "session",
        "user_create",
        "user ada",
        "ok",
    )
    assert (entry.at, entry.count, entry.detail) == (NOW, 1, "role user")


def test_what_is_refused_leaves_nothing_behind(accounts: Accounts) -> None:
    accounts.user("boss", "admin")
    before = AuditEntry.select().count()
    with pytest.raises(CumulusError):
        accounts.users.disable(ROOT, "boss")
    with pytest.raises(CumulusError):
        accounts.users.delete(ROOT, "nobody")
    assert AuditEntry.select().count() == before


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scopes=st.sets(st.sampled_from(list(Scope))))
def test_without_the_scope_admin_nothing_of_accounts_changes(accounts: Accounts, scopes: set[Scope]) -> None:
    who = Principal("boss", frozenset({Role.USER, Role.ADMINISTRATOR}), Established.TOKEN, frozenset(scopes))
    if Scope.ADMIN in scopes:
        return
    with pytest.raises(Forbidden, match="lacks the scope admin"):
        accounts.users.create(who, NewUser("eve"))
