"""Logging in by the laboratory's directory: with a real provider, and with one that lies."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from flask import Flask
from joserfc import jwt
from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry, serialize_compact

from server.api.identity.accounts import Accounts
from server.api.identity.identity import Identity
from server.errors import CumulusError
from server.identity_settings import IdentitySettings
from server.settings import load_settings
from tests.api.identity.accounts import MemoryAccounts, MemoryAudit
from tests.api.identity.conftest import TRUSTED, Caller
from tests.api.identity.providers import CLIENT_ID, Forger, RealProvider, real_provider, served

LOGIN, SESSION = "/api/v1/oidc/login", "/api/v1/session"
SECRET = "hidden"


@pytest.fixture
def provider() -> Iterator[RealProvider]:
    with real_provider() as found:
        yield found


def site(issuer: str, accounts: MemoryAccounts, clock: Callable[[], float] = time.time, **settings: Any) -> Flask:
    """A controller's log-in alone, at that provider."""
    given = {
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": SECRET,
        "oidc_create_users": True,
        "trusted_proxies": ("10.0.0.1",),
    }
    made = IdentitySettings(oidc_issuer=issuer, **{**given, **settings})
    app = Flask("site")
    Identity(made, Accounts(accounts, MemoryAudit()), clock).install(app)
    return app


def begun(caller: Caller, path: str = LOGIN) -> str:
    """Where somebody is sent to log in."""
    answer = caller.get(path)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["Location"])


def path_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def refusal(answer: Any, status: int, code: str) -> str:
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (status, code), answer.text
    assert "Location" not in answer.headers
    assert not any(cookie.startswith(("cumulus=", "__Host-cumulus=")) for cookie in answer.headers.getlist("Set-Cookie"))
    return str(answer.get_json(force=True)["detail"])


def test_whom_the_provider_lets_in_has_a_session(provider: RealProvider, accounts: MemoryAccounts) -> None:
    caller = Caller(site(provider.url, accounts))
    answer = caller.get(path_of(provider.let_in(begun(caller))))
    assert (answer.status_code, answer.get_json()["name"]) == (201, "ada.lovelace")
    assert caller.get(SESSION).get_json()["name"] == "ada.lovelace"
    assert accounts.subjects == {(provider.url, "4711"): "ada.lovelace"}


def test_the_code_is_bound_to_this_log_in_by_pkce_state_and_nonce(provider: RealProvider, accounts: MemoryAccounts) -> None:
    caller = Caller(site(provider.url, accounts))
    login = begun(caller)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(login).query).items()}
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == "http://localhost/api/v1/oidc/callback"
    assert min(len(asked["state"]), len(asked["nonce"])) >= 32
    caller.get(path_of(provider.let_in(login)))
    (form,) = provider.asked
    assert create_s256_code_challenge(form["code_verifier"]) == asked["code_challenge"]
    assert form["redirect_uri"] == asked["redirect_uri"]
    assert provider.credentials[0].startswith("Basic ")
    again = {name: values[0] for name, values in parse_qs(urlsplit(begun(caller)).query).items()}
    assert not {asked[name] for name in ("state", "nonce", "code_challenge")} & set(again.values())


def test_behind_tls_it_comes_back_by_tls_with_cookies_for_tls(provider: RealProvider, accounts: MemoryAccounts) -> None:
    by_tls = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    caller = Caller(site(provider.url, accounts), "10.0.0.1", scheme="https", **by_tls)
    back = provider.let_in(begun(caller))
    assert back.startswith("https://localhost/api/v1/oidc/callback?")
    cookies = caller.get(path_of(back)).headers.getlist("Set-Cookie")
    assert any(cookie.startswith("__Host-cumulus=") and "Secure" in cookie for cookie in cookies)
    assert any(cookie.startswith("__Host-cumulus-oidc=;") for cookie in cookies)


@pytest.mark.parametrize(
    ("then", "status"),
    [
        ("/jobs/7?x=1", 303),
        ("//evil.example", 201),
        ("https://evil.example", 201),
        ("/\\evil.example", 201),
        ("/a b", 201),
        ("", 201),
    ],
)
def test_it_goes_on_at_a_path_of_this_server_alone(
    provider: RealProvider, accounts: MemoryAccounts, then: str, status: int
) -> None:
    caller = Caller(site(provider.url, accounts))
    answer = caller.get(LOGIN, query_string={"next": then})
    back = caller.get(path_of(provider.let_in(answer.headers["Location"])))
    assert (back.status_code, back.headers.get("Location")) == (status, then if status == 303 else None)
    assert caller.get(SESSION).status_code == 200


def test_another_nonce_is_refused(provider: RealProvider, accounts: MemoryAccounts) -> None:
    caller = Caller(site(provider.url, accounts))
    back = provider.let_in(begun(caller), nonce="another-nonce-of-another-log-in")
    assert "nonce" in refusal(caller.get(path_of(back)), 401, "oidc_refused")


def test_another_state_is_refused_and_the_code_stays_unused(provider: RealProvider, accounts: MemoryAccounts) -> None:
    caller = Caller(site(provider.url, accounts))
    back = provider.let_in(begun(caller), state="another-state")
    assert "another log-in" in refusal(caller.get(path_of(back)), 401, "oidc_refused")
    assert provider.asked == []


def test_another_browser_cannot_end_a_log_in(provider: RealProvider, accounts: MemoryAccounts) -> None:
    """Else somebody could have a person work under another one's name."""
    app = site(provider.url, accounts)
    back = path_of(provider.let_in(begun(Caller(app))))
    refusal(Caller(app).get(back), 401, "oidc_refused")
    victim = Caller(app)
    begun(victim)
    refusal(victim.get(back), 401, "oidc_refused")
    assert (accounts.sessions, provider.asked) == ({}, [])


def test_a_cookie_that_this_controller_has_not_signed_is_none(provider: RealProvider, accounts: MemoryAccounts) -> None:
    caller = Caller(site(provider.url, accounts))
    back = path_of(provider.let_in(begun(caller)))
    found = caller.client.get_cookie("cumulus-oidc")
    assert found
    caller.client.set_cookie("cumulus-oidc", found.value[:-2] + "xx")
    refusal(caller.get(back), 401, "oidc_refused")


def test_a_code_is_good_once(provider: RealProvider, accounts: MemoryAccounts) -> None:
    caller = Caller(site(provider.url, accounts))
    back = path_of(provider.let_in(begun(caller)))
    cookie = caller.client.get_cookie("cumulus-oidc")
    assert cookie
    assert caller.get(back).status_code == 201
    caller.client.set_cookie("cumulus-oidc", cookie.value)
    assert "ended already" in refusal(caller.get(back), 401, "oidc_refused")
    state = parse_qs(urlsplit(begun(caller)).query)["state"][0]
    used = parse_qs(urlsplit(back).query)["code"][0]
    refusal(caller.get(f"/api/v1/oidc/callback?code={used}&state={state}"), 401, "oidc_refused")


def test_a_log_in_that_takes_too_long_is_over(provider: RealProvider, accounts: MemoryAccounts) -> None:
    now = [time.time()]
    caller = Caller(site(provider.url, accounts, lambda: now[0]))
    back = path_of(provider.let_in(begun(caller)))
    now[0] += 601
    assert "longer than 10 minutes" in refusal(caller.get(back), 401, "oidc_refused")


def test_a_token_that_has_expired_is_refused(accounts: MemoryAccounts) -> None:
    with real_provider(access_token_max_age=timedelta(seconds=-120)) as provider:
        caller = Caller(site(provider.url, accounts))
        assert "expired" in refusal(caller.get(path_of(provider.let_in(begun(caller)))), 401, "oidc_refused")


def test_a_person_who_has_no_account_is_told_so(provider: RealProvider, accounts: MemoryAccounts) -> None:
    caller = Caller(site(provider.url, accounts, oidc_create_users=False))
    assert "ada.lovelace" in refusal(caller.get(path_of(provider.let_in(begun(caller)))), 403, "no_account")


def test_a_disabled_user_is_refused(provider: RealProvider, accounts: MemoryAccounts) -> None:
    accounts.disabled.add("ada.lovelace")
    caller = Caller(site(provider.url, accounts))
    refusal(caller.get(path_of(provider.let_in(begun(caller)))), 401, "user_disabled")


def test_a_name_that_another_user_has_is_refused(provider: RealProvider, accounts: MemoryAccounts) -> None:
    provider.name("666", preferred_username="root")
    caller = Caller(site(provider.url, accounts))
    refusal(caller.get(path_of(provider.let_in(begun(caller), "666"))), 409, "name_taken")
    assert accounts.subjects == {}


def test_a_renamed_person_stays_the_same_user(provider: RealProvider, accounts: MemoryAccounts) -> None:
    app = site(provider.url, accounts)
    for name in ("ada.lovelace", "ada.byron"):
        provider.name("4711", preferred_username=name)
        caller = Caller(app)
        assert caller.get(path_of(provider.let_in(begun(caller)))).get_json()["name"] == "ada.lovelace"


def test_the_name_may_be_in_another_claim(provider: RealProvider, accounts: MemoryAccounts) -> None:
    caller = Caller(site(provider.url, accounts, oidc_name_claim="email"))
    assert caller.get(path_of(provider.let_in(begun(caller)))).get_json()["name"] == "ada@lab.example"
    caller = Caller(site(provider.url, accounts, oidc_name_claim="nickname"))
    assert "oidc_name_claim" in refusal(caller.get(path_of(provider.let_in(begun(caller), "12"))), 401, "oidc_refused")


def test_whom_the_provider_does_not_let_in_hears_why(provider: RealProvider, accounts: MemoryAccounts) -> None:
    caller = Caller(site(provider.url, accounts))
    state = parse_qs(urlsplit(begun(caller)).query)["state"][0]
    answer = caller.get(f"/api/v1/oidc/callback?error=access_denied&error_description=not+today&state={state}")
    assert "not today" in refusal(answer, 401, "oidc_refused")


def test_another_issuer_may_not_answer(provider: RealProvider, accounts: MemoryAccounts) -> None:
    caller = Caller(site(provider.url, accounts))
    back = path_of(provider.let_in(begun(caller)))
    refusal(caller.get(f"{back}&iss=https://evil.example"), 401, "oidc_refused")


def test_without_a_provider_there_is_none(accounts: MemoryAccounts) -> None:
    assert "oidc_issuer" in refusal(Caller(site("", accounts)).get(LOGIN), 404, "oidc_not_set_up")


def test_a_provider_that_is_away_is_502_and_is_asked_again(accounts: MemoryAccounts) -> None:
    with real_provider() as provider:
        url = provider.url
    caller = Caller(site(url, accounts))
    refusal(caller.get(LOGIN), 502, "oidc_unavailable")


def test_the_secret_may_be_in_a_file(provider: RealProvider, accounts: MemoryAccounts, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from a file\n")
    caller = Caller(site(provider.url, accounts, oidc_client_secret_file=file))
    caller.get(path_of(provider.let_in(begun(caller))))
    assert provider.credentials == ["Basic Y3VtdWx1czpmcm9tIGEgZmlsZQ=="]
    file.unlink()
    answer = caller.get(path_of(provider.let_in(begun(caller))))
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (503, "setup_missing")


# A provider that lies


@pytest.fixture
def forger() -> Iterator[Forger]:
    made = Forger()
    with served(made.app()) as made.url:
        yield made


def forged(forger: Forger, accounts: MemoryAccounts) -> Any:
    caller = Caller(site(forger.url, accounts))
    asked = parse_qs(urlsplit(begun(caller)).query)
    forger.nonce = asked["nonce"][0]
    return caller.get(f"/api/v1/oidc/callback?code=x&state={asked['state'][0]}")


def signed_with_the_public_key(key: RSAKey, claims: dict[str, Any]) -> str:
    """As a reader takes it who lets the token say how it was signed; libraries refuse to make one."""
    parts = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "HS256", "kid": "1"}, claims)]
    signature = hmac.digest(key.as_pem(private=False), b".".join(parts), "sha256")
    return b".".join([*parts, urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def unsigned(claims: dict[str, Any]) -> str:
    return serialize_compact({"alg": "none"}, json.dumps(claims).encode(), None, registry=JWSRegistry(algorithms=["none"]))  # type: ignore[arg-type]


def test_an_honest_token_is_taken(forger: Forger, accounts: MemoryAccounts) -> None:
    assert forged(forger, accounts).status_code == 201


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": [CLIENT_ID, "another"], "azp": "another"},
        {"aud": "another", "azp": CLIENT_ID},
        {"aud": None},
        {"sub": None},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"exp": "soon"},
        {"iat": None},
        {"iat": 4_000_000_000},
        {"nbf": 4_000_000_000},
        {"nonce": None},
        {"nonce": "another"},
        {"at_hash": "another"},
        {"preferred_username": 7},
        {"preferred_username": ""},
    ],
    ids=str,
)
def test_a_token_that_is_not_for_this_log_in_is_refused(
    forger: Forger, accounts: MemoryAccounts, changes: dict[str, Any]
) -> None:
    forger.changes = changes
    refusal(forged(forger, accounts), 401, "oidc_refused")
    assert accounts.sessions == {}


@pytest.mark.parametrize(
    "signs",
    [
        lambda forger: unsigned,
        lambda forger: lambda claims: jwt.encode({"alg": "RS256", "kid": "1"}, claims, RSAKey.generate_key(2048)),
        lambda forger: lambda claims: signed_with_the_public_key(forger.key, claims),
        lambda forger: lambda claims: "",
        lambda forger: lambda claims: "a.b.c",
        lambda forger: lambda claims: forger_token(forger, claims)[:-4] + "AAAA",
    ],
    ids=["none", "another key", "the public key as a password", "empty", "no token", "cut"],
)
def test_a_token_that_the_provider_has_not_signed_is_refused(
    forger: Forger, accounts: MemoryAccounts, signs: Callable[[Forger], Callable[[dict[str, Any]], str]]
) -> None:
    forger.signs = signs(forger)
    refusal(forged(forger, accounts), 401, "oidc_refused")
    assert accounts.sessions == {}


def forger_token(forger: Forger, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "RS256", "kid": "1"}, claims, forger.key)


def test_keys_that_the_provider_has_changed_are_asked_for_again(forger: Forger, accounts: MemoryAccounts) -> None:
    caller = Caller(site(forger.url, accounts))
    for kid in ("1", "2", "3"):
        asked = parse_qs(urlsplit(begun(caller)).query)
        forger.nonce = asked["nonce"][0]
        key = forger.key = RSAKey.generate_key(2048, {"kid": kid})
        forger.signs = lambda claims, key=key, kid=kid: jwt.encode({"alg": "RS256", "kid": kid}, claims, key)  # type: ignore[misc]
        assert caller.get(f"/api/v1/oidc/callback?code=x&state={asked['state'][0]}").status_code == 201


def test_a_name_may_come_from_the_providers_other_answer_of_the_same_person(forger: Forger, accounts: MemoryAccounts) -> None:
    forger.changes = {"preferred_username": None}
    forger.userinfo = {"sub": "4711", "preferred_username": "ada"}
    accounts.passwords.clear()
    assert forged(forger, accounts).get_json()["name"] == "ada"
    forger.userinfo = {"sub": "4712", "preferred_username": "root"}
    refusal(forged(forger, accounts), 401, "oidc_refused")


@pytest.mark.parametrize("broken", ["", "[]", "<html>", "null", '{"error": "invalid_grant"}', "{}"])
def test_what_is_no_answer_of_a_provider_is_no_log_in(forger: Forger, accounts: MemoryAccounts, broken: str) -> None:
    forger.broken = broken or " "
    refusal(forged(forger, accounts), 401, "oidc_refused")


@pytest.mark.parametrize("metadata", [{"issuer": "https://evil.example"}, {"jwks_uri": "nowhere"}, {"issuer": None}])
def test_a_provider_that_calls_itself_otherwise_is_not_asked(
    forger: Forger, accounts: MemoryAccounts, metadata: dict[str, Any]
) -> None:
    forger.metadata = metadata
    refusal(Caller(site(forger.url, accounts)).get(LOGIN), 502, "oidc_unavailable")


def test_no_message_about_settings_shows_the_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in (
        'oidc_client_secret = "SECRET"\noidc_issuer = "ftp://x"',
        'oidc_client_secret = "SECRET"\noidc_issuer = "https://x"',
        'oidc_client_secret = ["SECRET"]\nport = 99999',
        'oidc_client_secret = "SECRET"\ncolour = 1',
        'oidc_client_secret = "SECRET"\ncloud = "openstack"\nprovisioning_timeout_s = 1',
    ):
        Path("cumulus.toml").write_text(text)
        with pytest.raises(CumulusError) as caught:
            load_settings()
        assert "SECRET" not in caught.value.message
    Path("cumulus.toml").write_text('oidc_client_secret = "SECRET"')
    assert "SECRET" not in repr(load_settings())


@pytest.mark.parametrize("issuer", ["http://login.lab.example", "login.lab.example", "https://", "file:///etc/passwd"])
def test_a_provider_is_asked_by_tls_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, issuer: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CumulusError, match="https://") as caught:
        load_settings(oidc_issuer=issuer, oidc_client_id="x")
    assert caught.value.field == "setting oidc_issuer"


def test_the_way_back_is_open_to_the_providers_page_and_nothing_else_is(app: Flask) -> None:
    elsewhere = {"Sec-Fetch-Site": "cross-site", "User-Agent": "Mozilla/5.0"}
    inside = Caller(app, TRUSTED)
    codes = {
        path: inside.get(path, headers=elsewhere).get_json(force=True)["code"]
        for path in ("/api/v1/oidc/callback?code=x", "/api/v1/oidc/login", SESSION)
    }
    assert list(codes.values()) == ["oidc_refused", "foreign_page", "foreign_page"]
    answer = inside.get("/api/v1/oidc/callback", headers={**elsewhere, "Host": "evil.example"})
    assert answer.get_json(force=True)["code"] == "foreign_host"
