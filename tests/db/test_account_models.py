"""What the tables of accounts refuse, whoever writes, and which questions an index answers."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peewee import IntegrityError, SqliteDatabase

from server.db.account_models import ACCOUNT_TABLES, ApiToken, LoginLink, Membership, Session, User, UserGroup
from server.db.account_queries import managed_by, manages_a_group, session_row, team_of, token_row
from server.db.cached_sql import add
from server.db.connection import open_database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    opened = open_database(tmp_path / "cumulus.sqlite")
    yield opened
    opened.close()


def user(name: str, **fields: Any) -> User:
    made = User(name=name, name_key=name.lower(), created=1.0, **fields)
    add(made)
    return made


def token(**fields: Any) -> ApiToken:
    made = ApiToken(**{"name": "t", "hash": "h", "scopes": "read", "created": 1.0, "created_by": "ada", **fields})
    add(made)
    return made


def test_each_table_has_the_columns_of_its_model(database: SqliteDatabase) -> None:
    for table in ACCOUNT_TABLES:
        there = {column.name for column in database.get_columns(table._meta.table_name)}
        assert there == {field.column_name for field in table._meta.sorted_fields}, table


def test_what_would_make_two_of_one_is_refused(database: SqliteDatabase) -> None:
    ada = user("ada", oidc_subject="x 1")
    for second in ({"name": "ada"}, {"name": "ADA"}, {"name": "bob", "oidc_subject": "x 1"}, {"name": "bob", "role": "root"}):
        with pytest.raises((IntegrityError, sqlite3.IntegrityError)):
            user(**second)
    user("bob")
    user("cid")  # without a subject, as bob
    add(UserGroup(name="ms", name_key="ms", created=1.0))
    add(Membership(user_id=ada.id, group_id=1))
    with pytest.raises(IntegrityError):
        add(Membership(user_id=ada.id, group_id=1))


@pytest.mark.parametrize(("role", "with_user"), [("", False), ("agent", True), ("admin", True)])
def test_a_token_is_a_user_s_or_an_agent_s(database: SqliteDatabase, role: str, with_user: bool) -> None:
    with pytest.raises(IntegrityError):
        token(role=role, user_id=user("ada").id if with_user else None)
    assert token(role="agent").id == 1


def test_a_link_is_for_a_user_or_for_the_first_administrator(database: SqliteDatabase) -> None:
    ada = user("ada")
    for purpose, user_id in (("invite", None), ("first_admin", ada.id), ("reset", ada.id)):
        with pytest.raises(IntegrityError):
            add(LoginLink(hash="h", purpose=purpose, user_id=user_id, created=1.0, expires=2.0))


def test_what_is_a_user_s_goes_with_the_user(database: SqliteDatabase) -> None:
    ada = user("ada")
    add(UserGroup(name="ms", name_key="ms", created=1.0))
    add(Membership(user_id=ada.id, group_id=1))
    token(user_id=ada.id)
    token(role="agent")
    add(Session(hash="s", user_id=ada.id, created=1.0, expires=2.0, last_used=1.0, csrf="c"))
    add(LoginLink(hash="l", purpose="invite", user_id=ada.id, created=1.0, expires=2.0))
    User.delete().where(User.id == ada.id).execute()
    assert [table.select().count() for table in ACCOUNT_TABLES] == [0, 1, 0, 1, 0, 0, 0]


def test_a_token_and_a_session_come_with_their_user(database: SqliteDatabase) -> None:
    ada = user("ada", role="admin", disabled_at=7.0)
    made = token(user_id=ada.id, expires=9.0, scopes="read submit")
    found = token_row(made.id)
    assert found is not None
    assert (found.hash, found.scopes, found.expires, found.revoked_at, found.last_used) == ("h", "read submit", 9.0, None, None)
    assert tuple(found.account) == (ada.id, "ada", "admin", 7.0, None)
    of_an_agent = token_row(token(role="agent").id)
    assert of_an_agent is not None
    assert (of_an_agent.role, of_an_agent.account.id) == ("agent", None)
    add(Session(hash="s", user_id=ada.id, created=1.0, expires=2.0, last_used=1.5, csrf="c"))
    session = session_row("s")
    assert session is not None
    assert (session.csrf, session.created, session.expires, session.last_used) == ("c", 1.0, 2.0, 1.5)
    assert session.account.name == "ada"
    assert (token_row(99), session_row("x")) == (None, None)


def test_teams_and_those_who_are_managed(database: SqliteDatabase) -> None:
    people = {name: user(name, role="admin" if name == "boss" else "user").id for name in ("ada", "bob", "cid", "boss")}
    for number, shares in ((1, True), (2, False)):
        add(UserGroup(name=f"g{number}", name_key=f"g{number}", shares_jobs=shares, created=1.0))
    for name, group, manages in (("ada", 1, False), ("bob", 1, False), ("ada", 2, True), ("cid", 2, False), ("boss", 2, False)):
        add(Membership(user_id=people[name], group_id=group, is_manager=manages))
    assert team_of(people["ada"]) == {"ada", "bob"}
    assert managed_by(people["ada"]) == {"ada", "cid"}
    assert (managed_by(people["bob"]), team_of(people["cid"])) == (frozenset(), frozenset())
    assert [manages_a_group(people[name]) for name in ("ada", "bob")] == [True, False]


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("SELECT * FROM api_token WHERE id = 1", "PRIMARY KEY"),
        ("SELECT * FROM api_token WHERE user_id = 1", "api_token_user"),
        ("SELECT * FROM session WHERE hash = 'x'", "sqlite_autoindex_session"),
        ("SELECT id FROM session WHERE user_id = 1 ORDER BY last_used DESC", "session_user"),
        ("DELETE FROM session WHERE expires <= 1", "session_expires"),
        ("SELECT * FROM login_link WHERE hash = 'x'", "sqlite_autoindex_login_link"),
        ("SELECT * FROM membership WHERE group_id = 1", "membership_group"),
        ("SELECT * FROM membership WHERE user_id = 1", "sqlite_autoindex_membership"),
        ("SELECT 1 FROM user WHERE role = 'admin' AND disabled_at IS NULL", "user_admin"),
        ("SELECT * FROM user WHERE oidc_subject = 'x'", "sqlite_autoindex_user"),
        ("SELECT * FROM audit WHERE who = 'ada' ORDER BY id DESC LIMIT 100", "audit_who"),
        ("SELECT * FROM audit WHERE subject = 'user ada' ORDER BY id DESC LIMIT 100", "audit_subject"),
        ("SELECT id FROM audit WHERE outcome = 'ok' ORDER BY id DESC LIMIT 1 OFFSET 100", "audit_outcome"),
        ("DELETE FROM audit WHERE at < 1 AND last_at < 1", "audit_at"),
    ],
)
def test_what_is_asked_often_is_answered_by_an_index(database: SqliteDatabase, statement: str, index: str) -> None:
    plan = str(database.execute_sql(f"EXPLAIN QUERY PLAN {statement}").fetchall())
    assert index in plan
    assert "TEMP B-TREE" not in plan
