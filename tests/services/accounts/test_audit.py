"""The audit says who did what, stays small whatever is refused, and tells everybody only what is theirs."""

import threading
import time

import pytest
from peewee import OperationalError

from server.db.account_models import ApiToken, AuditEntry, User
from server.db.transactions import exclusive, exclusive_at_once
from server.errors import InvalidInput
from server.services.accounts.audit import ELSEWHERE, KINDS, AuditFilters, AuditService
from server.services.accounts.changes import Outcome
from server.services.accounts.rules import DAY_S, AccountRules
from server.services.accounts.users import NewUser, UserChanges
from server.services.accounts.views import audit_json
from server.services.principal import Forbidden, Origin, Principal
from tests.services.accounts.conftest import NOW, ROOT, Accounts, Clock

THERE = Origin("192.0.2.7", "r1")


@pytest.fixture
def audit(clock: Clock, accounts: Accounts) -> AuditService:
    """The audit of the accounts' database."""
    return AuditService(clock)


def refuse(audit: AuditService, address: str = "192.0.2.7", *, subject: str = "user ada", code: str = "login_refused") -> None:
    audit.record(None, "log_in", subject=subject, code=code, origin=Origin(address, "r1"))


def test_a_refusal_is_recorded_as_it_was(audit: AuditService) -> None:
    ada = Principal.desktop("ada").asking_from(THERE)
    audit.record(ada, "job_cancel", subject="job 7", code="not_found", detail="of bob")
    (found,) = audit.find(ROOT)
    assert audit_json(found) == {
        "id": 1,
        "at": NOW,
        "last_at": NOW,
        "count": 1,
        "who": "ada",
        "established": "desktop_claim",
        "address": "192.0.2.7",
        "action": "job_cancel",
        "subject": "job 7",
        "outcome": "refused",
        "code": "not_found",
        "detail": "of bob",
        "request_id": "r1",
    }


def test_what_repeats_within_a_minute_is_one_line_with_a_count(audit: AuditService, clock: Clock) -> None:
    for _ in range(59):
        refuse(audit)
        clock.now += 1
    (found,) = audit.find(ROOT)
    assert (found.count, found.at, found.last_at) == (59, NOW, NOW + 58)
    clock.now = NOW + 60
    refuse(audit)
    assert [(one.count, one.at) for one in audit.find(ROOT)] == [(1, NOW + 60), (59, NOW)]


def test_another_address_or_kind_has_a_line_of_its_own(audit: AuditService) -> None:
    refuse(audit)
    refuse(audit, "192.0.2.8")
    refuse(audit, code="too_many_logins")
    refuse(audit, subject="user bob")
    found = {(one.address, one.code): (one.count, one.subject, one.detail) for one in audit.find(ROOT)}
    assert found == {
        ("192.0.2.7", "login_refused"): (2, "user ada", "among them other names"),
        ("192.0.2.8", "login_refused"): (1, "user ada", ""),
        ("192.0.2.7", "too_many_logins"): (1, "user ada", ""),
    }


def test_a_hundred_thousand_refusals_from_anywhere_are_a_few_hundred_lines_and_none_is_lost(
    audit: AuditService, clock: Clock
) -> None:
    for number in range(100_000):
        refuse(audit, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        clock.now += 0.0005
    found = audit.find(ROOT, limit=1000)
    assert len(found) == KINDS + 1
    assert sum(one.count for one in found) == 100_000
    assert max(found, key=lambda one: one.count).address == ELSEWHERE
    assert max(found, key=lambda one: one.count).count == 100_000 - KINDS


def test_what_clients_choose_makes_no_more_lines_than_that(audit: AuditService) -> None:
    for number in range(5_000):
        audit.record(None, f"GET /{number}", code="not_found", origin=THERE)
    found = audit.find(ROOT, limit=1000)
    assert len(found) <= 2 * KINDS + 1
    assert sum(one.count for one in found) == 5_000


def test_refusals_wait_for_nobody_who_writes(audit: AuditService) -> None:
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
    for _ in range(100):
        refuse(audit)
    assert time.monotonic() - begun < 1.0
    over.set()
    thread.join(10)
    assert [one.count for one in audit.find(ROOT)] == [100]


def test_what_could_not_be_written_for_a_minute_is_not_forgotten(audit: AuditService, clock: Clock) -> None:
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive():
            held.set()
            over.wait(10)
        User._meta.database.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    for _ in range(10):
        refuse(audit)
        clock.now += 30
    over.set()
    thread.join(10)
    assert [(one.count, one.at, one.last_at) for one in audit.find(ROOT)] == [(10, NOW, NOW + 270)]


def test_a_transaction_for_what_can_wait_is_refused_at_once_and_leaves_the_turn_as_it_was(accounts: Accounts) -> None:
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive():
            held.set()
            over.wait(10)
        User._meta.database.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    with pytest.raises(OperationalError, match="locked"), exclusive_at_once():
        pass
    over.set()
    thread.join(10)
    with exclusive_at_once():
        User.insert(name="x", name_key="x", created=1.0, display_name="", email="", role="user", password="").execute()
    with exclusive():
        assert User.select().count() == 1
    assert User._meta.database.execute_sql("PRAGMA busy_timeout").fetchone() == (10_000,)


def test_everybody_finds_what_is_theirs_and_an_administrator_all(audit: AuditService, accounts: Accounts) -> None:
    ada, bob = (accounts.session(accounts.user(name)) for name in ("ada", "bob"))
    accounts.users.change(ada, "ada", UserChanges(email="ada@lab.org"))
    refuse(audit)
    mine = [(one.action, one.who) for one in audit.find(ada)]
    assert mine == [("log_in", ""), ("user_change", "ada"), ("log_in", "ada"), ("user_create", "root")]
    assert {one.who for one in audit.find(bob)} == {"bob", "root"}
    assert all("ada" not in (one.who, one.subject) for one in audit.find(bob))
    assert len(audit.find(ROOT)) == 6
    assert audit.find(bob, AuditFilters(who="ada")) == []
    for who in (Principal.desktop("ada"), Principal.agent()):
        with pytest.raises(Forbidden):
            audit.find(who)


def test_lines_are_found_by_what_they_say_and_page_by_page(audit: AuditService, accounts: Accounts, clock: Clock) -> None:
    for number in range(5):
        accounts.users.create(ROOT, NewUser(f"user{number}"))
        clock.now += 10
    refuse(audit)
    assert [one.subject for one in audit.find(ROOT, AuditFilters(outcome="refused"))] == ["user ada"]
    assert [one.subject for one in audit.find(ROOT, AuditFilters(address="192.0.2.7"))] == ["user ada"]
    assert [one.subject for one in audit.find(ROOT, AuditFilters(since=NOW + 10, until=NOW + 30))] == ["user user2", "user user1"]
    assert [one.id for one in audit.find(ROOT, AuditFilters(action="user_create", who="root", subject="user user3"))] == [4]
    first = audit.find(ROOT, limit=2)
    assert [one.id for one in first] == [6, 5]
    assert [one.id for one in audit.find(ROOT, before_id=first[-1].id, limit=2)] == [4, 3]
    for limit in (0, -1, 1001):
        with pytest.raises(InvalidInput) as refused:
            audit.find(ROOT, limit=limit)
        assert refused.value.field == "limit"


def test_old_lines_go_and_so_do_tokens_that_have_been_of_no_use_for_as_long(accounts: Accounts, clock: Clock) -> None:
    audit = AuditService(clock, AccountRules(audit_days=10))
    accounts.user("ada")
    kept = accounts.tokens.create(ROOT, "kept", ["read"], owner="ada")
    accounts.tokens.revoke(ROOT, accounts.tokens.create(ROOT, "gone", ["read"], owner="ada").view.id)
    clock.now = NOW + 10 * DAY_S + 1
    refuse(audit)
    assert [one.action for one in audit.find(ROOT)] == ["log_in"]
    assert [token.id for token in ApiToken.select()] == [kept.view.id]


def test_refusals_push_no_change_out(accounts: Accounts, clock: Clock) -> None:
    audit = AuditService(clock, AccountRules(audit_entries=10))
    accounts.user("ada")
    for number in range(50):
        refuse(audit, f"10.0.0.{number}")
        clock.now += 61
    for number in range(12):
        audit.record(ROOT, "drain", subject=f"queue {number}", outcome=Outcome.OK)
    clock.now += 601
    refuse(audit)
    found = audit.find(ROOT, limit=1000)
    assert [one.outcome for one in found].count("refused") <= 11
    assert [one.subject for one in found if one.outcome == "ok"] == [f"queue {number}" for number in range(11, 1, -1)]


def test_a_log_in_removes_what_is_too_much_as_well(database: object, clock: Clock) -> None:
    accounts = Accounts(clock, AccountRules(audit_entries=5))
    accounts.user("ada")
    for _ in range(30):
        accounts.session("ada")
        clock.now += 601
    assert AuditEntry.select().count() <= 6


@pytest.mark.parametrize("text", ["x" * 10_000, "a\nb\x1b[31m", "\0", "\ud800"])
def test_what_somebody_writes_into_a_line_stays_one_line(audit: AuditService, text: str) -> None:
    audit.record(None, text, subject=text, code=text, detail=text, origin=Origin(text, text))
    (found,) = audit.find(ROOT)
    for value in (found.action, found.subject, found.code, found.detail, found.address, found.request_id):
        assert value.isprintable()
        assert len(value) <= 500


def test_a_token_that_somebody_puts_into_a_name_is_of_no_use_there(audit: AuditService, accounts: Accounts) -> None:
    accounts.user("ada")
    text = accounts.token("ada")
    audit.record(None, text, subject=f"user {text}", code="x", detail=f"it was {text}.", origin=Origin(text, text))
    (found,) = audit.find(ROOT, AuditFilters(outcome="refused"))
    assert text[:-1] not in repr(found)
    assert found.detail == "it was cml_1_…."
