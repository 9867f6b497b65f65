"""The desktop client's REST, called with raw bytes over a socket as it calls, not with a friendly test client."""

import http.client
import json
import socket
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from server.app import Controller
from server.db.models import Job
from server.reasons import Reason
from server.services.principal import Principal
from server.states import JobState
from tests.api.serving import listening
from tests.conftest import submission

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
START = {
    "username": "ada",
    "app_name": "probe_1.0",
    "workflow_name": "",
    "strategy": "m1.4xlarge",
    "description": "d",
    "settings": '{"text": "hello", "seconds": "0", "outcome": "ok"}',
    "start_after_id": "",
}


class Wire:
    """A connection that says exactly what it is told."""

    def __init__(self, port: int) -> None:
        self._port = port

    def send(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, content

    def raw(self, request: bytes) -> bytes:
        """All that comes back until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=20) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def get(self, target: str) -> Any:
        status, headers, body = self.send("GET", target)
        assert status == 200, body
        assert headers["cache-control"] == "no-store"
        body.decode("ascii")
        return json.loads(body)

    def post(self, target: str, form: dict[str, str]) -> Any:
        return self.posted(target, form)[1]

    def posted(self, target: str, form: dict[str, str]) -> tuple[dict[str, str], Any]:
        """The answer's headers, too."""
        parts = "".join(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in form.items()
        )
        body = f"{parts}--{BOUNDARY}--\r\n".encode()
        status, headers, content = self.send("POST", target, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
        assert status == 200, content
        content.decode("ascii")
        return headers, json.loads(content)


@pytest.fixture
def wire(controller: Controller) -> Iterator[Wire]:
    with listening(controller) as port:
        yield Wire(port)


def finished(controller: Controller, **changes: str) -> Job:
    job = controller.jobs.submit(*submission(**changes))
    Job.update(state=JobState.DONE, outcome=JobState.DONE, started=job.created, ended=job.created + 5).where(
        Job.id == job.id
    ).execute()
    return job


def test_config_has_these_strings_and_no_others(wire: Wire) -> None:
    config = wire.get("/config")
    names = (
        "input.folder output.folder temp.folder data.max.age.in.days controller.version client.min.version openstack.max.flavor"
    )
    assert sorted(config) == sorted(names.split())
    assert all(isinstance(value, str) for value in config.values())
    assert config["openstack.max.flavor"] == "4"
    assert tuple(map(int, config["controller.version"].split("."))) >= (0, 6, 0)


def test_info_lists_the_flavors_in_the_order_of_their_file(wire: Wire) -> None:
    info = wire.get("/info")
    assert list(info) == ["m1.4xlarge", "m1.8xlarge", "m1.heavy"]
    assert info["m1.8xlarge"] == {"weight": 2, "cpu": 2, "ram": 2}


@pytest.mark.parametrize("target", ["//apps", "/apps"])
def test_apps_are_answered_without_a_redirect_and_begin_with_the_tool(wire: Wire, target: str) -> None:
    apps = wire.get(target)
    assert apps["probe_1.0"].startswith("<tool")


def test_the_app_of_an_old_job_is_still_served_when_its_file_is_gone(wire: Wire, controller: Controller) -> None:
    job = finished(controller)
    Job.update(app='gone"_2.0').where(Job.id == job.id).execute()
    text = wire.get("//apps")['gone"_2.0']
    assert text.startswith("<tool ")
    assert "&quot;" in text or "'gone\"_2.0'" in text


def test_start_answers_number_and_folder(wire: Wire) -> None:
    number, folder = wire.post("/start", {**START, "description": "Größe µ"})
    assert folder == Job.get_by_id(number).folder
    assert Job.get_by_id(number).description == "Größe µ"


def test_a_form_that_comes_in_chunks_is_the_same(wire: Wire) -> None:
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in START.items()]
    whole = "".join([*parts, f"--{BOUNDARY}--\r\n"]).encode()
    pieces = [whole[at : at + 7] for at in range(0, len(whole), 7)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    head = "POST /start HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
    told = wire.raw(f"{head}Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n".encode() + body)
    number, folder = json.loads(told.partition(b"\r\n\r\n")[2])
    assert folder == Job.get_by_id(number).folder


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"strategy": "m1.<b>none</b>"}, "&lt;b&gt;none"),
        ({"strategy": "m1.heavy"}, "weighs 9"),
        ({"app_name": "none_1"}, "none_1"),
        ({"settings": "{"}, "JSON"),
        ({"settings": '{"inputs": ["C:/a/b.raw", "C:/b/b.raw"]}'}, "have the same name: rename one of them"),
        ({"username": ""}, "name"),
        ({"start_after_id": "77"}, "77"),
    ],
)
def test_a_refused_start_is_a_message_and_an_empty_folder(wire: Wire, change: dict[str, str], word: str) -> None:
    message, folder = wire.post("/start", {**START, **change})
    assert folder == ""
    assert word in message
    assert "<b>" not in message
    assert Job.select().count() == 0


def test_a_start_that_is_no_form_at_all_still_gets_its_shape(wire: Wire) -> None:
    status, _, body = wire.send("POST", "/start", b"\xff\x00garbage", {"Content-Type": "multipart/form-data"})
    assert status == 200
    assert json.loads(body)[1] == ""


def test_the_list_has_short_rows_newest_first_and_one_with_details(wire: Wire, controller: Controller) -> None:
    first, second = finished(controller), finished(controller, description="the second")
    rows = wire.get(f"/joblist/{second.id}/100")
    assert [row["id"] for row in rows] == [second.id, first.id]
    short = "id owner app_name status strategy host creation_date end_date start_after_id workflow_name"
    assert list(rows[1]) == short.split()
    assert list(rows[0]) == [*short.split(), "description", "settings", "start_date", "log", "files"]
    assert rows[0]["settings"] == {str(second.id): {"text": "hello", "seconds": "0", "outcome": "ok"}}
    assert isinstance(rows[0]["creation_date"], int)
    assert rows[0]["status"] == "DONE"


def test_the_job_shown_is_listed_even_if_it_is_older_than_the_page(wire: Wire, controller: Controller) -> None:
    jobs = [finished(controller) for _ in range(3)]
    rows = wire.get(f"/joblist/{jobs[0].id}/1")
    assert [row["id"] for row in rows] == [jobs[2].id, jobs[0].id]
    assert "log" in rows[1]
    assert len(wire.get("/joblist/0/-1")) == 3


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ('{"a": null, "b": [["k", null]]}', {"b": [["k", None]]}),
        ('{"a": NaN}', {}),
        ('{"a": 1e999}', {}),
        ('{"a": ' + "[" * 970 + "]" * 970 + "}", {}),
        ("{", {}),
        ("[1]", {}),
    ],
)
def test_no_settings_whatever_they_are_break_the_page(
    wire: Wire, controller: Controller, stored: str, shown: dict[str, object]
) -> None:
    job = finished(controller)
    Job.update(settings=stored).where(Job.id == job.id).execute()
    status, _, body = wire.send("GET", f"/joblist/{job.id}/1")
    assert status == 200
    assert json.loads(body, parse_constant=pytest.fail)[0]["settings"] == {str(job.id): shown}


def test_a_flavor_that_is_gone_is_an_empty_strategy(wire: Wire, controller: Controller) -> None:
    job = finished(controller)
    Job.update(flavor="m0.old").where(Job.id == job.id).execute()
    assert wire.get("/joblist/0/1")[0]["strategy"] == ""


def test_the_log_is_harmless_and_ends_with_why_the_job_failed(wire: Wire, controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    (controller.storage.folder(job.folder).path / ".cumulus.log").write_text("<script>alert(1)</script> & é\n")
    controller.jobs.fail(
        Principal.agent(), job.id, "no such file: a<b>.raw\n[INFO] 2026-01-01 00:00:00 UTC;CPU:1%;RAM:1%\r\n[SERVER] done"
    )
    log = wire.get(f"/joblist/{job.id}/1")[0]["log"]
    assert "\n&lt;script&gt;alert(1)&lt;/script&gt; &amp; é\n[SERVER] " in log
    assert log.endswith("no such file: a&lt;b&gt;.raw\n [INFO] 2026-01-01 00:00:00 UTC;CPU:1%;RAM:1%\n [SERVER] done\n")


def test_search_filters_by_every_field(wire: Wire, controller: Controller) -> None:
    job = finished(controller, description="100% wild_card")
    other = finished(controller, owner="bob")
    waiting = controller.jobs.submit(*submission())

    def ids(**form: str) -> list[int]:
        return [row["id"] for row in wire.post("/search", {"current_job_id": "0", "number": "-1", **form})]

    everything = [waiting.id, other.id, job.id]
    assert ids() == everything
    assert ids(owner="BO") == [other.id]
    assert ids(app="all") == everything
    assert ids(app="PROBE") == everything
    assert ids(description="100%") == [job.id]
    assert ids(description="d_c") == [job.id]
    assert ids(description="%") == [job.id]
    assert ids(done="1") == [other.id, job.id]
    assert ids(pending="1", done="1") == everything
    assert ids(failed="1") == []
    assert ids(date="creation_date", **{"from": "2020-01-01", "to": "2020-01-02"}) == []
    assert ids(date="end_date", **{"from": "2020-01-01"}) == [other.id, job.id]
    assert ids(owner="' OR 1=1 --") == []


def test_the_job_shown_is_among_what_is_found_only_if_it_matches(wire: Wire, controller: Controller) -> None:
    jobs = [finished(controller, description=f"the job {number}") for number in range(3)]
    form = {"current_job_id": str(jobs[0].id), "number": "1"}
    for filters in ({}, {"owner": "ada"}, {"description": "the job"}, {"done": "1"}, {"description": "0"}):
        rows = wire.post("/search", {**form, **filters})
        assert (rows[-1]["id"], "log" in rows[-1]) == (jobs[0].id, True), filters
    for filters in ({"owner": "bob"}, {"description": "job 2"}, {"failed": "1"}, {"to": "2020-01-01"}, {"description": "1"}):
        assert jobs[0].id not in [row["id"] for row in wire.post("/search", {**form, **filters})], filters


@pytest.mark.parametrize("form", [{"from": "yesterday"}, {"to": "2020-13-45"}, {"date": "drop table", "from": "2020-01-01"}])
def test_a_search_that_makes_no_sense_finds_nothing(wire: Wire, controller: Controller, form: dict[str, str]) -> None:
    finished(controller)
    assert wire.post("/search", form) == []


def result_file(controller: Controller, job: Job, name: str, content: bytes) -> None:
    path = controller.storage.folder(job.folder).output / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_a_result_arrives_byte_for_byte_under_its_encoded_name(wire: Wire, controller: Controller) -> None:
    job = finished(controller)
    content = bytes(range(256)) * 100
    result_file(controller, job, "sub/50%25 é.txt", content)
    status, headers, body = wire.send("GET", f"/getresults/ada/{job.id}/sub%2F50%2525%20%C3%A9.txt")
    assert (status, body) == (200, content)
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-length"] == str(len(content))
    assert headers["content-disposition"].startswith("attachment")


def test_a_part_of_a_result_can_be_asked_for(wire: Wire, controller: Controller) -> None:
    job = finished(controller)
    result_file(controller, job, "a.bin", b"0123456789")
    status, headers, body = wire.send("GET", f"/getresults/ada/{job.id}/a.bin", headers={"Range": "bytes=2-4"})
    assert (status, body, headers["content-range"]) == (206, b"234", "bytes 2-4/10")


@pytest.mark.parametrize(
    ("wanted", "status", "got"),
    [
        ("bytes=2-", 206, b"23456789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=0-0", 206, b"0"),
        ("bytes=0-99", 206, b"0123456789"),
        ("bytes=1-2,4-5", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
        ("bytes=5-2", 200, b"0123456789"),
        ("nonsense", 200, b"0123456789"),
        ("bytes=-99", 206, b"0123456789"),
        ("bytes=10-", 416, None),
    ],
)
def test_a_part_is_that_part_or_all(wire: Wire, controller: Controller, wanted: str, status: int, got: bytes | None) -> None:
    job = finished(controller)
    result_file(controller, job, "a.bin", b"0123456789")
    told, headers, body = wire.send("GET", f"/getresults/ada/{job.id}/a.bin", headers={"Range": wanted})
    assert told == status
    assert got is None or body == got
    assert headers["content-length"] == str(len(body))
    if status == 416:
        assert headers["content-range"] == "bytes */10"


def test_an_empty_file_has_no_part_but_can_be_fetched(wire: Wire, controller: Controller) -> None:
    job = finished(controller)
    result_file(controller, job, "empty", b"")
    target = f"/getresults/ada/{job.id}/empty"
    assert wire.send("GET", target)[::2] == (200, b"")
    assert wire.send("GET", target, headers={"Range": "bytes=-5"})[0] == 416


def test_what_a_file_is_can_be_asked_without_fetching_it(wire: Wire, controller: Controller) -> None:
    job = finished(controller)
    result_file(controller, job, "a.bin", b"0123456789")
    status, headers, body = wire.send("HEAD", f"/getresults/ada/{job.id}/a.bin")
    assert (status, body, headers["content-length"], headers["accept-ranges"]) == (200, b"", "10", "bytes")


@pytest.mark.parametrize(
    "path",
    [
        "..%2F.cumulus.settings",
        "%2Fetc%2Fpasswd",
        "absent.txt",
        "..%2F..%2F..%2Fcumulus.sqlite",
        "sub",
        "link",
        ".cumulus.x",
        "a%00b",
    ],
)
def test_what_is_not_a_result_is_not_found(wire: Wire, controller: Controller, path: str, tmp_path: Path) -> None:
    job = finished(controller)
    result_file(controller, job, "sub/a.txt", b"x")
    (controller.storage.folder(job.folder).output / "link").symlink_to("/etc/passwd")
    status, _, body = wire.send("GET", f"/getresults/ada/{job.id}/{path}")
    assert status == 404, body
    assert b"root:" not in body


def test_nobody_else_gets_a_result(wire: Wire, controller: Controller) -> None:
    job = finished(controller)
    result_file(controller, job, "a.txt", b"x")
    assert wire.send("GET", f"/getresults/eve/{job.id}/a.txt")[0] == 404


def test_the_files_behind_names_are_listed_relative_to_data(wire: Wire, controller: Controller) -> None:
    (controller.storage.data / "run.d" / "deep").mkdir(parents=True)
    (controller.storage.data / "run.d" / "deep" / "b").write_text("")
    (controller.storage.data / "run.d" / "a").write_text("")
    (controller.storage.data / "plain.raw").write_text("")
    listed = wire.post("/getfilecontent", {"username": "ada", "names": '["run.d", "plain.raw"]'})
    assert listed == ["run.d/a", "run.d/deep/b", "plain.raw"]
    for file in listed:
        assert wire.send("GET", f"/getfile/ada/{quote(file, safe='')}")[0] == 200


def test_only_files_that_can_be_fetched_are_behind_names(wire: Wire, controller: Controller) -> None:
    data = controller.storage.data
    (data / "run.d" / ".cumulus.x").mkdir(parents=True)
    (data / "run.d" / "a").write_text("")
    (data / "run.d" / ".cumulus.y").write_text("")
    (data / "run.d" / ".cumulus.x" / "b").write_text("")
    for link in (data / "run.d" / "link", data / "link"):
        link.symlink_to("/etc/passwd")
    (data / "etc").symlink_to("/etc")
    names = '["link", "to come.raw", "etc", "run.d"]'
    assert wire.post("/getfilecontent", {"username": "ada", "names": names}) == ["run.d/a"]


@pytest.mark.parametrize("names", ["", "{", '"x"', "[1]", '["../secret"]', '["absent"]', '["a/b"]'])
def test_names_that_are_none_list_nothing(wire: Wire, names: str) -> None:
    assert wire.post("/getfilecontent", {"username": "ada", "names": names}) == []


def test_programs_can_tell_a_refusal_to_cancel_from_a_success(wire: Wire, controller: Controller) -> None:
    job = controller.jobs.submit(*submission())

    def refused(owner: str, number: object) -> str:
        status, headers, _ = wire.send("GET", f"/cancel/{owner}/{number}")
        assert status == 200
        return headers.get("cumulus-refused", "").partition(";")[0]

    assert [refused("eve", job.id), refused("ada", 99), refused("ada", "x")] == ["not_found", "not_found", "invalid_input"]
    assert [refused("ada", job.id), refused("ada", job.id)] == ["", "already_ended"]


def test_cancel_answers_a_sentence_whatever_happens(wire: Wire, controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    assert "no job" in wire.get(f"/cancel/eve/{job.id}")
    assert "cancelled" in wire.get(f"/cancel/ada/{job.id}")
    assert "no job" in wire.get("/cancel/ada/99")
    assert isinstance(wire.get("/cancel/ada/x"), str)
    assert wire.get("/joblist/0/1")[0]["status"] == "CANCELLED"


def test_the_agent_can_fail_a_job(wire: Wire, controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    assert wire.post("/fail", {"job_id": str(job.id), "error_message": "not readable"}) == ""
    assert wire.post("/fail", {"job_id": "none", "error_message": "x"}) == ""
    assert wire.get("/joblist/0/1")[0]["status"] == "FAILED"
    other = controller.jobs.submit(*submission())
    assert wire.post("/fail", {"job_id": str(other.id), "error_message": "no room", "trouble": "target_full"}) == ""
    assert Job.get_by_id(other.id).reason == Reason.CONTROLLER_DISK_FULL


def test_health_answers_and_unknown_routes_are_not_redirected(wire: Wire) -> None:
    assert wire.get("/healthz")["status"] == "ok"
    for target in ("/nothing", "/apps/", "/joblist/0/", "/joblist/0/1//"):
        status, headers, body = wire.send("GET", target)
        assert status == 404
        assert json.loads(body)["error"]["code"] == "not_found"
        assert "location" not in headers


@pytest.mark.parametrize("number", [100, -1])
def test_the_list_of_jobs_may_be_asked_for_with_a_slash_at_the_end(wire: Wire, controller: Controller, number: int) -> None:
    shown = finished(controller).id
    status, headers, body = wire.send("GET", f"/joblist/{shown}/{number}/")
    assert (status, json.loads(body)) == (200, wire.get(f"/joblist/{shown}/{number}"))
    assert "location" not in headers


def test_the_storage_lists_the_top_of_data_and_what_is_still_to_come(wire: Wire, controller: Controller) -> None:
    data = controller.storage.data
    (data / "run.d" / "deep").mkdir(parents=True)
    (data / "run.d" / "deep" / "b").write_text("12345")
    (data / "a<b>.raw").write_text("123")
    (data / "R&D.raw").write_text("1")
    (data / "R&amp.raw").write_text("12")
    (data / ".b.raw.part").write_text("123")
    (data / "link").symlink_to("/etc/passwd")
    form = '{"text": "x", "seconds": "0", "outcome": "ok", "inputs": ["C:/data/to come & go<3.raw", "/x/run.d"]}'
    controller.jobs.submit(*submission(settings=form))
    shown = wire.get("/storage")
    assert shown == [["R&D.raw", 1], ["R&amp;amp.raw", 2], ["a&lt;b&gt;.raw", 3], ["run.d", 5], ["to come & go<3.raw", 0]]
    assert [unescape(name) for name, _ in shown] == ["R&D.raw", "R&amp.raw", "a<b>.raw", "run.d", "to come & go<3.raw"]


def test_the_disk_usage_is_three_numbers_of_bytes(wire: Wire) -> None:
    total, used, free = wire.get("/diskusage")
    assert total >= used + free > 0


def test_while_the_storage_is_away_every_page_still_gets_its_shape(wire: Wire, controller: Controller) -> None:
    job = finished(controller)
    form = '{"text": "x", "seconds": "0", "outcome": "ok", "inputs": ["/x/to come.raw"]}'
    controller.jobs.submit(*submission(settings=form))
    controller.storage.root.rename(controller.storage.root.with_name("away"))
    assert wire.get("/storage") == [["to come.raw", 0]]
    assert wire.get("/diskusage") == [0, 0, 0]
    assert wire.post("/getfilecontent", {"username": "ada", "names": '["a.raw"]'}) == []
    assert wire.post("/start", START)[1] == ""
    assert wire.send("GET", f"/getresults/ada/{job.id}/a.txt")[0] == 404
    row = next(row for row in wire.get(f"/joblist/{job.id}/10") if row["id"] == job.id)
    assert row["log"].count("\n") == 1
    assert "was submitted" in row["log"]
    assert row["files"] == []
    assert isinstance(wire.get(f"/cancel/ada/{job.id}"), str)
    assert isinstance(wire.get(f"/delete/ada/{job.id}"), str)


def test_a_deleted_job_leaves_every_answer_at_once(wire: Wire, controller: Controller) -> None:
    kept, job = finished(controller), finished(controller, description="mine alone")
    result_file(controller, job, "a.txt", b"x")
    lists = [f"/joblist/{shown}/{number}" for shown in (0, kept.id, job.id) for number in (1, 100, -1)]
    forms: list[dict[str, str]] = [
        {},
        {"current_job_id": str(job.id), "number": "1"},
        {"description": "mine alone"},
        {"description": "mi", "done": "on"},
        {"owner": "ada", "archived": "on", "done": "on"},
        {"date": "end_date", "from": "2000-01-01", "to": "2100-01-01", "number": "-1"},
    ]

    def seen() -> list[set[int]]:
        answers = [wire.get(path) for path in lists] + [wire.post("/search", form) for form in forms]
        return [{row["id"] for row in rows} for rows in answers]

    assert sum(job.id in ids for ids in seen()) > len(lists)
    assert "no job" in wire.get(f"/delete/eve/{job.id}")
    assert wire.get(f"/delete/ada/{job.id}") == f"Job {job.id} is deleted"
    assert set().union(*seen()) == {kept.id}
    assert isinstance(wire.get("/delete/ada/x"), str)
    assert wire.send("GET", f"/getresults/ada/{job.id}/a.txt")[0] == 404
    assert wire.send("GET", f"/log/ada/{job.id}")[0] == 404
    assert "no job" in wire.get(f"/cancel/ada/{job.id}")
    assert "no job" in wire.get(f"/delete/eve/{job.id}")
    assert "before" in wire.get(f"/delete/ada/{job.id}")
    assert wire.post("/start", {**START, "start_after_id": str(job.id)})[1] == ""
    assert wire.post("/start", START)[0] == job.id + 1


def test_a_running_job_is_not_deleted(wire: Wire, controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    assert "has not ended" in wire.get(f"/delete/ada/{job.id}")
    assert wire.get("/joblist/0/1")[0]["status"] == "PENDING"
