"""Tokens, sessions and log-ins: who gets in, and who does not."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from server.db.account_models import ApiToken, AuditEntry, Session, User
from server.db.transactions import exclusive
from server.errors import InvalidInput
from server.services.accounts.authentication import Authenticator
from server.services.accounts.errors import (
    LinkInvalid,
    LoginRefused,
    NameTaken,
    NoAccount,
    SessionExpired,
    SessionUnknown,
    TokenExpired,
    TokenRevoked,
    TokenUnknown,
    TooManyLogins,
    Unauthenticated,
    UserDisabled,
)
from server.services.accounts.passwords import Passwords
from server.services.accounts.rules import DAY_S, AccountRules
from server.services.accounts.secret_texts import TokenText, csrf_of, hash_of, new_secret, parse_token, token_text
from server.services.accounts.users import NewUser, UserChanges
from server.services.principal import Established, Origin, Role, Scope
from tests.services.accounts.conftest import NOW, PASSWORD, ROOT, Accounts, Clock

ISSUER = "https://id.lab"


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(Unauthenticated) as refused:
        act()
    assert refused.value.http_status == (403 if refused.type is NoAccount else 401)
    return refused.value.code


@given(st.integers(min_value=1, max_value=10**18 - 1))
def test_a_token_s_text_is_read_as_it_was_made(number: int) -> None:
    secret = new_secret()
    assert parse_token(token_text(number, secret)) == TokenText(number, secret)


@given(st.text())
def test_any_text_is_a_token_or_none(text: str) -> None:
    found = parse_token(text)
    assert found is None or token_text(*found) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cml_1_",
        f"cml_0_{'a' * 43}",
        f"cml_01_{'a' * 43}",
        f"cml_1_{'a' * 42}",
        f"cml_1_{'a' * 44}",
        f"cml_1_{'a' * 43}\n",
        f" cml_1_{'a' * 43}",
        f"cml_1_{'a' * 42}ä",
        f"cml_\u0661_{'a' * 43}",
        f"cml_{10**18}_{'a' * 43}",
        f"CML_1_{'a' * 43}",
    ],
)
def test_what_is_no_token_is_unknown(accounts: Accounts, text: str) -> None:
    assert parse_token(text) is None
    assert refusal(lambda: accounts.authenticator.by_token(text)) == "token_unknown"


def test_a_token_is_its_user_with_its_scopes(accounts: Accounts) -> None:
    accounts.user("ada")
    made = accounts.tokens.create(ROOT, "laptop", ["read"], owner="ada")
    found = accounts.authenticator.by_token(made.text)
    assert (found.name, found.roles, found.established) == ("ada", {Role.USER}, Established.TOKEN)
    assert (found.scopes, found.token_id) == ({Scope.READ}, made.view.id)
    assert (found.may_see("ada"), found.may_use("ada"), found.may_see("bob")) == (True, False, False)


@pytest.mark.parametrize(("scopes", "admin"), [(["read"], False), (["read", "submit"], False), (["admin"], True)])
def test_an_administrator_s_token_without_the_scope_is_no_administrator(
    accounts: Accounts, scopes: list[str], admin: bool
) -> None:
    accounts.user("boss", "admin")
    found = accounts.authenticator.by_token(accounts.token("boss", *scopes))
    assert (Role.ADMINISTRATOR in found.roles) == admin
    assert found.may_use("ada") == admin


def test_a_token_of_somebody_who_is_no_administrator_any_more_is_none(accounts: Accounts) -> None:
    accounts.user("boss", "admin")
    accounts.user("deputy", "admin")
    token = accounts.token("boss")
    assert accounts.authenticator.by_token(token).is_administrator
    accounts.users.change(ROOT, "boss", UserChanges(role="user"))
    assert not accounts.authenticator.by_token(token).is_administrator


def test_a_wrong_secret_and_an_unknown_number_are_refused_alike(accounts: Accounts) -> None:
    accounts.user("ada")
    number = parse_token(accounts.token("ada")).number  # type: ignore[union-attr]
    texts = []
    for text in (token_text(number, new_secret()), token_text(number + 1, new_secret())):
        with pytest.raises(TokenUnknown) as refused:
            accounts.authenticator.by_token(text)
        texts.append(refused.value.message)
    assert texts[0] == texts[1]


def test_a_revoked_token_is_refused_at_once_also_when_it_was_used_before(accounts: Accounts) -> None:
    accounts.user("ada")
    text = accounts.token("ada")
    number = accounts.authenticator.by_token(text).token_id
    assert number is not None
    accounts.tokens.revoke(ROOT, number)
    with pytest.raises(TokenRevoked, match=f"token {number} was revoked"):
        accounts.authenticator.by_token(text)
    # Whoever has not the secret learns nothing of that.
    assert refusal(lambda: accounts.authenticator.by_token(token_text(number, new_secret()))) == "token_unknown"


def test_a_token_expires_to_the_second(accounts: Accounts, clock: Clock) -> None:
    accounts.user("ada")
    text = accounts.tokens.create(ROOT, "test", ["read"], days=1, owner="ada").text
    clock.now = NOW + DAY_S - 1
    assert accounts.authenticator.by_token(text).name == "ada"
    clock.now = NOW + DAY_S
    with pytest.raises(TokenExpired):
        accounts.authenticator.by_token(text)


def test_a_token_of_a_disabled_user_says_so(accounts: Accounts) -> None:
    accounts.user("ada")
    text = accounts.token("ada")
    User.update(disabled_at=NOW).execute()
    assert refusal(lambda: accounts.authenticator.by_token(text)) == "user_disabled"


def test_the_agent_s_token_is_the_agent(accounts: Accounts) -> None:
    made = accounts.tokens.create_for_agent(ROOT, "instrument 3")
    found = accounts.authenticator.by_token(made.text)
    assert (found.name, found.roles, found.token_id) == ("agent", {Role.AGENT}, made.view.id)
    assert (made.view.owner, made.view.role, found.may_see("agent"), found.may_use("ada")) == ("", "agent", False, False)


def test_whose_jobs_somebody_may_see_changes_with_the_groups_at_once(accounts: Accounts) -> None:
    for name in ("ada", "bob", "max"):
        accounts.user(name)
    accounts.user("boss", "admin")
    text, manager = accounts.token("ada"), accounts.token("max")
    assert accounts.authenticator.by_token(text).team == frozenset()
    accounts.groups.create(ROOT, "ms", shares_jobs=True)
    for name, manages in (("ada", False), ("bob", False), ("boss", False), ("max", True)):
        accounts.groups.add_member(ROOT, "ms", name, is_manager=manages)
    found = accounts.authenticator.by_token(text)
    assert (found.team, found.managed) == ({"ada", "bob", "boss", "max"}, frozenset())
    found = accounts.authenticator.by_token(manager)
    assert found.managed == {"ada", "bob", "max"}, "nobody changes an administrator's jobs by managing a group"
    assert Role.GROUP_MANAGER in found.roles
    accounts.groups.remove_member(ROOT, "ms", "bob")
    assert accounts.authenticator.by_token(text).team == {"ada", "boss", "max"}
    accounts.groups.add_member(ROOT, "ms", "max", is_manager=False)
    found = accounts.authenticator.by_token(manager)
    assert (found.managed, Role.GROUP_MANAGER in found.roles) == (frozenset(), False)
    accounts.groups.delete(ROOT, "ms")
    assert accounts.authenticator.by_token(text).team == frozenset()


def test_another_process_s_change_counts_at_once(accounts: Accounts, clock: Clock) -> None:
    other = Accounts(clock)
    accounts.user("ada")
    text = accounts.token("ada")
    assert accounts.authenticator.by_token(text).team == frozenset()
    other.groups.create(ROOT, "ms", shares_jobs=True)
    other.groups.add_member(ROOT, "ms", "ada")
    assert accounts.authenticator.by_token(text).team == {"ada"}


def test_a_use_is_written_once_a_minute(accounts: Accounts, clock: Clock) -> None:
    accounts.user("ada")
    text = accounts.token("ada")
    writes = []
    for _ in range(181):
        accounts.authenticator.by_token(text)
        writes.append(ApiToken.get().last_used)
        clock.now += 1
    assert sorted(set(writes)) == [NOW, NOW + 60, NOW + 120, NOW + 180]
    assert User.get().last_seen == NOW + 180


def test_a_busy_database_holds_no_answer_up_and_the_use_is_written_afterwards(accounts: Accounts, clock: Clock) -> None:
    accounts.user("ada")
    text = accounts.token("ada")
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive():
            held.set()
            over.wait(10)
        User._meta.database.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    begun = time.monotonic()
    assert accounts.authenticator.by_token(text).name == "ada"
    assert time.monotonic() - begun < 1.0  # the database waits ten
    over.set()
    thread.join(10)
    assert ApiToken.get().last_used is None
    clock.now += 1
    accounts.authenticator.by_token(text)
    assert ApiToken.get().last_used == NOW + 1


def test_a_session_lasts_while_it_is_used_and_no_longer_than_its_limit(accounts: Accounts, clock: Clock) -> None:
    accounts.user("ada")
    cookie = accounts.authenticator.log_in("ada", PASSWORD)
    rules = AccountRules()
    while clock.now + rules.session_idle_s < NOW + rules.session_max_s:
        view = accounts.authenticator.by_session(cookie)
        assert view.expires == pytest.approx(min(clock.now + rules.session_idle_s, NOW + rules.session_max_s))
        clock.now += rules.session_idle_s - 1
    accounts.authenticator.by_session(cookie)
    clock.now = NOW + rules.session_max_s
    assert refusal(lambda: accounts.authenticator.by_session(cookie)) == "session_expired"


def test_a_session_that_is_not_used_ends(accounts: Accounts, clock: Clock) -> None:
    accounts.user("ada")
    cookie = accounts.authenticator.log_in("ada", PASSWORD)
    clock.now += AccountRules().session_idle_s
    with pytest.raises(SessionExpired):
        accounts.authenticator.by_session(cookie)


def test_a_session_is_its_user_with_all_scopes(accounts: Accounts) -> None:
    accounts.user("boss", "admin")
    view = accounts.authenticator.by_session(accounts.authenticator.log_in("boss", PASSWORD))
    assert (view.principal.name, view.principal.established, view.principal.scopes) == (
        "boss",
        Established.SESSION,
        frozenset(Scope),
    )
    assert view.principal.is_administrator
    assert view.principal.token_id is None


def test_a_form_s_token_belongs_to_one_session(accounts: Accounts) -> None:
    accounts.user("ada")
    one, other = accounts.authenticator.log_in("ada", PASSWORD), accounts.authenticator.log_in("ada", PASSWORD)
    tokens = [accounts.authenticator.by_session(cookie).csrf for cookie in (one, one, other)]
    assert tokens[0] == tokens[1] != tokens[2]
    stored = {session.csrf for session in Session.select()}
    assert stored.isdisjoint(tokens), "what is stored makes no token without the cookie"
    assert csrf_of(new_secret(), Session.get().csrf) not in tokens


def test_who_logs_out_is_out_and_the_other_session_stays(accounts: Accounts) -> None:
    accounts.user("ada")
    one, other = accounts.authenticator.log_in("ada", PASSWORD), accounts.authenticator.log_in("ada", PASSWORD)
    accounts.authenticator.log_out(one, origin=Origin("192.0.2.7", "r1"))
    with pytest.raises(SessionUnknown):
        accounts.authenticator.by_session(one)
    assert accounts.authenticator.by_session(other)
    last = AuditEntry.select().order_by(AuditEntry.id.desc()).get()
    assert (last.action, last.who, last.address, last.request_id) == ("log_out", "ada", "192.0.2.7", "r1")
    accounts.authenticator.log_out(one)
    accounts.authenticator.log_out("no cookie")


@pytest.mark.parametrize("cookie", ["", "x", "a" * 43, "a" * 44, "ä" * 43, "a" * 100_000])
def test_what_is_no_session_is_unknown(accounts: Accounts, cookie: str) -> None:
    assert refusal(lambda: accounts.authenticator.by_session(cookie)) == "session_unknown"


def test_of_many_sessions_the_oldest_end(accounts: Accounts, clock: Clock) -> None:
    accounts.user("ada")
    cookies = []
    for _ in range(AccountRules().sessions_per_user + 2):
        cookies.append(accounts.authenticator.log_in("ada", PASSWORD))
        clock.now += 1
    assert Session.select().count() == AccountRules().sessions_per_user
    for cookie in cookies[:2]:
        with pytest.raises(SessionUnknown):
            accounts.authenticator.by_session(cookie)
    assert accounts.authenticator.by_session(cookies[2])


@pytest.mark.parametrize(
    ("name", "password"),
    [("ada", "a wrong password"), ("nobody", PASSWORD), ("off", PASSWORD), ("directory", PASSWORD), ("directory", ""), ("", "")],
)
def test_a_refused_log_in_says_the_same_whoever_there_is(accounts: Accounts, name: str, password: str) -> None:
    accounts.user("ada")
    accounts.users.disable(ROOT, accounts.user("off"))
    accounts.users.create(ROOT, NewUser("directory", oidc_subject=f"{ISSUER} 1"))
    with pytest.raises(LoginRefused) as refused:
        accounts.authenticator.log_in(name, password)
    assert (refused.value.message, refused.value.code) == ("the name or the password is wrong", "login_refused")
    assert not Session.select().exists()


@pytest.mark.parametrize("name", ["ada", "nobody", "off", "directory"])
def test_a_refused_log_in_costs_one_check_of_the_same_kind(
    accounts: Accounts, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.user("ada")
    accounts.users.disable(ROOT, accounts.user("off"))
    accounts.users.create(ROOT, NewUser("directory", oidc_subject=f"{ISSUER} 1"))
    checked: list[str] = []
    real = PasswordHasher.verify

    def verify(self: PasswordHasher, stored: Any, password: Any) -> bool:
        checked.append(stored)
        return real(self, stored, password)

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    with pytest.raises(LoginRefused):
        accounts.authenticator.log_in(name, "a wrong password")
    (stored,) = checked
    assert [len(part) for part in stored.split("$")] == [len(part) for part in User.get(User.name == "ada").password.split("$")]
    assert stored.split("$")[:4] == User.get(User.name == "ada").password.split("$")[:4]


def test_a_hash_of_nobody_is_like_argon2_s_own() -> None:
    hasher = PasswordHasher()
    passwords = Passwords(hasher)
    assert not passwords.verify("", PASSWORD)
    assert not passwords.verify("", "")
    assert not hasher.check_needs_rehash(passwords._nobodys)


def test_an_old_hash_is_renewed_at_the_next_log_in(accounts: Accounts, clock: Clock) -> None:
    accounts.user("ada")
    before = User.get().password
    stronger = Passwords(PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    newer = Authenticator(clock, passwords=stronger)
    newer.log_in("ada", PASSWORD)
    after = User.get().password
    assert (stronger.is_old(before), stronger.is_old(after)) == (True, False)
    newer.log_in("ada", PASSWORD)
    assert User.get().password == after


def test_a_password_from_before_a_stricter_rule_still_logs_in_and_its_hash_is_renewed(accounts: Accounts) -> None:
    accounts.user("ada")
    old = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1).hash("short")
    User.update(password=old).execute()
    assert accounts.authenticator.log_in("ada", "short")
    assert User.get().password != old


def test_a_password_that_is_changed_while_it_is_checked_lets_nobody_in(accounts: Accounts) -> None:
    accounts.user("ada")
    real = accounts.passwords.verify

    def verify(stored: str, password: str) -> bool:
        is_right = real(stored, password)
        accounts.passwords.verify = real  # type: ignore[method-assign]
        accounts.users.set_password(ROOT, "ada", "another password")
        return is_right

    accounts.passwords.verify = verify  # type: ignore[method-assign]
    with pytest.raises(LoginRefused):
        accounts.authenticator.log_in("ada", PASSWORD)
    assert not Session.select().exists()


def test_only_a_few_passwords_are_checked_at_once() -> None:
    begun, over = threading.Event(), threading.Event()

    class Slow(PasswordHasher):
        def verify(self, stored: Any, password: Any) -> bool:
            begun.set()
            over.wait(10)
            return super().verify(stored, password)

    passwords = Passwords(Slow(time_cost=1, memory_cost=8, parallelism=1), at_once=1, patience_s=0.01)
    thread = threading.Thread(target=passwords.verify, args=("", PASSWORD))
    thread.start()
    assert begun.wait(10)
    with pytest.raises(TooManyLogins) as refused:
        passwords.verify("", PASSWORD)
    assert refused.value.http_status == 503
    over.set()
    thread.join(10)


@pytest.mark.parametrize("password", ["x" * 1024, "ä" * 512, "🔑" * 256, "pass word\twith blanks"])
def test_long_and_foreign_passwords_work(accounts: Accounts, password: str) -> None:
    accounts.user("ada", password=password)
    assert accounts.authenticator.log_in("ada", password)
    with pytest.raises(LoginRefused):
        accounts.authenticator.log_in("ada", password + "x")


def test_a_password_that_is_no_text_is_refused_like_any_other(accounts: Accounts) -> None:
    accounts.user("ada")
    for password in ("\ud800" * 20, "x" * 10_000_000):
        with pytest.raises(LoginRefused):
            accounts.authenticator.log_in("ada", password)
    with pytest.raises(InvalidInput) as refused:
        accounts.users.set_password(ROOT, "ada", "\ud800" * 20)
    assert refused.value.field == "new"


def secret_of(link: str | None) -> str:
    assert link is not None
    return link.rpartition("=")[2]


def test_the_first_administrator_comes_by_a_link_that_works_once(accounts: Accounts) -> None:
    link = accounts.first_admin.link("http://127.0.0.1:5000/")
    assert link is not None
    assert link.startswith("http://127.0.0.1:5000/login/link?secret=")
    secret = secret_of(link)
    with pytest.raises(InvalidInput, match="choose a password"):
        accounts.authenticator.log_in_by_link(secret, "boss")
    with pytest.raises(InvalidInput, match="needs 12"):
        accounts.authenticator.log_in_by_link(secret, "boss", "short")
    with pytest.raises(InvalidInput) as refused:
        accounts.authenticator.log_in_by_link(secret, "<boss>", PASSWORD)
    assert refused.value.field == "name"
    cookie = accounts.authenticator.log_in_by_link(secret, "boss", PASSWORD)
    assert accounts.authenticator.by_session(cookie).principal.is_administrator
    with pytest.raises(LinkInvalid):
        accounts.authenticator.log_in_by_link(secret, "eve", PASSWORD)
    assert accounts.first_admin.link("http://x") is None
    assert accounts.session("boss").is_administrator


def test_each_start_s_link_replaces_the_one_before_and_lasts_a_day(accounts: Accounts, clock: Clock) -> None:
    first, second = (secret_of(accounts.first_admin.link("http://x")) for _ in range(2))
    with pytest.raises(LinkInvalid):
        accounts.authenticator.log_in_by_link(first, "boss", PASSWORD)
    clock.now = NOW + DAY_S
    with pytest.raises(LinkInvalid):
        accounts.authenticator.log_in_by_link(second, "boss", PASSWORD)
    third = secret_of(accounts.first_admin.link("http://x"))
    assert accounts.authenticator.log_in_by_link(third, "boss", PASSWORD)


def test_the_first_administrator_s_link_is_of_no_use_once_there_is_one(accounts: Accounts) -> None:
    secret = secret_of(accounts.first_admin.link("http://x"))
    accounts.user("boss", "admin")
    with pytest.raises(LinkInvalid):
        accounts.authenticator.log_in_by_link(secret, "eve", PASSWORD)
    assert [user.name for user in User.select()] == ["boss"]


def test_a_user_of_the_directory_becomes_the_first_administrator_without_a_password(accounts: Accounts) -> None:
    accounts.authenticator.log_in_by_oidc(ISSUER, "1", {"preferred_username": "ada"}, create=True)
    secret = secret_of(accounts.first_admin.link("http://x"))
    accounts.authenticator.log_in_by_link(secret, "ada")
    cookie = accounts.authenticator.log_in_by_oidc(ISSUER, "1", {}, create=False)
    assert accounts.authenticator.by_session(cookie).principal.is_administrator


def test_the_first_administrator_s_name_must_not_look_like_another_s(accounts: Accounts) -> None:
    accounts.user("ada")
    secret = secret_of(accounts.first_admin.link("http://x"))
    with pytest.raises(NameTaken):
        accounts.authenticator.log_in_by_link(secret, "Ada", PASSWORD)
    assert accounts.authenticator.log_in_by_link(secret, "ada", PASSWORD), "the refusal has not used the link up"


def test_of_many_who_use_one_link_at_once_one_gets_in(accounts: Accounts) -> None:
    secret = secret_of(accounts.first_admin.link("http://x"))
    begin, outcomes = threading.Barrier(6), []

    def use(number: int) -> None:
        begin.wait(10)
        try:
            outcomes.append(accounts.authenticator.log_in_by_link(secret, f"boss{number}", PASSWORD))
        except LinkInvalid:
            outcomes.append("")
        finally:
            User._meta.database.close()

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sum(map(bool, outcomes)) == 1
    assert (len(outcomes), User.select().count()) == (6, 1)


def test_an_invitation_sets_its_user_s_password_and_ends_what_was_before(accounts: Accounts) -> None:
    accounts.user("ada")
    before = accounts.authenticator.log_in("ada", PASSWORD)
    first, link = accounts.links.invite(ROOT, "ada"), accounts.links.invite(ROOT, "ada")
    assert link.expires == NOW + 3 * DAY_S
    with pytest.raises(LinkInvalid):
        accounts.authenticator.log_in_by_link(first.secret, "", "a new password")
    with pytest.raises(InvalidInput, match="for another user"):
        accounts.authenticator.log_in_by_link(link.secret, "bob", "a new password")
    assert accounts.authenticator.log_in_by_link(link.secret, "ada", "a new password")
    with pytest.raises(SessionUnknown):
        accounts.authenticator.by_session(before)
    with pytest.raises(LoginRefused):
        accounts.authenticator.log_in("ada", PASSWORD)
    cookie = accounts.authenticator.log_in("ada", "a new password")
    assert not accounts.authenticator.by_session(cookie).principal.is_administrator


def test_an_invitation_that_is_used_twice_at_once_works_once(accounts: Accounts) -> None:
    accounts.user("ada")
    link, real = accounts.links.invite(ROOT, "ada"), accounts.passwords.hash

    def hash_meanwhile(password: str, field: str = "password") -> str:
        accounts.passwords.hash = real  # type: ignore[method-assign]
        accounts.authenticator.log_in_by_link(link.secret, "ada", "the first password")
        return real(password, field)

    accounts.passwords.hash = hash_meanwhile  # type: ignore[method-assign]
    with pytest.raises(LinkInvalid):
        accounts.authenticator.log_in_by_link(link.secret, "ada", "the second password")
    assert accounts.authenticator.log_in("ada", "the first password")


def test_an_invitation_is_of_no_use_to_who_is_disabled_meanwhile(accounts: Accounts) -> None:
    accounts.user("ada")
    link = accounts.links.invite(ROOT, "ada")
    User.update(disabled_at=NOW).execute()
    with pytest.raises(LinkInvalid):
        accounts.authenticator.log_in_by_link(link.secret, "ada", "a new password")
    with pytest.raises(InvalidInput, match="enable the user first"):
        accounts.links.invite(ROOT, "ada")


def test_a_session_of_a_disabled_user_says_so(accounts: Accounts) -> None:
    accounts.user("ada")
    cookie = accounts.authenticator.log_in("ada", PASSWORD)
    User.update(disabled_at=NOW).execute()
    assert refusal(lambda: accounts.authenticator.by_session(cookie)) == "user_disabled"


def test_the_directory_s_people_get_accounts_where_they_may(accounts: Accounts) -> None:
    claims = {"preferred_username": "ada", "name": "Ada L.", "email": "ada@lab.org", "admin": True}
    with pytest.raises(NoAccount, match="ask an administrator"):
        accounts.authenticator.log_in_by_oidc(ISSUER, "17", claims, create=False)
    assert not User.select().exists()
    cookie = accounts.authenticator.log_in_by_oidc(ISSUER, "17", claims, create=True)
    found = accounts.authenticator.by_session(cookie).principal
    assert (found.name, found.roles) == ("ada", {Role.USER})
    view = accounts.users.get(ROOT, "ada")
    assert (view.display_name, view.email, view.logs_in_by) == ("Ada L.", "ada@lab.org", ("oidc",))
    again = accounts.authenticator.log_in_by_oidc(ISSUER, "17", {"preferred_username": "renamed"}, create=False)
    assert accounts.authenticator.by_session(again).principal.name == "ada"
    other = accounts.authenticator.log_in_by_oidc("https://other.lab", "17", {"preferred_username": "bob"}, create=True)
    assert accounts.authenticator.by_session(other).principal.name == "bob"


@pytest.mark.parametrize("claims", [{}, {"preferred_username": ""}, {"preferred_username": 7}, {"email": None}])
def test_a_directory_that_gives_no_name_gives_no_account(accounts: Accounts, claims: dict[str, object]) -> None:
    with pytest.raises(NoAccount, match="preferred_username or email"):
        accounts.authenticator.log_in_by_oidc(ISSUER, "1", claims, create=True)


@pytest.mark.parametrize(
    ("wanted", "gets_in"),
    [
        (NewUser("ada"), True),
        (NewUser("ada", password=PASSWORD), False),
        (NewUser("ada", role="admin"), False),
        (NewUser("ada", oidc_subject=f"{ISSUER} 2"), False),
        (NewUser("Ada"), False),
    ],
)
def test_a_name_from_the_directory_takes_over_only_what_waits_for_it(accounts: Accounts, wanted: NewUser, gets_in: bool) -> None:
    accounts.users.create(ROOT, wanted)
    claims = {"preferred_username": "ada"}
    if gets_in:
        assert accounts.authenticator.log_in_by_oidc(ISSUER, "1", claims, create=False)
        assert User.get().oidc_subject == f"{ISSUER} 1"
        return
    before = User.get().oidc_subject
    with pytest.raises(NoAccount):
        accounts.authenticator.log_in_by_oidc(ISSUER, "1", claims, create=True)
    assert User.get().oidc_subject == before
    assert not Session.select().exists()


def test_a_disabled_user_does_not_come_in_by_the_directory(accounts: Accounts) -> None:
    accounts.authenticator.log_in_by_oidc(ISSUER, "1", {"preferred_username": "ada"}, create=True)
    accounts.users.disable(ROOT, "ada")
    with pytest.raises(UserDisabled):
        accounts.authenticator.log_in_by_oidc(ISSUER, "1", {"preferred_username": "ada"}, create=True)


@pytest.mark.parametrize(("issuer", "subject"), [("", "1"), (ISSUER, ""), (ISSUER, "x" * 2000)])
def test_a_directory_that_names_nobody_lets_nobody_in(accounts: Accounts, issuer: str, subject: str) -> None:
    with pytest.raises(LoginRefused):
        accounts.authenticator.log_in_by_oidc(issuer, subject, {"preferred_username": "ada"}, create=True)


def test_nobody_else_s_subject_is_made_of_two_parts(accounts: Accounts) -> None:
    """An issuer has no blank, so the two parts cannot be moved against each other."""
    with pytest.raises(LoginRefused):
        accounts.authenticator.log_in_by_oidc(f"{ISSUER} 1", "2", {"preferred_username": "ada"}, create=True)


def test_a_stored_secret_is_its_hash(accounts: Accounts) -> None:
    accounts.user("ada")
    text = accounts.token("ada")
    cookie = accounts.authenticator.log_in("ada", PASSWORD)
    assert ApiToken.get().hash == hash_of(text.split("_", 2)[2])
    assert Session.get().hash == hash_of(cookie)
