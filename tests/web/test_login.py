"""The page that a one-time link opens."""

import re
import time
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from server.app import Controller
from server.application import create_app
from server.db.account_models import User
from server.services.accounts.links import FirstAdmin, LinkService, link_url
from server.services.accounts.users import NewUser, UserService
from server.services.principal import Principal

PASSWORD = "correct horse battery"
ROOT = Principal.local_admin("root")


@pytest.fixture
def client(controller: Controller) -> FlaskClient:
    return create_app(controller).test_client()


@pytest.fixture
def path(controller: Controller) -> str:
    link = FirstAdmin(time.time).link("http://cumulus.lab")
    assert link is not None
    parts = urlsplit(link)
    return f"{parts.path}?{parts.query}"


def use(client: FlaskClient, path: str, name: str = "ada", password: str = PASSWORD, again: str | None = None) -> TestResponse:
    return client.post(path, data={"name": name, "password": password, "again": password if again is None else again})


def test_the_first_administrator_chooses_name_and_password_once(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 200  # a preview of the link does not use it up
    done = use(client, path)
    assert done.status_code == 200
    assert "You are ada" in done.text
    assert client.get("/api/v1/me").get_json()["roles"] == ["administrator", "user"]
    assert User.get(User.name == "ada").role == "admin"
    again = use(client, path, "eve")
    assert again.status_code == 401
    assert 'role="alert"' in again.text
    assert FirstAdmin(time.time).link("http://cumulus.lab") is None


@pytest.mark.parametrize(
    ("given", "status", "text"),
    [
        ({"password": "short"}, 422, "12"),
        ({"again": "another one that is long"}, 422, "The two passwords differ"),
        ({"name": "<b>"}, 400, "name"),
        ({"name": ""}, 400, "name"),
        ({"password": ""}, 400, "password"),
    ],
)
def test_what_is_wrong_is_said_and_the_link_stays_good(
    client: FlaskClient, path: str, given: dict[str, str], status: int, text: str
) -> None:
    refused = use(client, path, **given)
    assert refused.status_code in (400, status)
    assert text in refused.text
    assert "Set-Cookie" not in refused.headers
    assert "<b>" not in refused.text
    assert use(client, path).status_code == 200


def test_an_invited_user_chooses_a_password(controller: Controller, client: FlaskClient) -> None:
    UserService(time.time).create(ROOT, NewUser("bob"))
    link = urlsplit(link_url("http://cumulus.lab", LinkService(time.time).invite(ROOT, "bob").secret))
    path = f"{link.path}?{link.query}"
    assert use(client, path, "eve").status_code == 400  # it is for another one
    assert "You are bob" in use(client, path, "bob").text
    assert client.get("/api/v1/me").get_json()["roles"] == ["user"]


def test_the_page_runs_no_script_loads_nothing_and_leaves_no_trace(client: FlaskClient, path: str) -> None:
    for page in (client.get(path), use(client, path, again="another one that is long")):
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert (page.headers["Referrer-Policy"], page.headers["Cache-Control"]) == ("no-referrer", "no-store")
        assert "<script" not in page.text
        assert not re.search(r'(?:src|href)="(?!/api/v1/docs)', page.text)
        assert PASSWORD not in page.text


def test_another_sites_page_logs_nobody_in(client: FlaskClient, path: str) -> None:
    refused = client.post(path, data={"name": "ada", "password": PASSWORD, "again": PASSWORD}, headers={"Origin": "http://evil"})
    assert refused.status_code == 403
    assert User.select().count() == 0
