"""``cumulus user``, ``group``, ``token``, ``audit``: beside a controller and without one, the same words."""

import json
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from click.testing import CliRunner

from server.app import Controller
from server.cli.main import main
from server.home.running import announce, withdraw
from tests.api.v1.local import at_the_socket

PASSWORD = "correct horse battery"


@pytest.fixture(params=["beside a controller", "without one"])
def installation(request: pytest.FixtureRequest, controller: Controller, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    settings = controller.settings
    for name, value in (("HOME", settings.home), ("CLOUD", "local"), ("APPS", settings.apps), ("FLAVORS", settings.flavors)):
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))
    is_run = request.param == "beside a controller"
    with at_the_socket(controller) if is_run else nullcontext():
        if is_run:
            announce(settings.home, "http://127.0.0.1:1")
        yield controller
        withdraw(settings.home)


def run(*arguments: str, code: int = 0, given: str = "") -> str:
    done = CliRunner().invoke(main, arguments, input=given, catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def test_a_user_s_life(installation: Controller) -> None:
    assert "there is no user yet" in run("user", "list")
    assert "root is an administrator now" in run("user", "create", "root", "--role", "admin", "--password", given=f"{PASSWORD}\n")
    made = json.loads(run("user", "create", "ada", "--email", "ada@lab.example", "--quota-gb", "5", "--json"))
    assert (made["name"], made["role"], made["quota_gb"]) == ("ada", "user", 5)
    assert "/login/link?secret=" in made["invitation"]
    run("user", "change", "ada", "--role", "admin", "--quota-gb", "0")
    (ada,) = [one for one in json.loads(run("user", "list", "--json")) if one["name"] == "ada"]
    assert (ada["role"], ada["email"], ada["quota_gb"]) == ("admin", "ada@lab.example", None)
    assert "has a new password" in run("user", "password", "ada", given=f"{PASSWORD}\n")
    run("user", "disable", "ada")
    assert "disabled" in run("user", "list")
    run("user", "enable", "ada")
    run("user", "delete", "ada")
    assert "there is no user 'ada'" in run("user", "delete", "ada", code=1)


def test_a_group_s_life(installation: Controller) -> None:
    run("user", "create", "ada", "--password", given=f"{PASSWORD}\n")
    run("group", "create", "proteomics", "--shares-jobs")
    assert run("group", "add", "proteomics", "ada", "--manager") == "ada is a manager of proteomics\n"
    (found,) = json.loads(run("group", "list", "--json"))
    assert (found["shares_jobs"], found["members"]) == (True, [{"name": "ada", "is_manager": True}])
    run("group", "change", "proteomics", "--hides-jobs", "--quota-gb", "10")
    (found,) = json.loads(run("group", "list", "--json"))
    assert (found["shares_jobs"], found["quota_gb"]) == (False, 10)
    run("group", "remove", "proteomics", "ada")
    assert "there is no group 'genomics'" in run("group", "add", "genomics", "ada", code=1)
    run("group", "delete", "proteomics")
    assert "there is no group" in run("group", "list")


def test_a_token_is_shown_once_and_is_of_no_use_after_its_end(installation: Controller) -> None:
    run("user", "create", "ada", "--password", given=f"{PASSWORD}\n")
    made = json.loads(run("token", "create", "laptop", "--user", "ada", "--days", "30", "--json"))
    assert made["text"].startswith(f"cml_{made['id']}_")
    assert (made["owner"], made["scopes"]) == ("ada", ["read", "submit"])
    agents = json.loads(run("token", "create", "lumos", "--agent", "--json"))
    assert (agents["owner"], agents["role"]) == ("", "agent")
    shown = run("token", "list", "--all", "--json")
    assert made["text"] not in shown
    assert [one["name"] for one in json.loads(shown)] == ["lumos", "laptop"]
    assert "is revoked" in run("token", "revoke", str(made["id"]))
    assert "revoked" in run("token", "list", "--all")
    assert "there is no token 99" in run("token", "revoke", "99", code=1)


def test_the_audit_has_what_was_done(installation: Controller) -> None:
    run("user", "create", "ada", "--password", given=f"{PASSWORD}\n")
    run("group", "create", "proteomics")
    actions = [one["action"] for one in json.loads(run("audit", "--json"))]
    assert actions[:2] == ["group_create", "user_create"]
    assert json.loads(run("audit", "--action", "group_create", "--json"))[0]["subject"] == "group proteomics"
    assert "no such line" in run("audit", "--who", "nobody")
    assert PASSWORD not in run("audit", "--json")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("user", "create", "a<b", "--password"), 1, "name"),
        (("user", "create", "x" * 65, "--password"), 1, "name"),
        (("user", "create", "ada", "--role", "king"), 2, "king"),
        (("user", "change", "ada"), 2, "say what to change"),
        (("group", "change", "ada"), 2, "say what to change"),
        (("token", "create", "x" * 81), 1, "name"),
        (("token", "create", "t", "--days", "0"), 2, "days"),
        (("token", "create", "t", "--days", "36501"), 1, "days"),
        (("token", "revoke", "one"), 2, "one"),
        (("audit", "--number", "0"), 2, "number"),
    ],
)
def test_what_is_wrong_is_named(installation: Controller, arguments: tuple[str, ...], code: int, text: str) -> None:
    assert text in run(*arguments, code=code, given=f"{PASSWORD}\n")
