"""Who may make which token, and revoke it."""

import threading
from dataclasses import replace

import pytest

from server.db.account_models import ApiToken, AuditEntry, User
from server.errors import InvalidInput, NotFound
from server.services.accounts.errors import SessionUnknown, TokenRevoked
from server.services.accounts.rules import DAY_S, AccountRules
from server.services.accounts.secret_texts import parse_token
from server.services.accounts.users import NewUser
from server.services.accounts.views import new_token_json, token_json
from server.services.principal import Forbidden, Principal, Scope, ScopeMissing
from tests.services.accounts.conftest import NOW, PASSWORD, ROOT, Accounts, Clock


def test_a_token_is_shown_once(accounts: Accounts) -> None:
    ada = accounts.session(accounts.user("ada"))
    made = accounts.tokens.create(ada, "laptop", ["submit", "read"])
    assert accounts.authenticator.by_token(made.text).name == "ada"
    assert token_json(made.view) == {
        "id": 1,
        "name": "laptop",
        "owner": "ada",
        "role": "",
        "scopes": ("read", "submit"),
        "created": NOW,
        "created_by": "ada",
        "expires": NOW + 90 * DAY_S,
        "revoked_at": None,
        "last_used": None,
    }
    assert new_token_json(made)["token"] == made.text
    assert accounts.tokens.list(ada) != [made.view], "it was used since"
    assert [view.last_used for view in accounts.tokens.list(ada)] == [NOW]
    secret = parse_token(made.text).secret  # type: ignore[union-attr]
    assert secret not in repr(made)
    assert secret not in str(token_json(accounts.tokens.list(ada)[0]))


@pytest.mark.parametrize(
    ("scopes", "gets"), [(["admin"], ("admin", "read", "submit")), (["read"], ("read",)), (["submit"], ("submit",))]
)
def test_the_scope_admin_brings_the_others(accounts: Accounts, scopes: list[str], gets: tuple[str, ...]) -> None:
    ada = accounts.session(accounts.user("ada"))
    assert accounts.tokens.create(ada, "t", scopes).view.scopes == gets


@pytest.mark.parametrize(
    ("name", "scopes", "days", "field"),
    [
        ("", ["read"], 1, "name"),
        ("  ", ["read"], 1, "name"),
        ("x" * 81, ["read"], 1, "name"),
        ("a\nb", ["read"], 1, "name"),
        ("t", [], 1, "scopes"),
        ("t", ["root"], 1, "scopes"),
        ("t", ["read", "READ"], 1, "scopes"),
        ("t", ["read"], 0, "days"),
        ("t", ["read"], -1, "days"),
        ("t", ["read"], 366, "days"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(accounts: Accounts, name: str, scopes: list[str], days: int, field: str) -> None:
    ada = accounts.session(accounts.user("ada"))
    with pytest.raises(InvalidInput) as refused:
        accounts.tokens.create(ada, name, scopes, days=days)
    assert refused.value.field == field
    assert not ApiToken.select().exists()


def test_a_setting_limits_how_long_a_token_lasts(clock: Clock, accounts: Accounts) -> None:
    strict = Accounts(clock, AccountRules(token_days=30, token_max_days=30))
    ada = strict.session(strict.user("ada"))
    assert strict.tokens.create(ada, "t", ["read"]).view.expires == NOW + 30 * DAY_S
    with pytest.raises(InvalidInput, match="1 to 30 days"):
        strict.tokens.create(ada, "t", ["read"], days=31)


def test_a_token_makes_none_that_may_more_than_itself(accounts: Accounts) -> None:
    accounts.user("ada")
    narrow = accounts.authenticator.by_token(accounts.token("ada", "read", "submit"))
    with pytest.raises(ScopeMissing, match="lacks the scope admin"):
        accounts.tokens.create(narrow, "wider", ["read"])
    odd = replace(narrow, scopes=frozenset({Scope.ADMIN}))
    for scopes, lacking in ((["read"], "read"), (["submit"], "submit"), (["admin"], "read, submit")):
        with pytest.raises(ScopeMissing, match=f"lacks the scope {lacking}, and so") as refused:
            accounts.tokens.create(odd, "wider", scopes)
        assert refused.value.field == "scopes"
    wide = accounts.authenticator.by_token(accounts.token("ada", "admin"))
    assert accounts.tokens.create(wide, "narrower", ["read"]).view.scopes == ("read",)


def test_a_user_makes_tokens_for_nobody_else(accounts: Accounts) -> None:
    accounts.user("bob")
    ada = accounts.session(accounts.user("ada"))
    with pytest.raises(Forbidden, match="only an administrator"):
        accounts.tokens.create(ada, "t", ["read"], owner="bob")
    made = accounts.tokens.create(ROOT, "t", ["read"], owner="bob").view
    assert (made.owner, made.created_by) == ("bob", "root")


def test_who_has_no_account_makes_no_token(accounts: Accounts) -> None:
    with pytest.raises(NotFound, match="there is no user 'root'"):
        accounts.tokens.create(ROOT, "t", ["read"])
    accounts.users.disable(ROOT, accounts.user("ada"))
    with pytest.raises(InvalidInput, match="disabled"):
        accounts.tokens.create(ROOT, "t", ["read"], owner="ada")


def test_a_user_has_no_more_than_so_many_tokens(accounts: Accounts, clock: Clock) -> None:
    few = Accounts(clock, AccountRules(tokens_per_user=2))
    ada = few.session(few.user("ada"))
    first = few.tokens.create(ada, "1", ["read"], days=1)
    few.tokens.create(ada, "2", ["read"])
    with pytest.raises(InvalidInput, match="2 tokens at most"):
        few.tokens.create(ada, "3", ["read"])
    few.tokens.revoke(ada, first.view.id)
    few.tokens.create(ada, "3", ["read"])


def test_everybody_lists_and_revokes_the_own_and_an_administrator_all(accounts: Accounts) -> None:
    ada, bob = (accounts.session(accounts.user(name)) for name in ("ada", "bob"))
    boss = accounts.session(accounts.user("boss", "admin"))
    one, two = accounts.tokens.create(ada, "a", ["read"]).view, accounts.tokens.create(bob, "b", ["read"]).view
    assert [[view.name for view in accounts.tokens.list(who)] for who in (ada, bob, boss)] == [["a"], ["b"], []]
    assert [view.owner for view in accounts.tokens.list(boss, everybodys=True)] == ["bob", "ada"]
    for number in (two.id, 99, 0, -1, 10**30):
        with pytest.raises(NotFound, match=f"there is no token {number}"):
            accounts.tokens.revoke(ada, number)
    assert accounts.tokens.revoke(ada, one.id).revoked_at == NOW
    assert accounts.tokens.revoke(boss, two.id).revoked_at == NOW


def test_a_token_revokes_itself_whatever_its_scopes(accounts: Accounts) -> None:
    accounts.user("ada")
    text, other = accounts.token("ada", "read"), accounts.tokens.create(ROOT, "other", ["read"], owner="ada").view
    who = accounts.authenticator.by_token(text)
    with pytest.raises(ScopeMissing):
        accounts.tokens.revoke(who, other.id)
    assert who.token_id is not None
    accounts.tokens.revoke(who, who.token_id)
    with pytest.raises(TokenRevoked):
        accounts.authenticator.by_token(text)
    agent = accounts.tokens.create_for_agent(ROOT, "lab")
    accounts.tokens.revoke(accounts.authenticator.by_token(agent.text), agent.view.id)
    with pytest.raises(TokenRevoked):
        accounts.authenticator.by_token(agent.text)


def test_an_agent_and_a_claimed_name_revoke_no_token(accounts: Accounts) -> None:
    accounts.user("ada")
    made = accounts.tokens.create(ROOT, "t", ["read"], owner="ada").view
    for who in (Principal.agent(), Principal.desktop("ada"), Principal.local_user("bob")):
        with pytest.raises((Forbidden, NotFound)):
            accounts.tokens.revoke(who, made.id)
    assert ApiToken.get().revoked_at is None


def test_two_who_revoke_at_once_revoke_once(accounts: Accounts, clock: Clock) -> None:
    accounts.user("ada")
    made = accounts.tokens.create(ROOT, "t", ["read"], owner="ada").view
    begin, times = threading.Barrier(4), []

    def revoke() -> None:
        begin.wait(10)
        times.append(accounts.tokens.revoke(ROOT, made.id).revoked_at)
        User._meta.database.close()

    threads = [threading.Thread(target=revoke) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert times == [NOW] * 4
    clock.now += 10
    assert accounts.tokens.revoke(ROOT, made.id).revoked_at == NOW, "the first time counts"
    assert AuditEntry.select().where(AuditEntry.action == "token_revoke").count() == 1


def test_all_can_be_revoked_at_once(accounts: Accounts) -> None:
    accounts.user("ada")
    texts = [accounts.token("ada"), accounts.tokens.create_for_agent(ROOT, "lab").text]
    cookie = accounts.authenticator.log_in("ada", PASSWORD)
    assert accounts.tokens.revoke_all(ROOT) == 2
    for text in texts:
        with pytest.raises(TokenRevoked):
            accounts.authenticator.by_token(text)
    with pytest.raises(SessionUnknown):
        accounts.authenticator.by_session(cookie)
    last = AuditEntry.select().order_by(AuditEntry.id.desc()).get()
    assert (last.subject, last.detail) == ("all tokens and sessions", "2 tokens, 1 sessions")


def test_a_number_is_given_once(accounts: Accounts) -> None:
    accounts.users.create(ROOT, NewUser("ada"))
    first = accounts.tokens.create(ROOT, "t", ["read"], owner="ada").view.id
    accounts.users.delete(ROOT, "ada")
    accounts.users.create(ROOT, NewUser("ada"))
    assert accounts.tokens.create(ROOT, "t", ["read"], owner="ada").view.id > first
