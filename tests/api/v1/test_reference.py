"""The API's description: an OpenAPI document that holds, and a page that loads nothing."""

import re

import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from cumulus_client.operations import PREFIX
from server.api.v1.callers import SUBMISSIONS
from server.api.v1.openapi import document
from server.api.v1.operations import DOWNLOADS, OPERATIONS
from server.app import Controller
from server.application import create_app


@pytest.fixture
def client(controller: Controller) -> FlaskClient:
    return create_app(controller).test_client()


def test_the_document_is_openapi(client: FlaskClient) -> None:
    told = client.get(f"{PREFIX}/openapi.json").get_json()
    OpenAPIV31SpecValidator(told).validate()  # type: ignore[no-untyped-call]
    assert told["openapi"] == "3.1.0"


def test_each_operation_is_described_once_and_can_be_asked_for(controller: Controller) -> None:
    app = create_app(controller)
    routes = {rule.endpoint.removeprefix("v1.") for rule in app.url_map.iter_rules() if rule.endpoint.startswith("v1.")}
    operations = [one.operation for one in (*OPERATIONS, *DOWNLOADS)]
    assert routes == {one.name.replace(".", "_") for one in operations}
    told = document([one.operation for one in OPERATIONS], [one.operation for one in DOWNLOADS], "1")
    described = [operation["operationId"] for path in told["paths"].values() for operation in path.values()]
    assert sorted(described) == sorted(one.name for one in operations)
    assert all(one.summary.endswith(".") for one in operations)


def test_the_page_works_offline(client: FlaskClient) -> None:
    response = client.get(f"{PREFIX}/docs")
    text = response.get_data(as_text=True)
    assert not re.findall(r'(?:src|href)="(?!#|openapi\.json")', text)
    assert "<script" not in text
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    for one in (*OPERATIONS, *DOWNLOADS):
        assert f'id="{one.operation.name}"' in text


def test_what_is_counted_as_a_submission_is_an_operation() -> None:
    assert {one.operation.name for one in OPERATIONS} >= SUBMISSIONS
