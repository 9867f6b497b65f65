"""``cumulus login``: commands ask a controller elsewhere, over TCP, with a token."""

import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.app import Controller
from server.cli.accounts.credentials import Login, forget, login_file, remember, remembered
from server.cli.main import main
from server.errors import CumulusError
from server.services.accounts.tokens import TokenService
from server.services.accounts.users import NewUser, UserService
from server.services.principal import Principal
from tests.api.serving import listening
from tests.conftest import submission

PASSWORD = "correct horse battery"
ROOT = Principal.local_admin("root")


@pytest.fixture(autouse=True)
def own_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def url(controller: Controller) -> Iterator[str]:
    UserService(time.time).create(ROOT, NewUser("ada", password=PASSWORD))
    with listening(controller) as port:
        yield f"http://127.0.0.1:{port}"


def run(*arguments: str, code: int = 0, given: str = "") -> str:
    done = CliRunner().invoke(main, arguments, input=given, catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def test_with_a_password_a_token_is_made_and_logging_out_ends_it(controller: Controller, url: str) -> None:
    job = controller.jobs.submit(*submission())
    assert run("login", url, "--user", "ada", "--name", "laptop", given=f"{PASSWORD}\n") == f"{url}: ada (user; read, submit)\n"
    assert stat.S_IMODE(login_file().stat().st_mode) == 0o600
    assert [one["id"] for one in json.loads(run("jobs", "--json"))] == [job.id]
    (token,) = TokenService(time.time).list(ROOT, everybodys=True)
    assert (token.name, token.owner, token.revoked_at) == ("laptop", "ada", None)
    assert "is asked no more" in run("logout")
    (token,) = TokenService(time.time).list(ROOT, everybodys=True)
    assert token.revoked_at is not None
    assert remembered() is None


def test_a_token_that_somebody_has_is_read_from_standard_input(url: str) -> None:
    token = TokenService(time.time).create(ROOT, "mine", ["read"], owner="ada").text
    assert run("login", url, given=f"{token}\n") == f"{url}: ada (user; read)\n"
    assert run("login") == f"{url}: ada (user; read)\n"


def test_a_wrong_password_or_token_leaves_no_login(url: str) -> None:
    assert "the name or the password is wrong" in run("login", url, "--user", "ada", given="wrong wrong wrong\n", code=1)
    assert "there is no such token" in run("login", url, given="cml_1_nonsense\n", code=1)
    assert "no token is given" in run("login", url, given="\n", code=1)
    assert remembered() is None


@pytest.mark.parametrize(
    "given", ["cumulus.lab", "ftp://cumulus.lab", "http://", "http://me@cumulus.lab", "http://cumulus.lab/?x=1"]
)
def test_what_is_no_url_is_refused(given: str) -> None:
    assert "is no URL of a controller" in run("login", given, code=1)


def test_nobody_there_is_said(own_login: None) -> None:
    assert "no controller answers at http://127.0.0.1:1" in run("login", "http://127.0.0.1:1", given="cml_1_x\n", code=1)


def test_a_file_that_others_can_read_or_that_is_no_login_is_refused() -> None:
    remember(Login("http://cumulus.lab", "cml_1_x"))
    login_file().chmod(0o644)
    with pytest.raises(CumulusError, match="can be read by others"):
        remembered()
    login_file().chmod(0o600)
    login_file().write_text("{")
    with pytest.raises(CumulusError, match="is no login"):
        remembered()
    assert forget()
    assert not forget()


def test_a_home_that_is_named_counts_more_than_a_login(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(Login("http://127.0.0.1:1", "cml_1_x"))
    assert "no controller answers" in run("jobs", code=1)
    for name in ("HOME", "APPS", "FLAVORS"):
        monkeypatch.setenv(f"CUMULUS_{name}", str(getattr(controller.settings, name.lower())))
    assert run("jobs") == "there is no job yet\n"


def test_a_variable_counts_more_than_both(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUMULUS_HOME", "/nowhere")
    monkeypatch.setenv("CUMULUS_URL", url)
    monkeypatch.setenv("CUMULUS_TOKEN", TokenService(time.time).create(ROOT, "mine", ["read"], owner="ada").text)
    assert run("jobs") == "there is no job yet\n"
    assert os.environ["CUMULUS_TOKEN"] not in run("login")
