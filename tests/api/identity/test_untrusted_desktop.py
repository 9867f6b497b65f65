"""An unmodified desktop client in a network that is not trusted: it starts, shows nothing of anybody's, and says why."""

import json
from typing import Any

import pytest
from flask import Flask

from server.api.identity.accounts import Accounts
from server.app import Controller
from server.application import create_app
from server.db.models import Job
from server.settings import Settings
from tests.api.identity.accounts import MemoryAccounts, MemoryAudit
from tests.api.identity.conftest import TRUSTED, UNTRUSTED, Caller
from tests.api.identity.matrix import START_FORM
from tests.conftest import submission


@pytest.fixture
def outside(app: Flask) -> Caller:
    return Caller(app)


def test_it_starts(outside: Caller) -> None:
    config, info, apps = (outside.get(path).get_json() for path in ("/config", "/info", "//apps"))
    assert tuple(map(int, config["controller.version"].split("."))) >= (0, 6, 0)
    assert "m1.4xlarge" in info
    assert apps["probe_1.0"].startswith("<tool")


def test_it_says_why_where_a_job_is_submitted(outside: Caller) -> None:
    sentence, folder = outside.post("/start", data=START_FORM).get_json()
    assert sentence == (
        f"This computer ({UNTRUSTED}) is in no network that the Cumulus server trusts, so it does not believe who you are. Ask "
        "its administrator to add the network to trusted_networks (and a proxy in between to trusted_proxies)"
    )
    assert folder == ""
    assert Job.select().count() == 0


def test_the_apps_of_others_jobs_are_not_told(outside: Caller, app: Flask, controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    Job.update(app="secret_project_1.0").where(Job.id == job.id).execute()
    assert "secret_project_1.0" in Caller(app, TRUSTED).get("/apps").get_json()
    assert "secret_project_1.0" not in outside.get("/apps").get_json()
    assert "secret_project_1.0" in Caller(app, TRUSTED).get("/apps").get_json()


def test_every_answer_is_ascii_json_that_is_not_cached(outside: Caller) -> None:
    for path in ("/joblist/1/100", "/storage", "/diskusage", "/cancel/ada/1", "/delete/ada/1"):
        answer = outside.get(path)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
        json.loads(answer.data.decode("ascii"))


def test_an_agent_of_an_earlier_version_does_not_take_an_empty_list_for_deleted_jobs(app: Flask) -> None:
    agent = Caller(app)
    del agent.headers["User-Agent"]
    agent.client.environ_base.pop("HTTP_USER_AGENT", None)
    assert agent.get("/joblist/1/1").status_code == 403


def test_health_is_told_to_all_and_details_to_those_inside(app: Flask) -> None:
    assert Caller(app).get("/healthz").get_json() == {"status": "ok"}
    assert Caller(app, token="cml_nonsense").get("/healthz").get_json() == {"status": "ok"}
    for inside in (Caller(app, TRUSTED), Caller(app, token="cml_ada")):
        assert set(inside.get("/healthz").get_json()) == {"status", "version", "cloud"}


def test_what_is_wrong_is_told_to_those_inside(app: Flask, controller: Controller, settings: Settings) -> None:
    settings.database.rename(settings.database.with_suffix(".moved"))
    outside, inside = Caller(app).get("/healthz"), Caller(app, TRUSTED).get("/healthz")
    assert (outside.status_code, inside.status_code) == (503, 503)
    assert str(settings.database) in inside.text
    assert str(settings.database) not in outside.text
    assert outside.get_json()["error"]["message"] == "the controller cannot work; its log says why"


def test_a_cookie_counts_for_nothing(app: Flask, outside: Caller, controller: Controller) -> None:
    """A link in a mail could otherwise cancel a job."""
    job = controller.jobs.submit(*submission())
    outside.post("/api/v1/session", json={"name": "ada", "password": "lovelace"})
    assert "trusted_networks" in outside.get(f"/cancel/ada/{job.id}").get_json()


def test_a_token_to_read_changes_nothing(app: Flask, controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    reader = Caller(app, token="cml_ada_read")
    for answer in (reader.get(f"/cancel/ada/{job.id}"), reader.post("/start", data=START_FORM)):
        assert (answer.status_code, answer.headers["Cumulus-Refused"]) == (403, "scope_missing")
    assert reader.get(f"/log/ada/{job.id}").status_code in (200, 404)
    assert Job.select().count() == 1


@pytest.mark.parametrize(("token", "owner"), [("cml_ada", "ada"), ("cml_meg", "ada"), ("cml_root", "eve")])
def test_a_token_submits_for_whom_it_may(app: Flask, token: str, owner: str) -> None:
    number, folder = Caller(app, token=token).post("/start", data={**START_FORM, "username": owner}).get_json()
    assert Job.get_by_id(number).owner == owner
    assert f"_{owner}_" in folder


def test_too_many_submissions_are_a_sentence(settings: Settings, controller: Controller) -> None:
    settings.submissions_per_minute = 2
    app = create_app(controller)
    client = Caller(app, TRUSTED)
    answers: list[Any] = [client.post("/start", data=START_FORM) for _ in range(3)]
    assert [answer.get_json()[1] != "" for answer in answers] == [True, True, False]
    last = answers[-1]
    assert last.get_json()[0].startswith("too many submissions: try again in ")
    assert (last.status_code, last.headers["Cumulus-Refused"]) == (200, "rate_limited")
    assert 0 < int(last.headers["Retry-After"]) <= 60
    assert Job.select().count() == 2
    assert client.post("/start", data={**START_FORM, "username": "bob"}).get_json()[1]


def test_a_program_with_a_token_gets_the_status_too(
    settings: Settings, controller: Controller, accounts: MemoryAccounts, audit: MemoryAudit
) -> None:
    settings.submissions_per_minute = 1
    client = Caller(create_app(controller, Accounts(accounts, audit)), token="cml_ada")
    assert [client.post("/start", data=START_FORM).status_code for _ in range(2)] == [200, 429]
    assert [line["code"] for line in audit.lines] == ["", "rate_limited"]
