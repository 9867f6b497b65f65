"""The agent's REST as the desktop client uses it: shapes, status codes, and what must do no harm."""

import json
import re

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agent.queue.models import Job, Transfer
from agent.queue.states import JobState, TransferState
from agent.serve import Agent
from programs.version import VERSION
from tests.agent.conftest import Lab, order

HOSTILE = "<script>alert(1)\"'&.raw"


@pytest.fixture
def client(agent: Agent) -> FlaskClient:
    return agent.app.test_client()


def checked(answer: TestResponse) -> object:
    """The JSON of an answer that is as the client wants it."""
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.mimetype == "application/json"
    assert answer.data.isascii()
    return answer.get_json()


@pytest.mark.parametrize("path", ["/", "//"])
def test_the_version_is_plain_text_in_full(client: FlaskClient, path: str) -> None:
    answer = client.get("/", environ_overrides={"PATH_INFO": path})
    assert (answer.status_code, answer.text, answer.mimetype) == (200, VERSION, "text/plain")
    assert re.fullmatch(r"\d+\.\d+\.\d+", answer.text)
    assert tuple(map(int, answer.text.split("."))) >= (0, 6, 0)


def test_an_order_is_queued_and_listed_by_base_names(agent: Agent, client: FlaskClient, lab: Lab) -> None:
    sentence = order(agent, lab, 1, lab.write("é.raw"), str(lab.source / "run.d"), local=(lab.write("l.txt"),))
    assert sentence == "3 files of job 1 are queued"
    assert checked(client.get("/list-rsync")) == ["é.raw", "run.d"]
    assert checked(client.get("/progress-rsync/akeller/1")) == {"é.raw": 0, "run.d": 0, "l.txt": 0}


def test_nothing_queued_is_an_empty_answer_of_the_same_shape(client: FlaskClient) -> None:
    assert checked(client.get("/list-rsync")) == []
    assert checked(client.get("/progress-rsync/akeller/1")) == {}
    assert isinstance(checked(client.get("/cancel-rsync/akeller/1")), str)


@pytest.mark.parametrize("number", ["0", "-1", "x", "1e3", "9" * 40, "%F0%9F%98%80", "1'%20OR%201"])
def test_a_number_that_is_none_is_answered_in_the_same_shape(client: FlaskClient, number: str) -> None:
    assert checked(client.get(f"/progress-rsync/akeller/{number}")) == {}
    assert isinstance(checked(client.get(f"/cancel-rsync/akeller/{number}")), str)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {
            "job_id": "The storage is full: no new job can be taken",
            "job_dir": "",
            "owner": "a",
            "files": "[]",
            "local_files": "[]",
        },
        {"job_id": "1", "job_dir": "../../etc", "owner": "a", "files": "[]"},
        {"job_id": "1", "job_dir": "Job_2_a_b_1", "owner": "a", "files": "[]"},
        {"job_id": "1", "job_dir": "Job_1_a_b_1", "owner": "", "files": "[]"},
        {"job_id": "1", "job_dir": "Job_1_a_b_1\n", "owner": "a", "files": "[]"},
    ],
)
def test_an_order_of_no_job_does_no_harm(client: FlaskClient, form: dict[str, str]) -> None:
    assert isinstance(checked(client.post("/send-rsync", data=form, content_type="multipart/form-data")), str)
    assert (Job.select().count(), Transfer.select().count()) == (0, 0)


def test_a_file_outside_of_the_roots_fails_the_job_that_asked(agent: Agent, lab: Lab) -> None:
    sentence = order(agent, lab, 1, "/etc/passwd")
    assert "below none of its roots" in sentence
    assert Job.get().state == JobState.FAILING


def test_an_order_sent_twice_is_one(agent: Agent, lab: Lab) -> None:
    raw = lab.write("a.raw")
    order(agent, lab, 1, raw)
    assert "already" in order(agent, lab, 1, raw)
    assert Job.select().count() == 1


def test_only_the_owner_sees_and_cancels(agent: Agent, client: FlaskClient, lab: Lab) -> None:
    order(agent, lab, 1, lab.write("a.raw"), owner="Zoë / Müller")
    assert checked(client.get("/progress-rsync/other/1")) == {}
    none, others = checked(client.get("/cancel-rsync/other/2")), checked(client.get("/cancel-rsync/other/1"))
    assert str(none).replace("2", "1") == others
    assert Transfer.get().state == TransferState.WAITING
    assert checked(client.get("/progress-rsync/Zo%C3%AB%20%2F%20M%C3%BCller/1")) == {"a.raw": 0}
    agent.loop.cancel("Zoë / Müller", 1)
    assert checked(client.get("/list-rsync")) == []


@pytest.mark.parametrize("path", ["/list-rsync/", "/progress-rsync/a/1/", "/cancel-rsync/a/1/", "/send-rsync/", "/status/"])
def test_no_redirect_is_ever_answered(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_body_that_is_too_large_is_answered_too(client: FlaskClient) -> None:
    assert isinstance(
        checked(client.post("/send-rsync", data={"files": "x" * 21_000_000}, content_type="multipart/form-data")), str
    )


def test_the_page_escapes_everything(agent: Agent, client: FlaskClient, lab: Lab) -> None:
    order(agent, lab, 1, f"{lab.source}/{HOSTILE}", owner="<b>me</b>")
    order(agent, lab, 2, "/etc/<i>", owner="a")
    page = client.get("/status")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert all(mark not in page.text for mark in ("<script", "<b>", "<i>"))
    assert "&lt;script&gt;" in page.text


def test_the_queue_for_programs_has_bytes(agent: Agent, client: FlaskClient, lab: Lab) -> None:
    order(agent, lab, 1, lab.write("a.raw"))
    (line,) = json.loads(client.get("/queue").data)
    assert (line["job"], line["name"], line["percent"], line["state"]) == (1, "a.raw", 0, "waiting")


def test_a_failing_database_is_answered_in_shape(agent: Agent, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("disk")

    for part, name in ((agent.queue.listing, "lines"), (agent.queue.listing, "shared_names"), (agent.queue.jobs, "add")):
        monkeypatch.setattr(part, name, broken)
    assert checked(client.get("/list-rsync")) == []
    assert checked(client.get("/progress-rsync/a/1")) == {}
    form = {"job_id": "1", "job_dir": "Job_1_a_b_1", "owner": "a", "files": "[]"}
    assert "log says why" in str(checked(client.post("/send-rsync", data=form)))
