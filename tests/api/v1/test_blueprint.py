"""What every operation has in common over HTTP: fields, problems, tags."""

import json

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from programs.http.unix_door import PEER_UID
from server.app import Controller
from server.application import create_app
from tests.conftest import submission

ROOT = {PEER_UID: 0}


@pytest.fixture
def client(controller: Controller) -> FlaskClient:
    return create_app(controller).test_client()


def get(client: FlaskClient, path: str, **more: object) -> TestResponse:
    return client.get(f"/api/v1{path}", environ_overrides=ROOT, **more)  # type: ignore[arg-type]


def problem(response: TestResponse) -> tuple[int, str, str | None]:
    assert response.mimetype == "application/problem+json"
    told = json.loads(response.data)
    assert told["status"] == response.status_code
    assert told["title"]
    assert told["detail"]
    return response.status_code, told["code"], told.get("field")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/jobs?limit=x", "limit"),
        ("/jobs?limit=-1", "limit"),
        ("/jobs?limit=1&limit=2", "limit"),
        ("/jobs?limit=99999999999999999999", "limit"),
        ("/jobs?colour=red", "colour"),
        (f"/jobs?owner={'x' * 1001}", "owner"),
        ("/jobs/0", "job"),
        ("/jobs/-1", "job"),
        ("/jobs/9999999999999999", "job"),
        ("/jobs/one", "job"),
    ],
)
def test_a_field_that_is_wrong_is_named(client: FlaskClient, path: str, field: str) -> None:
    assert problem(get(client, path)) == (422, "invalid_input", field)


def test_all_faults_are_told(client: FlaskClient) -> None:
    told = json.loads(get(client, "/jobs?limit=x&colour=red").data)
    assert [one["field"] for one in told["errors"]] == ["limit", "colour"]


@pytest.mark.parametrize("path", ["/", "/nothing", "/jobs/", "/jobs/1/2", "//jobs", "/jobs/1/cancel/"])
def test_what_is_no_route_is_a_problem_and_no_redirect(client: FlaskClient, path: str) -> None:
    assert problem(get(client, path))[:2] == (404, "not_found")


def test_a_method_that_a_route_does_not_have(client: FlaskClient) -> None:
    response = client.delete("/api/v1/jobs", environ_overrides=ROOT)
    assert problem(response)[:2] == (405, "method_not_allowed")
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"job=1", "application/x-www-form-urlencoded", 415),
        (b"{}", "text/plain", 415),
        (b'{"more": 1}', "application/json", 422),
    ],
)
def test_a_body_that_is_no_json_changes_nothing(
    controller: Controller, client: FlaskClient, body: bytes, kind: str, status: int
) -> None:
    job = controller.jobs.submit(*submission())
    response = client.post(f"/api/v1/jobs/{job.id}/cancel", data=body, content_type=kind, environ_overrides=ROOT)
    assert problem(response)[0] == status
    assert json.loads(get(client, f"/jobs/{job.id}").data)["state"] == "uploading"


def test_fields_of_a_change_do_not_stand_in_the_query(controller: Controller, client: FlaskClient) -> None:
    job = controller.jobs.submit(*submission())
    response = client.post(f"/api/v1/jobs/{job.id}/cancel?force=1", environ_overrides=ROOT)
    assert problem(response) == (422, "invalid_input", "force")


def test_what_has_not_changed_is_not_sent_again(controller: Controller, client: FlaskClient) -> None:
    controller.jobs.submit(*submission())
    first = get(client, "/jobs")
    assert first.headers["Cache-Control"] == "private, no-cache"
    again = get(client, "/jobs", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    controller.jobs.submit(*submission())
    later = get(client, "/jobs", headers={"If-None-Match": first.headers["ETag"]})
    assert (later.status_code, len(json.loads(later.data)["jobs"])) == (200, 2)


def test_a_fault_of_the_server_says_nothing_of_its_inside(
    controller: Controller, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("server.services.jobs.lookup.JobLookup.listed", fail)
    response = get(client, "/jobs")
    assert problem(response)[:2] == (500, "internal")
    assert b"secret" not in response.data


def test_a_database_that_cannot_be_read(controller: Controller, client: FlaskClient) -> None:
    controller.database.execute_sql("DROP TABLE job")
    assert problem(get(client, "/jobs"))[0] in (500, 503)
