"""An application with accounts in memory, asked from wherever a test likes."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from server.api.identity.accounts import Accounts
from server.app import Controller
from server.application import create_app
from tests.api.identity.accounts import MemoryAccounts, MemoryAudit

TRUSTED, UNTRUSTED = "127.0.0.1", "203.0.113.9"
DESKTOP_AGENT = "Mozilla/5.0 (Windows NT 10.0) cumulus/2.2.5 Chrome/120 Electron/28.0.0 Safari/537.36"


class Caller:
    """Somebody who asks from an address, with a token or a cookie."""

    def __init__(self, app: Flask, address: str = UNTRUSTED, token: str = "", scheme: str = "http", **headers: str) -> None:
        self.client: FlaskClient = app.test_client()
        self.address = address
        self.scheme = scheme
        self.headers = {"User-Agent": DESKTOP_AGENT, **headers, **({"Authorization": f"Bearer {token}"} if token else {})}

    def ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, environ: Any = None, **given: Any) -> Any:
        """The answer."""
        environ = {"REMOTE_ADDR": self.address, **(environ or {})}
        if path.startswith("//"):  # which the test client takes for a host
            environ["PATH_INFO"] = path
        url = f"{self.scheme}://localhost{path}"
        return self.client.open(
            url, method=method, headers={**self.headers, **(headers or {})}, environ_overrides=environ, **given
        )

    def get(self, path: str, **given: Any) -> Any:
        return self.ask("GET", path, **given)

    def post(self, path: str, **given: Any) -> Any:
        return self.ask("POST", path, **given)


@pytest.fixture
def accounts() -> MemoryAccounts:
    return MemoryAccounts()


@pytest.fixture
def audit() -> MemoryAudit:
    return MemoryAudit()


@pytest.fixture
def app(controller: Controller, accounts: MemoryAccounts, audit: MemoryAudit) -> Flask:
    return create_app(controller, Accounts(accounts, audit))
