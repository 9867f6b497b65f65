"""OpenID Connect providers on this computer: a real one, and one that forges."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import httpx
import oidc_provider_mock
from flask import Flask, jsonify, request
from joserfc import jwt
from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

CLIENT_ID = "cumulus"


@contextmanager
def served(application: Any) -> Iterator[str]:
    """The URL at which an application answers within the block."""
    server = make_server("localhost", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class RealProvider:
    """One that somebody has made for tests. ``asked``: the forms that its token endpoint got."""

    url: str
    asked: list[dict[str, str]] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)

    def let_in(self, login: str, subject: str = "4711", **changes: str) -> str:
        """Where the provider sends somebody who logs in there; ``changes``: of what it was asked."""
        parts = urlsplit(login)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()} | changes
        answer = httpx.post(urlunsplit(parts._replace(query=urlencode(query))), data={"sub": subject}, trust_env=False)
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    def name(self, subject: str, **claims: object) -> None:
        """What it knows of somebody."""
        httpx.put(f"{self.url}/users/{subject}", json=claims, trust_env=False).raise_for_status()


@contextmanager
def real_provider(**options: Any) -> Iterator[RealProvider]:
    """The provider within the block."""
    app = oidc_provider_mock.app(require_nonce=True, **options)
    found = RealProvider("")

    @app.before_request
    def note() -> None:
        if request.path == "/oauth2/token":
            found.asked.append(request.form.to_dict())
            found.credentials.append(request.headers.get("Authorization", ""))

    with served(app) as found.url:
        found.name("4711", preferred_username="ada.lovelace", name="Ada Lovelace", email="ada@lab.example")
        yield found


class Forger:
    """One that answers with whatever token a test likes. ``claims``, ``header``, ``key``: of the token that it gives."""

    def __init__(self) -> None:
        self.url = ""
        self.key = RSAKey.generate_key(2048, {"kid": "1"})
        self.signs: Callable[[dict[str, Any]], str] = lambda claims: jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.key)
        self.changes: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.nonce = ""
        self.broken = ""

    def app(self) -> Flask:
        app = Flask("forger")
        app.add_url_rule("/.well-known/openid-configuration", "metadata", lambda: jsonify(self._metadata()))
        app.add_url_rule("/jwks", "jwks", lambda: jsonify({"keys": [self.key.as_dict(private=False)]}))
        app.add_url_rule("/token", "token", self._token, methods=["POST"])
        app.add_url_rule("/userinfo", "userinfo", lambda: jsonify(self.userinfo))
        return app

    def _metadata(self) -> dict[str, Any]:
        ends = {
            "authorization_endpoint": "authorize",
            "token_endpoint": "token",
            "jwks_uri": "jwks",
            "userinfo_endpoint": "userinfo",
        }
        return {"issuer": self.url, **{name: f"{self.url}/{path}" for name, path in ends.items()}, **self.metadata}

    def _token(self) -> Any:
        if self.broken:
            return self.broken, 200
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": "4711",
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 60,
            "nonce": self.nonce,
            "preferred_username": "ada.lovelace",
        }
        given = {name: value for name, value in {**claims, **self.changes}.items() if value is not None}
        return json.dumps({"access_token": "x", "token_type": "Bearer", "id_token": self.signs(given)}), 200
