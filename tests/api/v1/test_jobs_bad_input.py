"""What no job, list or submission can be is refused with the field's name, and changes nothing."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from programs.http.unix_door import PEER_UID
from server.app import Controller
from server.application import create_app
from server.db.models import Job
from tests.conftest import submission

ROOT, NOBODY = {PEER_UID: 0}, {PEER_UID: 65534}
FORM = {"text": "hello", "seconds": "0", "outcome": "ok"}
GOOD = {"app": "probe_1.0", "flavor": "m1.4xlarge", "settings": FORM}


@pytest.fixture
def client(controller: Controller) -> FlaskClient:
    controller.jobs.submit(*submission())
    return create_app(controller).test_client()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=99999999999", "limit"),
        ("limit=1&limit=2", "limit"),
        ("state=asleep", "state.0"),
        ("state=deleted", "state.0"),
        ("&".join(["state=done"] * 21), "state"),
        ("owner=" + "x" * 1001, "owner"),
        ("app=" + "x" * 1001, "app"),
        ("text=" + "x" * 1001, "text"),
        ("created_from=yesterday", "created_from"),
        ("created_to=-1", "created_to"),
        ("ended_from=nan", "ended_from"),
        ("ended_to=1e300", "ended_to"),
        ("created_from=5&created_to=4", "created_to"),
        ("ended_from=5&ended_to=4", "ended_to"),
        ("after=1", "after"),
        ("after=..", "after"),
        ("after=" + "f" * 14 + ".", "after"),
        ("unknown=1", "unknown"),
    ],
)
def test_a_list_is_asked_for_wrongly(client: FlaskClient, query: str, field: str) -> None:
    refused = client.get(f"/api/v1/jobs?{query}", environ_overrides=ROOT)
    assert (refused.status_code, refused.mimetype) == (422, "application/problem+json")
    assert refused.get_json()["field"] == field


@pytest.mark.parametrize("path", ["0", "-1", "x", "1e3", "9" * 16, "1.5"])
@pytest.mark.parametrize(
    "rest", ["", "/log", "/log.txt", "/results", "/results/a.txt", "/record", "/record/compared/1", "/rerun"]
)
def test_what_can_be_no_job_s_number_is_said(client: FlaskClient, path: str, rest: str) -> None:
    refused = client.get(f"/api/v1/jobs/{path}{rest}", environ_overrides=ROOT)
    assert (refused.status_code, refused.get_json()["field"]) == (422, "job")


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"app": ""}, 422, "app"),
        ({"app": 5}, 422, "app"),
        ({"app": "x" * 201}, 422, "app"),
        ({"app": "none_1"}, 404, "app"),
        ({"flavor": "huge"}, 422, "flavor"),
        ({"flavor": "m1.heavy"}, 422, "flavor"),
        ({"flavor": None}, 422, "flavor"),
        ({"settings": []}, 422, "settings"),
        ({"settings": "{}"}, 422, "settings"),
        ({"settings": {"outcome": "maybe"}}, 422, "outcome"),
        ({"settings": {"seconds": "-1"}}, 422, "seconds"),
        ({"settings": {"nonsense": 1}}, 422, "nonsense"),
        ({"settings": {"inputs": ["a<script>.dat"]}}, 422, "inputs"),
        ({"settings": {"inputs": ["../../x/.."]}}, 422, "inputs"),
        ({"description": "x" * 10_001}, 422, "description"),
        ({"start_after": 0}, 422, "start_after"),
        ({"start_after": 99}, 422, "start_after"),
        ({"start_after": "1; DROP"}, 422, "start_after"),
        ({"workflow": "a<b"}, 422, "workflow"),
        ({"workflow": "x" * 201}, 422, "workflow"),
        ({"owner": "a b/c"}, 422, "owner"),
        ({"owner": "<script>"}, 422, "owner"),
        ({"complete": "perhaps"}, 422, "complete"),
        ({"idempotency_key": "x" * 201}, 422, "idempotency_key"),
        ({"priority": 9}, 422, "priority"),
    ],
)
def test_a_submission_that_cannot_be_names_its_field(
    client: FlaskClient, change: dict[str, Any], status: int, field: str
) -> None:
    refused = client.post("/api/v1/jobs", json={**GOOD, **change}, environ_overrides=ROOT)
    assert (refused.status_code, refused.get_json()["field"]) == (status, field), refused.get_json()
    assert Job.select().count() == 1


def test_only_an_administrator_submits_for_others(client: FlaskClient) -> None:
    refused = client.post("/api/v1/jobs", json={**GOOD, "owner": "ada"}, environ_overrides=NOBODY)
    assert (refused.status_code, refused.get_json()["field"]) == (403, "owner")
    assert client.post("/api/v1/jobs", json=GOOD, environ_overrides=NOBODY).get_json()["owner"] == "nobody"
    assert client.post("/api/v1/jobs", json={**GOOD, "owner": "ada"}, environ_overrides=ROOT).get_json()["owner"] == "ada"


def test_a_key_in_the_header_is_as_good_as_one_in_the_body(client: FlaskClient) -> None:
    sent = {"json": GOOD, "headers": {"Idempotency-Key": "k"}, "environ_overrides": ROOT}
    first, again = (client.post("/api/v1/jobs", **sent).get_json() for _ in range(2))  # type: ignore[arg-type]
    assert (first["id"], first["is_new"], again["id"], again["is_new"]) == (2, True, 2, False)
    other = client.post("/api/v1/jobs", json={**GOOD, "idempotency_key": "k", "description": "x"}, environ_overrides=ROOT)
    assert (other.status_code, other.get_json()["code"], Job.select().count()) == (409, "key_reused", 2)


@pytest.mark.parametrize("path", ["/jobs/1/cancel", "/jobs/1/retry"])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_nobody_changes_a_job_that_is_not_to_be_seen(client: FlaskClient, path: str, method: str) -> None:
    where = path if method == "POST" else "/jobs/1"
    refused = client.open(f"/api/v1{where}", method=method, environ_overrides=NOBODY)
    assert (refused.status_code, refused.get_json()["code"]) == (404, "not_found")
    assert Job.get_by_id(1).state == "uploading"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"cpus": 0}, "cpus"),
        ({"cpus": "many"}, "cpus"),
        ({"settings": 5}, "settings"),
        ({"settings": {"seconds": "x"}}, "seconds"),
        ({"other": 1}, "other"),
    ],
)
def test_a_preview_that_cannot_be_names_its_field(client: FlaskClient, body: dict[str, Any], field: str) -> None:
    refused = client.post("/api/v1/apps/probe_1.0/preview", json=body, environ_overrides=ROOT)
    assert (refused.status_code, refused.get_json()["field"]) == (422, field)


@pytest.mark.parametrize("cursor", ["x", "AAAA", "A" * 8001, "_" * 16, "%00"])
def test_a_place_in_a_log_that_is_none(client: FlaskClient, cursor: str) -> None:
    refused = client.get(f"/api/v1/jobs/1/log?cursor={cursor}", environ_overrides=ROOT)
    assert (refused.status_code, refused.get_json()["field"]) == (422, "cursor")


def test_a_form_is_a_schema_that_takes_its_own_defaults(client: FlaskClient) -> None:
    form = client.get("/api/v1/apps/probe_1.0/form", environ_overrides=ROOT).get_json()
    assert set(form["defaults"]) <= set(form["json_schema"]["properties"])
    assert form["json_schema"]["properties"]["outcome"]["oneOf"]
    assert json.loads(json.dumps(form["json_schema"]))["additionalProperties"] is False
