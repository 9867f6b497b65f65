"""Who may ask the controller, and what each route says to whoever may not, or while the database is broken."""

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from server.app import Controller
from server.db.models import Job
from server.states import JobState
from tests.api.serving import listening
from tests.api.test_desktop import BOUNDARY, START
from tests.bench.siege import MALFORMED, SLOW_POST, ask
from tests.conftest import submission
from tests.programs.doors import closing, connected_to

ELECTRON = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) cumulus/2.2.5 Chrome/120 Electron/28 Safari/537"
)
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


@dataclass
class Door:
    """A controller that answers."""

    port: int

    def send(self, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b"") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        given = {"Host": f"127.0.0.1:{self.port}", "Content-Length": str(len(body)), **(headers or {})}
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        try:
            return response.status, json.loads(content)
        except ValueError:
            return response.status, content

    def post(self, target: str, form: dict[str, str], headers: dict[str, str] | None = None) -> tuple[int, Any]:
        parts = "".join(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{text}\r\n' for n, text in form.items()
        )
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.send("POST", target, {**kind, **(headers or {})}, f"{parts}--{BOUNDARY}--\r\n".encode())


@pytest.fixture
def door(controller: Controller) -> Iterator[Door]:
    with listening(controller) as port:
        yield Door(port)


@pytest.fixture
def job(controller: Controller) -> Job:
    made = controller.jobs.submit(*submission())
    (controller.jobs.folder(made).output / "a.txt").write_text("result")
    (controller.storage.data / "shared.raw").write_text("data")
    return made


FOREIGN: tuple[dict[str, str], ...] = (
    {"Host": "evil.example"},
    {"Host": "evil.example:5000"},
    {"Host": "127.0.0.1.evil.example"},
    {"Host": "192.0.2.7"},
    {"Host": "127.0.0.1, evil.example"},
    {"Host": "[::1"},
    {"Host": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none, cross-site"},
    {"Sec-Fetch-Site": ""},
    {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
    {"Origin": "http://evil.example"},
    {"Origin": "http://127.0.0.1"},  # another port is another site
    {"Origin": "file://"},
    {"Origin": "null", "User-Agent": BROWSER},
    {"Referer": "http://evil.example/page"},
)
OWN: tuple[dict[str, str], ...] = (
    {},
    {"Origin": "null", "Sec-Fetch-Site": "none", "User-Agent": ELECTRON},
    {"Origin": "null", "Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "none", "User-Agent": BROWSER},
    {"Sec-Fetch-Site": "same-origin"},
    {"User-Agent": ELECTRON},
    {"Origin": "null", "User-Agent": ELECTRON},
    {"Host": "localhost"},
    {"Host": "LOCALHOST.:5000"},
    {"Host": "[::1]:5000"},
    {"Host": "127.9.9.9"},
)


def asked_all(door: Door, job: Job, headers: dict[str, str]) -> dict[str, tuple[int, Any]]:
    """Every route, as the client asks it; what changes something comes last."""
    found = {
        route: door.send("GET", route, headers)
        for route in ("/config", "//apps", "/info", "/storage", "/diskusage", f"/joblist/{job.id}/100", "/healthz", "/metrics")
    }
    found["/getresults"] = door.send("GET", f"/getresults/ada/{job.id}/a.txt", headers)
    found["/getfile"] = door.send("GET", "/getfile/ada/shared.raw", headers)
    found["/search"] = door.post("/search", {"current_job_id": "0", "number": "100"}, headers)
    found["/getfilecontent"] = door.post("/getfilecontent", {"username": "ada", "names": '["shared.raw"]'}, headers)
    found["/start"] = door.post("/start", START, headers)
    found["/fail"] = door.post("/fail", {"job_id": str(job.id), "error_message": "x"}, headers)
    found["/cancel"] = door.send("GET", f"/cancel/ada/{job.id}", headers)
    found["/delete"] = door.send("GET", f"/delete/ada/{job.id}", headers)
    return found


def shapes(job: Job) -> dict[str, type]:
    """What each route answers where it says no."""
    lists = ("/storage", "/diskusage", f"/joblist/{job.id}/100", "/search", "/getfilecontent", "/start")
    texts = ("/fail", "/cancel", "/delete")
    return {**dict.fromkeys(lists, list), **dict.fromkeys(texts, str)}


@pytest.mark.parametrize("headers", FOREIGN, ids=range(len(FOREIGN)))
def test_a_foreign_page_gets_nothing_and_changes_nothing(door: Door, job: Job, headers: dict[str, str]) -> None:
    answers = asked_all(door, job, headers)
    assert {status for status, _ in answers.values()} == {403}
    for route, (_, body) in answers.items():
        assert isinstance(body, shapes(job).get(route, dict)), route
    assert answers["/start"][1][1] == ""
    assert answers["/search"][1] == answers["/getfilecontent"][1] == []
    assert Job.select().count() == 1
    assert Job.get_by_id(job.id).state == JobState.UPLOADING


@pytest.mark.parametrize("headers", OWN, ids=range(len(OWN)))
def test_the_client_and_programs_pass_on_every_route(door: Door, job: Job, headers: dict[str, str]) -> None:
    answers = asked_all(door, job, headers)
    assert {status for status, _ in answers.values()} == {200}
    assert answers["/getresults"][1] == b"result"
    assert isinstance(answers["/start"][1][0], int)


@pytest.mark.parametrize("route", ["cancel", "delete"])
def test_a_picture_in_a_foreign_page_ends_no_job(door: Door, job: Job, route: str) -> None:
    """To an address without TLS a browser sends neither Sec-Fetch-Site nor, for a picture, Origin."""
    status, said = door.send("GET", f"/{route}/ada/{job.id}", {"User-Agent": BROWSER, "Accept": "image/avif,*/*"})
    assert (status, type(said)) == (403, str)
    assert Job.get_by_id(job.id).state == JobState.UPLOADING
    assert door.send("GET", "/info", {"User-Agent": BROWSER})[0] == 200  # a person who looks


def test_a_target_that_names_a_host_counts_as_one(door: Door, job: Job) -> None:
    assert door.send("GET", f"http://evil.example/cancel/ada/{job.id}")[0] == 403
    assert door.send("GET", "http://127.0.0.1/info")[0] == 200


def test_no_number_of_rows_is_the_usual_hundred(door: Door, controller: Controller) -> None:
    for _ in range(101):
        controller.jobs.submit(*submission())
    assert [len(door.post("/search", {"number": number})[1]) for number in ("", "-1", "7")] == [100, 101, 7]


def broken(controller: Controller) -> None:
    """The database's file is overwritten while it is in use."""
    controller.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    size = controller.settings.database.stat().st_size
    controller.settings.database.write_bytes(b"garbage " * (size // 8))


def test_a_damaged_database_is_told_by_each_route_in_its_shape(door: Door, job: Job, controller: Controller) -> None:
    broken(controller)
    answers = asked_all(door, job, {})
    for route, kind in shapes(job).items():
        status, body = answers[route]
        assert (status, type(body)) == (200, kind), route
    for said in (answers["/start"][1][0], answers["/cancel"][1], answers["/delete"][1]):
        assert "damaged" in said
        assert "cumulus db rebuild" in said
    for route in ("/healthz", "/metrics", "/getresults"):
        status, body = answers[route]
        assert status == 503
        assert "damaged" in body["error"]["message"]
    assert answers["/start"][1][1] == ""
    assert answers[f"/joblist/{job.id}/100"][1] == []
    assert "probe_1.0" in answers["//apps"][1]  # what needs no database is there
    assert ["shared.raw", 4] in answers["/storage"][1]
    assert answers["/getfile"] == (200, b"data")
    assert answers["/config"][0] == answers["/info"][0] == 200


def test_something_unexpected_is_told_in_the_shape_too(
    door: Door, job: Job, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller.jobs, "cancel", lambda *_: 1 // 0)
    status, said = door.send("GET", f"/cancel/ada/{job.id}")
    assert (status, said) == (200, "The server could not do this; its log says why")


def test_a_siege_keeps_nobody_from_the_list(door: Door) -> None:
    besieging = [connected_to(door.port, MALFORMED[number % len(MALFORMED)]) for number in range(300)]
    besieging += [connected_to(door.port) for _ in range(300)]
    with closing(besieging + [connected_to(door.port, SLOW_POST) for _ in range(200)]):
        for _ in range(5):
            assert ask(door.port, "/healthz").startswith(b"HTTP/1.1 200")
            assert ask(door.port, "/joblist/0/100").startswith(b"HTTP/1.1 200")
