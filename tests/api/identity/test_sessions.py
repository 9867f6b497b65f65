"""Logging in by a browser: cookies, the session's secret, wrong passwords, and what cannot be read."""

from typing import Any

import pytest
from flask import Flask

from server.app import Controller
from server.settings import Settings
from tests.api.identity.accounts import MemoryAccounts, MemoryAudit
from tests.api.identity.conftest import UNTRUSTED, Caller

SESSION = "/api/v1/session"
ADA = {"name": "ada", "password": "lovelace"}
PROXY = "10.0.0.1"
BY_TLS = {"X-Forwarded-For": UNTRUSTED, "X-Forwarded-Proto": "https"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"trusted_proxies": (PROXY,), "allowed_hosts": ("cumulus.lab",)})


def logged_in(app: Flask, **headers: str) -> tuple[Caller, dict[str, Any]]:
    caller = Caller(app, PROXY if headers else UNTRUSTED, **headers)
    answer = caller.post(SESSION, json=ADA)
    assert answer.status_code == 201, answer.text
    return caller, answer.get_json()


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The answer's body, which must be a whole problem."""
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    body = dict(answer.get_json(force=True))
    assert set(body) == {"type", "title", "status", "detail", "code", "field", "hint"}
    assert (body["status"], body["code"]) == (status, code)
    return body


def test_a_log_in_says_who_one_is(app: Flask) -> None:
    caller, body = logged_in(app)
    assert body == {
        "name": "ada",
        "roles": ["user"],
        "scopes": ["admin", "read", "submit"],
        "established": "session",
        "csrf": "csrf-of-ada",
        "expires": 4_000_000_000,
    }
    assert caller.get(SESSION).get_json() == body


def test_without_tls_the_cookie_is_plain_and_hidden_from_scripts(app: Flask) -> None:
    (cookie,) = Caller(app).post(SESSION, json=ADA).headers.getlist("Set-Cookie")
    name, _, attributes = cookie.partition("=")
    assert name == "cumulus"
    assert set(attributes.split("; ")[1:]) == {"HttpOnly", "Path=/", "SameSite=Lax"}


def test_by_tls_at_a_trusted_proxy_it_is_for_tls_and_this_host_alone(app: Flask) -> None:
    (cookie,) = Caller(app, PROXY, **BY_TLS).post(SESSION, json=ADA).headers.getlist("Set-Cookie")
    name, _, attributes = cookie.partition("=")
    assert name == "__Host-cumulus"
    assert set(attributes.split("; ")[1:]) == {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"}


def test_by_tls_the_plain_cookie_counts_for_nothing(app: Flask, accounts: MemoryAccounts) -> None:
    """A page of another host in this domain could set it."""
    logged_in(app)
    (secret,) = accounts.sessions
    for name, status in (("cumulus", 401), ("__Host-cumulus", 200)):
        caller = Caller(app, PROXY, scheme="https", **BY_TLS)
        caller.client.set_cookie(name, secret)
        assert caller.get(SESSION).status_code == status, name


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin", "X-CSRF-Token": "csrf-of-ada"}, 204),
        ({"Origin": "http://localhost", "X-CSRF-Token": "csrf-of-ada"}, 204),
        ({"Sec-Fetch-Site": "same-origin"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "X-CSRF-Token": "csrf-of-bob"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "X-CSRF-Token": "\u00e9"}, 403),
        ({"X-CSRF-Token": "csrf-of-ada"}, 403),
        ({"Sec-Fetch-Site": "none", "X-CSRF-Token": "csrf-of-ada"}, 403),
        ({"Sec-Fetch-Site": "same-site", "X-CSRF-Token": "csrf-of-ada"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost", "X-CSRF-Token": "csrf-of-ada"}, 403),
        ({"Origin": "null", "X-CSRF-Token": "csrf-of-ada"}, 403),
        ({"Origin": "http://evil.example", "X-CSRF-Token": "csrf-of-ada"}, 403),
        ({"Origin": "https://localhost", "X-CSRF-Token": "csrf-of-ada"}, 403),
        ({"Origin": "http://localhost:81", "X-CSRF-Token": "csrf-of-ada"}, 403),
        ({"Origin": "http://localhost.", "X-CSRF-Token": "csrf-of-ada"}, 403),
        ({"Origin": "http://[", "X-CSRF-Token": "csrf-of-ada"}, 403),
    ],
)
def test_a_change_by_cookie_comes_from_a_page_of_this_server(app: Flask, headers: dict[str, str], status: int) -> None:
    caller, _ = logged_in(app)
    answer = caller.ask("DELETE", SESSION, headers=headers)
    assert answer.status_code == status
    assert caller.get(SESSION).status_code == (401 if status == 204 else 200)
    if status == 403:
        assert answer.content_type == "application/problem+json"


def test_the_sessions_secret_may_be_a_field_of_a_form(app: Flask) -> None:
    caller, _ = logged_in(app)
    answer = caller.ask("DELETE", SESSION, headers={"Sec-Fetch-Site": "same-origin"}, data={"csrf_token": "csrf-of-ada"})
    assert answer.status_code == 204
    assert any(cookie.startswith("cumulus=;") for cookie in answer.headers.getlist("Set-Cookie"))


def test_a_new_log_in_ends_the_browsers_former_session(app: Flask, accounts: MemoryAccounts) -> None:
    caller, _ = logged_in(app)
    caller.post(SESSION, json={"name": "bob", "password": "builder"})
    assert [one.principal.name for one in accounts.sessions.values()] == ["bob"]


@pytest.mark.parametrize("given", [{"name": "ada", "password": "wrong"}, {"name": "nobody", "password": "lovelace"}])
def test_a_wrong_password_says_not_which_part_is_wrong(app: Flask, audit: MemoryAudit, given: dict[str, str]) -> None:
    answer = Caller(app).post(SESSION, json=given)
    assert problem(answer, 401, "login_refused")["detail"] == "the name or the password is wrong"
    assert "Set-Cookie" not in answer.headers
    assert audit.of("refused") == [(given["name"], "POST /api/v1/session", SESSION, "login_refused")]
    assert "wrong" not in str(audit.lines)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"json": {"name": "ada"}}, "password"),
        ({"json": {"password": "SECRET"}}, "name"),
        ({"json": {"name": "", "password": "SECRET"}}, "name"),
        ({"json": {"name": "x" * 129, "password": "SECRET"}}, "name"),
        ({"json": {"name": "ada", "password": "SECRET" * 200}}, "password"),
        ({"json": {"name": 1, "password": "SECRET"}}, "name"),
        ({"json": {"name": "ada", "password": ["SECRET"]}}, "password"),
        ({"json": {"name": "ada", "password": "SECRET", "x": 1}}, "x"),
        ({"json": ["SECRET"]}, None),
        ({"data": "{", "content_type": "application/json"}, None),
        ({"data": b"\xff", "content_type": "application/json"}, None),
        ({"data": {"name": "ada", "password": "SECRET"}}, "Content-Type"),
        ({"data": "[" * 10_000, "content_type": "application/json"}, None),
        ({"json": {"name": "ada", "password": "SECRET", "filling": "x" * 20_000}}, None),
    ],
)
def test_what_is_no_log_in_is_refused_by_field(app: Flask, given: dict[str, Any], field: str | None) -> None:
    answer = Caller(app).post(SESSION, **given)
    assert problem(answer, 422, "invalid_input")["field"] == field
    assert "SECRET" not in answer.text


def test_a_method_that_the_route_lacks_is_405(app: Flask) -> None:
    assert Caller(app).ask("PUT", SESSION).status_code == 405


def test_a_link_is_good_once(app: Flask) -> None:
    given = {"secret": "once", "name": "eve", "password": "a password"}
    assert Caller(app).post(f"{SESSION}/link", json=given).status_code == 201
    problem(Caller(app).post(f"{SESSION}/link", json=given), 401, "link_invalid")
    assert Caller(app).post(SESSION, json={"name": "eve", "password": "a password"}).status_code == 201


def test_a_session_that_has_ended_is_nobodys(app: Flask, accounts: MemoryAccounts) -> None:
    caller, _ = logged_in(app)
    accounts.sessions.clear()
    answer = caller.get(SESSION)
    problem(answer, 401, "session_unknown")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_the_accounts_hear_from_where_somebody_logs_in(app: Flask, accounts: MemoryAccounts) -> None:
    answer = Caller(app, PROXY, **BY_TLS).post(SESSION, json=ADA)
    (origin,) = accounts.origins
    assert (origin.address, origin.request_id) == (UNTRUSTED, answer.headers["X-Request-Id"])


def test_too_many_log_ins_are_429_and_the_right_one_from_elsewhere_is_not(app: Flask) -> None:
    caller = Caller(app)
    statuses = [caller.post(SESSION, json={"name": "ada", "password": "x"}).status_code for _ in range(12)]
    assert statuses == [401] * 11 + [429]
    answer = caller.post(SESSION, json=ADA)
    assert problem(answer, 429, "rate_limited")["detail"].startswith("too many failed log-ins by this name")
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert Caller(app, "198.51.100.1").post(SESSION, json=ADA).status_code == 201


def test_wrong_tokens_become_429_and_right_ones_are_taken(app: Flask) -> None:
    statuses = [Caller(app, token="cml_wrong").get(SESSION).status_code for _ in range(62)]
    assert statuses == [401] * 60 + [429] * 2
    assert Caller(app, token="cml_ada").get(SESSION).status_code == 200


@pytest.mark.parametrize(
    ("credential", "status"),
    [
        ("Bearer cml_ada", 200),
        ("bearer   cml_ada ", 200),
        ("BEARER cml_ada", 200),
        ("Bearer", 401),
        ("Bearer cml_ada cml_bob", 401),
        ("Basic YWRhOng=", 401),
        ("cml_ada", 401),
        ("Bearer \u00e9", 401),
        ("Bearer " + "x" * 5000, 401),
    ],
)
def test_a_token_is_read_from_its_header_alone(app: Flask, credential: str, status: int) -> None:
    answer = Caller(app, Authorization=credential).get(SESSION)
    assert answer.status_code == status
    assert "Location" not in answer.headers


def test_another_sites_page_is_refused_as_a_problem(app: Flask, controller: Controller) -> None:
    answer = Caller(app).post(SESSION, json=ADA, headers={"Sec-Fetch-Site": "cross-site"})
    assert problem(answer, 403, "foreign_page")["field"] == "Sec-Fetch-Site"
