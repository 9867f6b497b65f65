"""The desktop client's own words, and the statuses of errors: both are in one place each."""

import json

import pytest
from flask import Flask

from server.api.desktop.words import STATES, field_of, wire_status
from server.api.responses import error_answer
from server.catalog.controls.control import WrongValue
from server.db.models import Job
from server.errors import CloudError, CumulusError, InvalidInput, NotFound, SetupMissing
from server.services.principal import Forbidden
from server.states import JobState
from tests.api.test_desktop import Wire, wire

__all__ = ["wire"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInput("x"), 400),
        (NotFound("x"), 404),
        (Forbidden("x"), 403),
        (CloudError("x"), 502),
        (SetupMissing("x"), 503),
    ],
)
def test_an_error_s_class_says_its_status(error: CumulusError, status: int) -> None:
    with Flask("test").app_context():
        assert error_answer(error, None).status_code == status


@pytest.mark.parametrize(
    ("field", "wire_name"), [("owner", "username"), ("app", "app_name"), ("flavor", "strategy"), ("description", "description")]
)
def test_a_field_is_called_as_in_the_client_s_form(field: str, wire_name: str) -> None:
    assert field_of(InvalidInput("x", field=field)) == wire_name
    assert field_of(WrongValue("Label", "is wrong", field=field)) == field  # of an app's own form


def test_a_refused_submission_names_the_client_s_field(wire: Wire) -> None:
    form = {"username": "ada", "app_name": "no_such_1", "strategy": "m1.4xlarge", "settings": "{}"}
    for change, said in (({}, "not_found; field=app_name"), ({"strategy": "none"}, "invalid_input; field=strategy")):
        assert wire.posted("/start", {**form, **change})[0]["cumulus-refused"] == said


def test_a_file_that_is_not_there_names_the_client_s_field(wire: Wire) -> None:
    for target in ("/getresults/ada/99/x", "/getresults/ada/x/x", "/log/ada/99"):
        status, _, content = wire.send("GET", target)
        assert (status, json.loads(content)["error"]["field"]) == (404, "job_id")


def test_a_form_s_own_field_keeps_its_name(wire: Wire) -> None:
    form = {"username": "ada", "app_name": "probe_1.0", "strategy": "m1.4xlarge"}
    for name in ("owner", "app", "job"):  # unknown to the app, and refused by that name
        headers, _ = wire.posted("/start", {**form, "settings": f'{{"{name}": "1"}}'})
        assert headers["cumulus-refused"] == f"invalid_input; field={name}"


def test_every_state_has_a_word_and_all_but_deleted_a_box_of_the_search_form() -> None:
    words = {state: wire_status(Job(state=state, outcome="done")) for state in JobState}
    assert words[JobState.ARCHIVED] == "ARCHIVED_DONE"
    assert frozenset().union(*STATES.values()) == frozenset(JobState) - {JobState.DELETED}


def test_a_refused_download_names_the_client_s_field(wire: Wire) -> None:
    for target in ("/log/ada/99", "/getresults/ada/99/a.txt", "/getresults/ada/x/a.txt"):
        status, _, body = wire.send("GET", target)
        assert (status, json.loads(body)["error"]["field"]) == (404, "job_id"), target
