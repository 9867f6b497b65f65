"""Attempts to get at what is somebody else's, or to learn of it."""

import json
import os
from typing import Any

import pytest
from flask import Flask

from cumulus_client.operations import PREFIX
from programs.errors import user_name
from programs.http.unix_door import PEER_UID
from server.app import Controller
from server.application import create_app
from server.client import REFUSED
from server.db.models import Job
from server.services.accounts.users import NewUser
from server.services.principal import Principal
from server.states import JobState
from tests.api.identity.conftest import UNTRUSTED, Caller
from tests.api.identity.worlds import PASSWORDS, DatabaseWorld
from tests.conftest import submission
from tests.database_contents import contents

ROOT = Principal.local_admin("root")
NOBODY = 65534


@pytest.fixture
def world(controller: Controller) -> DatabaseWorld:
    assert controller.database
    return DatabaseWorld()


@pytest.fixture
def app(controller: Controller, world: DatabaseWorld) -> Flask:
    return create_app(controller, world.accounts)


def caller(app: Flask, world: DatabaseWorld, kind: str) -> Caller:
    return Caller(app, UNTRUSTED, world.tokens[kind])


@pytest.mark.parametrize("method", ["DELETE", "POST"])
@pytest.mark.parametrize("owner", ["ada", "bob", "meg"])
def test_whose_a_job_is_cannot_be_guessed(
    app: Flask, controller: Controller, world: DatabaseWorld, method: str, owner: str
) -> None:
    """A guess that is right gets the same answer as one that is wrong, and as for a job that does not exist."""
    job, bob = controller.jobs.submit(*submission("ada")), caller(app, world, "other")

    def said(number: int) -> tuple[int, str]:
        path = f"{PREFIX}/jobs/{number}"
        if method == "POST":
            answer = bob.post(f"{path}/cancel", json={"owner": owner})
        else:
            answer = bob.ask(method, f"{path}?owner={owner}")
        return answer.status_code, answer.get_json()["detail"].replace(str(number), "N")

    assert said(job.id) == said(job.id + 1) == (404, "there is no job N of bob")


@pytest.mark.parametrize("path", ["/jobs", "/me", "/tokens", "/uploads"])
def test_a_disabled_user_does_not_get_in_by_the_computers_login(
    app: Flask, controller: Controller, world: DatabaseWorld, path: str
) -> None:
    name = user_name(NOBODY)
    world.services.users.create(ROOT, NewUser(name))
    local, environ = Caller(app, UNTRUSTED), {PEER_UID: NOBODY}
    assert local.ask("GET", PREFIX + path, environ=environ).status_code == 200
    world.services.users.disable(ROOT, name)
    answer = local.ask("GET", PREFIX + path, environ=environ)
    assert (answer.status_code, answer.get_json()["code"]) == (401, "user_disabled")
    assert local.ask("GET", "/joblist/-/100", environ=environ).headers[REFUSED].startswith("user_disabled")
    world.services.users.enable(ROOT, name)
    assert local.ask("GET", PREFIX + path, environ=environ).status_code == 200


def test_a_token_for_reading_sees_the_own_uploads_and_changes_none(app: Flask, world: DatabaseWorld) -> None:
    tus = {"Tus-Resumable": "1.0.0"}
    new = {**tus, "Upload-Length": "5", "Upload-Metadata": "filename eC5kYXQ="}
    made = caller(app, world, "user").post(f"{PREFIX}/uploads", headers=new)
    path = made.headers["Location"]
    reader, before = caller(app, world, "reader"), contents()
    assert reader.get(path).get_json()["filename"] == "x.dat"
    part = {**tus, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    assert reader.ask("PATCH", path, headers=part, data=b"hello").status_code == 403
    assert reader.ask("DELETE", path, headers=tus).status_code == 403
    for kind in ("other", "teammate"):
        assert caller(app, world, kind).get(path).status_code == 404
    assert contents() == before


def test_no_answer_is_given_to_another_user(app: Flask, controller: Controller, world: DatabaseWorld) -> None:
    """The answers that are kept, and the tags by which a browser has one, are of those who asked."""
    job = controller.jobs.submit(*submission("ada"))
    hers = caller(app, world, "user").get(f"{PREFIX}/jobs/{job.id}")
    assert hers.headers["Cache-Control"] == "private, no-cache"
    for kind, status in (("other", 404), ("teammate", 200), ("expired", 401), ("revoked", 401), ("agent", 403)):
        answer = caller(app, world, kind).get(f"{PREFIX}/jobs/{job.id}", headers={"If-None-Match": "*"})
        assert answer.status_code in (status, 304 if status == 200 else status)
        assert "ETag" not in answer.headers or status == 200
    lists = {kind: caller(app, world, kind).get(f"{PREFIX}/jobs").get_json()["jobs"] for kind in ("user", "other", "reader")}
    assert [len(found) for found in lists.values()] == [1, 0, 1]
    tag = caller(app, world, "user").get(f"{PREFIX}/jobs").headers["ETag"]
    assert caller(app, world, "other").get(f"{PREFIX}/jobs", headers={"If-None-Match": tag}).status_code == 200


def test_rights_that_end_end_for_kept_answers(app: Flask, controller: Controller, world: DatabaseWorld) -> None:
    job, tim = controller.jobs.submit(*submission("ada")), caller(app, world, "teammate")
    assert tim.get(f"{PREFIX}/jobs/{job.id}").status_code == 200
    world.services.groups.remove_member(ROOT, "team", "tim")
    assert tim.get(f"{PREFIX}/jobs/{job.id}").status_code == 404
    assert tim.get(f"{PREFIX}/jobs").get_json()["jobs"] == []


@pytest.mark.parametrize("name", ["page.html", "picture.svg", "script.js", "report.xml", "a.htm"])
def test_a_browser_runs_no_result(app: Flask, controller: Controller, world: DatabaseWorld, name: str) -> None:
    output = ended_job(controller)
    (output / name).write_text("<script>alert(1)</script>")
    answer = caller(app, world, "user").get(f"{PREFIX}/jobs/1/results/{name}")
    assert answer.status_code == 200
    assert answer.mimetype == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "private" in answer.headers["Cache-Control"]


@pytest.mark.parametrize(
    "path",
    [
        "link",
        "folder/passwd",
        "../settings.json",
        "..%2f..%2fsettings.json",
        "%2e%2e/%2e%2e/settings.json",
        "/etc/passwd",
        "//etc/passwd",
        "a/../../../../../../etc/passwd",
        "%00",
        "pipe",
        ".",
        "x" * 300,
    ],
)
def test_nothing_but_a_jobs_results_is_given(app: Flask, controller: Controller, world: DatabaseWorld, path: str) -> None:
    output = ended_job(controller)
    (output / "link").symlink_to("/etc/passwd")
    (output / "folder").symlink_to("/etc")
    os.mkfifo(output / "pipe")
    answer = caller(app, world, "user").get(f"{PREFIX}/jobs/1/results/{path}")
    assert answer.status_code in (404, 422), answer.text[:200]
    assert b"root:" not in answer.data


def ended_job(controller: Controller) -> Any:
    job = controller.jobs.submit(*submission("ada"))
    Job.update(state=JobState.DONE, outcome=JobState.DONE).where(Job.id == job.id).execute()
    output = controller.jobs.folder(job).path / "output"
    output.mkdir(exist_ok=True)
    return output


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/jobs", {"app": "probe_1.0", "settings": {}, "owner": "bob"}),
        ("/batches", {"app": "probe_1.0", "files": ["a.dat"], "owner": "bob"}),
        ("/batches/check", {"app": "probe_1.0", "files": ["a.dat"], "owner": "bob"}),
    ],
)
@pytest.mark.parametrize("kind", ["user", "manager", "teammate"])
def test_nobody_submits_for_somebody_else(app: Flask, world: DatabaseWorld, path: str, body: Any, kind: str) -> None:
    before = contents()
    answer = caller(app, world, kind).post(PREFIX + path, json=body)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden")
    assert contents() == before


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/groups/lab/members/meg", {"is_manager": True}),
        ("PUT", "/groups/lab/members/root", {"is_manager": False}),
        ("PUT", "/groups/lab/members/ada", {"is_manager": True}),
        ("DELETE", "/groups/lab/members/meg", None),
        ("PUT", "/groups/team/members/meg", {"is_manager": False}),
        ("PATCH", "/groups/lab", {"quota_gb": 1000000}),
        ("PATCH", "/users/meg", {"role": "admin"}),
        ("PATCH", "/users/ada", {"quota_gb": 1}),
        ("POST", "/users/ada/password", {"new": "a long new password"}),
        ("POST", "/users/ada/invitation", {}),
        ("POST", "/tokens", {"name": "x", "scopes": ["read"], "owner": "ada"}),
        ("POST", "/tokens", {"name": "x", "scopes": ["read"], "for_agent": True}),
    ],
)
def test_a_group_manager_gets_no_more_rights(app: Flask, world: DatabaseWorld, method: str, path: str, body: Any) -> None:
    before = contents()
    answer = caller(app, world, "manager").ask(method, PREFIX + path, json=body)
    assert answer.status_code in (403, 404), answer.text
    assert contents() == before


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("DELETE", "/users/root", None), ("POST", "/users/root/disable", {}), ("PATCH", "/users/root", {"role": "user"})],
)
def test_the_last_administrator_stays(app: Flask, world: DatabaseWorld, method: str, path: str, body: Any) -> None:
    before = contents()
    answer = caller(app, world, "admin").ask(method, PREFIX + path, json=body)
    assert (answer.status_code, answer.get_json()["field"]) == (409, "user"), answer.text
    assert contents() == before


@pytest.mark.parametrize(
    "headers", [{"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, {"X-Real-IP": "127.0.0.1"}]
)
def test_no_header_makes_a_network_trusted(app: Flask, controller: Controller, headers: dict[str, str]) -> None:
    job = controller.jobs.submit(*submission("ada"))
    Caller(app, UNTRUSTED).get(f"/cancel/ada/{job.id}", headers=headers)
    assert Job.get_by_id(job.id).state == "uploading"
    assert Caller(app, UNTRUSTED).get("/metrics", headers=headers).status_code == 401


def test_no_header_goes_around_the_limit_of_log_ins(app: Flask) -> None:
    statuses = [
        Caller(app, UNTRUSTED)
        .post(f"{PREFIX}/session", json={"name": "ada", "password": "x"}, headers={"X-Forwarded-For": f"10.0.0.{number}"})
        .status_code
        for number in range(13)
    ]
    assert statuses[-1] == 429


@pytest.mark.parametrize("query", ["token={}", "access_token={}", "authorization=Bearer%20{}"])
def test_a_token_in_an_address_counts_for_nothing(app: Flask, world: DatabaseWorld, query: str) -> None:
    assert Caller(app, UNTRUSTED).get(f"{PREFIX}/me?{query.format(world.tokens['user'])}").status_code == 401


def test_the_audit_has_no_secret(app: Flask, world: DatabaseWorld) -> None:
    token = world.tokens["user"]
    Caller(app, UNTRUSTED).post(f"{PREFIX}/session", json={"name": token, "password": PASSWORDS["ada"] + "x"})
    Caller(app, UNTRUSTED).get(f"{PREFIX}/jobs/{token}?owner={token}")
    Caller(app, UNTRUSTED).get(f"/cancel/{token}/1")
    found = json.dumps(world.recorded(), default=str)
    assert token.rpartition("_")[2] not in found
    assert PASSWORDS["ada"] not in found


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8888", "127.0.0.1.evil.example"])
def test_a_name_that_was_bound_to_this_address_is_refused(app: Flask, world: DatabaseWorld, host: str) -> None:
    answer = caller(app, world, "user").get(f"{PREFIX}/me", headers={"Host": host})
    assert (answer.status_code, answer.get_json()["code"]) == (403, "foreign_host")
