"""What nobody may send: each field of the API wrongly, one table; the answer names the field, and nothing has changed.

What jobs and the administration take is in test_jobs_bad_input.py and test_administration.py; here is all else, and what is
wrong in the same way everywhere: numbers, texts, cursors, headers, bodies.
"""

import json
from typing import Any

import pytest
from flask import Flask

from cumulus_client.operations import PREFIX
from server.app import Controller
from server.application import create_app
from tests.api.identity.conftest import UNTRUSTED, Caller
from tests.api.identity.worlds import DatabaseWorld
from tests.conftest import submission
from tests.database_contents import contents

Case = tuple[str, str, Any, int, str | None]  # method, path, body, status, field
NUMBERS = ("x", 1.5, [], {}, True, "1e3", -1, 0, 10**30, "NaN", "Infinity", "\0")
IDS = ("0", "-1", "x", "1e3", "9" * 16, "1.5", "%00", "%D9%A1", "NaN")
TEXTS = (7, None, [], {}, True, "x" * 100_000)
ODD = ("\ud800", 7.5e300, [1], {"a": 1})
HUGE = "9" * 5000
FORM = {"text": "hello", "seconds": "0", "outcome": "ok"}
JOB = {"app": "probe_1.0", "flavor": "m1.4xlarge", "settings": FORM}
BATCH = {"app": "probe_1.0", "flavor": "m1.4xlarge", "form": FORM, "files": ["shared.dat"]}
PRESET = {"app": "probe_1.0", "form": FORM}
USER = {"name": "newcomer"}
TOKEN = {"name": "laptop"}
DEEP = '{"app":"probe_1.0","settings":{"text":' + "[" * 5000 + "]" * 5000 + "}}"


def each(method: str, path: str, good: dict[str, Any], field: str, values: Any, status: int = 422) -> list[Case]:
    return [(method, path, {**good, field: value}, status, field) for value in values]


CASES: list[Case] = [
    # jobs and their numbers
    *(("GET", f"/batches/{number}", None, 422, "batch") for number in IDS),
    *(("POST", f"/batches/{number}/{act}", {}, 422, "batch") for number in IDS for act in ("cancel", "retry")),
    *(("DELETE", f"/batches/{number}", None, 422, "batch") for number in IDS),
    *(("DELETE", f"/tokens/{number}", None, 422, "token") for number in IDS),
    *(("POST", f"/jobs/{number}/cancel", {}, 422, "job") for number in IDS),
    *(("DELETE", f"/jobs/{number}", None, 422, "job") for number in IDS),
    *(("GET", f"/jobs/1/record/compared/{number}", None, 422, "other") for number in IDS),
    *each("POST", "/jobs", JOB, "start_after", [value for value in NUMBERS if value is not True]),
    *each("POST", "/jobs", JOB, "app", TEXTS),
    *each("POST", "/jobs", JOB, "description", (7, None, [], {}, "x" * 100_000)),
    *each("POST", "/jobs", JOB, "owner", (7, None, [], {}, "a/b", "a\nb", "\0", "<b>", "x" * 1000)),
    *each("POST", "/jobs", JOB, "workflow", (7, None, [], {}, "a\nb", "\0", "<b>")),
    *each("POST", "/jobs", JOB, "complete", ("perhaps", 2, None, [], {})),
    *each("POST", "/jobs", JOB, "idempotency_key", (7, None, [], {}, "x" * 201)),
    *each("POST", "/jobs", JOB, "settings", (7, None, [], "x", True)),
    # batches
    *each("POST", "/batches", BATCH, "files", (7, None, {}, "x", [7], [""]), 422),
    *each("POST", "/batches", BATCH, "app", TEXTS),
    *each("POST", "/batches", BATCH, "form", (7, None, [], "x")),
    *each("POST", "/batches", BATCH, "columns", (7, None, [], "x")),
    *each("POST", "/batches", BATCH, "sends", (7, None, {}, "x")),
    *each("POST", "/batches", BATCH, "sheet", (7, None, [], {})),
    *each("POST", "/batches", BATCH, "each", (7, None, [], {}, "nothing")),
    *each("POST", "/batches", BATCH, "key", (7, None, [], {}, "x" * 1000)),
    *each("POST", "/batches", BATCH, "colour", ("red",)),
    *(("GET", f"/batches?cursor={cursor}", None, 422, "cursor") for cursor in ("x", "-1", "0", HUGE, "%00", "1.", "1%0A")),
    *(("GET", f"/batches?limit={limit}", None, 422, "limit") for limit in ("x", "-1", "1.5", HUGE, "NaN", "1&limit=2")),
    *(("GET", f"/jobs?after={cursor}", None, 422, "after") for cursor in ("x", "-1.", HUGE, "%00", "1.%0A", "1.;")),
    # presets
    *each("PUT", "/presets/mine", PRESET, "app", TEXTS),
    *each("PUT", "/presets/mine", PRESET, "form", (7, None, [], "x")),
    *each("PUT", "/presets/mine", PRESET, "description", (7, None, [], {}, "x" * 100_000)),
    *each("PUT", "/presets/mine", PRESET, "group", (7, None, [], {})),
    ("PUT", "/presets/mine", {**PRESET, "group": "others"}, 404, "group"),
    ("PUT", "/presets/mine", {**PRESET, "owner": "bob"}, 422, "owner"),
    *(("PUT", f"/presets/{name}", PRESET, 422, "name") for name in ("..", "-x", "%20", "a%00", "a%0Ab", "<b>", "x" * 65)),
    # accounts
    *each("POST", "/users", USER, "name", (7, None, [], {}, "", "x" * 65, "a/b", "a\nb", "\0", "<b>", " a", "-a", "\ud800")),
    *each("POST", "/users", USER, "role", (7, None, [], {}, "root", "administrator")),
    *each("POST", "/users", USER, "quota_gb", (-1, 0, "x", [], {}, "NaN", "Infinity", 1e300)),
    *each("POST", "/users", USER, "display_name", (7, None, [], {}, "x" * 201, "a\nb")),
    *each("POST", "/users", USER, "email", (7, None, [], {}, "x" * 255, "a\nBcc: b@c.d")),
    *each("POST", "/users", USER, "password", (7, None, [], {}, "short", "x" * 1025)),
    *each("POST", "/users", USER, "id", (1,)),
    ("POST", "/users", {"name": "ada"}, 409, "name"),
    *each("PATCH", "/users/ada", {}, "role", (7, [], {}, "root")),
    *each("PATCH", "/users/ada", {}, "quota_gb", (-1, 0, "x", [], {}, "NaN")),
    *each("PATCH", "/users/ada", {}, "oidc_subject", ("x y",)),
    *each("POST", "/users/ada/password", {}, "new", (7, None, [], {}, "short", "x" * 1025)),
    *each("POST", "/groups", {}, "name", (7, None, [], {}, "", "x" * 65, "a\nb", "\0", "<b>")),
    *each("POST", "/groups", {"name": "gang"}, "quota_gb", (-1, 0, "x", [], {}, "NaN", "Infinity")),
    *each("POST", "/groups", {"name": "gang"}, "shares_jobs", ("perhaps", 2, None, [], {})),
    *each("PUT", "/groups/lab/members/bob", {}, "is_manager", ("perhaps", 2, None, [], {})),
    ("PUT", "/groups/lab/members/nobody", {}, 404, "user"),
    ("PUT", "/groups/none/members/bob", {}, 404, "group"),
    *each("POST", "/tokens", TOKEN, "name", (7, None, [], {}, "", "x" * 81, "a\nb", "\0")),
    *each("POST", "/tokens", TOKEN, "days", ("x", 1.5, [], {}, 0, -1, 10**30, "NaN")),
    *each("POST", "/tokens", TOKEN, "scopes", (7, None, {}, "read", [])),
    ("POST", "/tokens", {**TOKEN, "scopes": ["root"]}, 422, "scopes.0"),
    ("POST", "/tokens", {**TOKEN, "scopes": ["read"] * 100_000}, 422, "scopes"),
    *each("POST", "/tokens", TOKEN, "owner", (7, [], {}, "", "x" * 65)),
    *(("GET", f"/audit?limit={limit}", None, 422, "limit") for limit in ("x", "-1", "0", HUGE, "NaN")),
    *(("GET", f"/audit?before={number}", None, 422, "before") for number in ("x", "-1", "0", HUGE)),
    *(("GET", f"/audit?{name}={when}", None, 422, name) for name in ("since", "until") for when in ("x", "nan", "inf", "")),
    ("GET", "/audit?outcome=perhaps", None, 422, "outcome"),
    # usage
    *(("GET", f"/usage?{name}={day}", None, 422, name) for name in ("first", "last") for day in ("x", "2026-13-01", "0", "%00")),
    *(("GET", f"/usage?by={by}", None, 422, "by.0") for by in ("x", "owner", "%00")),
    # bodies that are none, filter bombs
    ("POST", "/jobs", DEEP, 400, None),
    *(("POST", "/jobs", {**JOB, "settings": {**FORM, "text": text}}, 422, "text") for text in ODD),
    *(("POST", "/batches", {**BATCH, "form": {**FORM, "text": text}}, 422, "files") for text in ODD),
    *(("POST", "/batches/check", {**BATCH, "form": {**FORM, "text": text}}, 422, "files") for text in ODD),
    *(("PUT", "/presets/mine", {**PRESET, "form": {**FORM, "text": text}}, 422, "text") for text in ODD),
    *(("POST", "/apps/probe_1.0/preview", {"settings": {**FORM, "text": text}}, 422, "text") for text in ODD),
    *(("PUT", "/presets/mine", {**PRESET, "form": {name: 1}}, 422, name) for name in ("nothing",)),
    *(("POST", "/jobs", {**JOB, name: "\ud800"}, 422, name) for name in ("app", "flavor", "description", "workflow", "owner")),
    ("POST", "/jobs", '{"app": "probe_1.0", "settings": {"seconds": 1e999}}', 422, "settings"),
    ("POST", "/jobs", '{"app": "probe_1.0", "settings": {"seconds": NaN}}', 422, "settings"),
    ("POST", "/jobs", '{"app": "probe_1.0", "settings": {"\\ud800": 1}}', 422, "?"),
    ("PUT", "/presets/mine", '{"app": "probe_1.0", "form": {"\\ud800": 1}}', 422, "\ud800"),
    ("POST", "/jobs", '{"app": NaN}', 422, "app"),
    ("POST", "/jobs", '{"app": "probe_1.0", "app": "probe_1.0"', 400, None),
    ("POST", "/batches", {**BATCH, "files": ["x"] * 100_000}, 422, "files"),
    ("GET", "/jobs?" + "&".join(["state=done"] * 1000), None, 422, "state"),
    ("GET", "/jobs?text=" + "x" * 5000, None, 422, "text"),
]

TUS = {"Tus-Resumable": "1.0.0"}
NEW = {**TUS, "Upload-Length": "5", "Upload-Metadata": "filename eC5kYXQ="}
PART = {**TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
UPLOADS: list[tuple[str, str, dict[str, str], Any, int, str | None]] = [
    *(
        ("POST", "/uploads", {**NEW, "Upload-Length": text}, None, 400, "Upload-Length")
        for text in ("x", "-1", "1.5", HUGE, "NaN", "")
    ),
    *(
        ("POST", "/uploads", {**NEW, "Upload-Metadata": text}, None, 400, "Upload-Metadata")
        for text in ("filename !", "filename eA==,filename eA==", "filename /w==", "filename e", "a b c")
    ),
    *(
        ("POST", "/uploads", {**NEW, "Upload-Metadata": text}, None, 400, "filename")
        for text in ("a eA==", "filename", "filename ")
    ),
    *(("POST", "/uploads", {**NEW, "Tus-Resumable": text}, None, 412, "Tus-Resumable") for text in ("", "0.2.2", "2.0.0")),
    *(("GET", f"/uploads?job={text}", {}, None, 400, "job") for text in ("x", "-1", "1.5", HUGE, "", "%00")),
    *(
        ("PATCH", "/uploads/{own}", {**PART, "Upload-Offset": text}, b"hello", 400, "Upload-Offset")
        for text in ("x", "-1", HUGE, "")
    ),
    *(
        ("PATCH", "/uploads/{own}", {**PART, "Upload-Offset": text}, b"hello", 409, "Upload-Offset")
        for text in ("1", "5", "999999")
    ),
    ("PATCH", "/uploads/{own}", {**PART, "Content-Type": "text/plain"}, b"hello", 415, "Content-Type"),
    ("PATCH", "/uploads/{own}", PART, b"hello, too long", 413, "Content-Length"),
    *(
        ("PATCH", "/uploads/{own}", {**PART, "Upload-Checksum": text}, b"hello", 400, "Upload-Checksum")
        for text in ("x", "md5 eA==", "sha1 eA==")
    ),
    *(
        (method, f"/uploads/{name}", PART, b"hello", 404, "upload")
        for method in ("PATCH", "DELETE")
        for name in ("x", "0", "%00", "a" * 500)
    ),
    *((method, "/uploads/{hers}", PART, b"hello", 404, "upload") for method in ("PATCH", "DELETE", "GET")),
    ("POST", "/uploads/{own}", {**PART, "X-HTTP-Method-Override": "PUT"}, b"hello", 400, "X-HTTP-Method-Override"),
    *(
        ("POST", "/uploads/stored", {"Content-Type": "application/json"}, body, 400, None)
        for body in (b"{", b"[]", b'{"job": "1", "filename": "x"}', b'{"job": true, "filename": "x"}', b'{"filename": "x"}')
    ),
    ("POST", "/uploads/stored", {"Content-Type": "application/json"}, b'{"job": 1%s, "filename": "x"}' % (b"0" * 30), 400, "job"),
    ("POST", "/uploads/stored", {"Content-Type": "application/json"}, b'{"job": -1, "filename": "x"}', 400, "job"),
    ("POST", "/uploads/stored", {"Content-Type": "application/json"}, b'{"job": 1, "filename": "\\ud800"}', 400, "filename"),
]


@pytest.fixture
def world(controller: Controller) -> DatabaseWorld:
    controller.jobs.submit(*submission("ada"))
    (controller.storage.data / "shared.dat").write_text("spectra")
    return DatabaseWorld()


@pytest.fixture
def app(controller: Controller, world: DatabaseWorld) -> Flask:
    return create_app(controller, world.accounts)


def found(answer: Any) -> tuple[int, str | None]:
    if answer.mimetype != "application/problem+json":
        return answer.status_code, "no problem"
    said = json.loads(answer.data)
    assert said["status"] == answer.status_code
    assert len(said["detail"]) <= 1000
    return answer.status_code, said.get("field")


def test_each_field_is_checked_and_named_and_nothing_has_changed(controller: Controller, world: DatabaseWorld) -> None:
    controller.settings.submissions_per_minute = 100_000
    root = Caller(create_app(controller, world.accounts), UNTRUSTED, world.tokens["admin"])
    before, wrong = contents(), []
    for method, path, body, status, field in CASES:
        given = {"data": body, "content_type": "application/json"} if isinstance(body, str) else {"json": body}
        answer = root.ask(method, PREFIX + path, **({} if body is None else given))
        said = found(answer)
        if said[0] != status or field not in (said[1], (said[1] or "").partition(".")[0] or None):
            wrong.append((method, path[:80], str(body)[:120], said, answer.text[:200]))
    assert not wrong, "\n".join(map(repr, wrong))
    assert contents() == before
    assert len(CASES) + len(UPLOADS) >= 300


def test_each_header_of_an_upload_is_checked(app: Flask, world: DatabaseWorld) -> None:
    bob, ada = (Caller(app, UNTRUSTED, world.tokens[kind]) for kind in ("other", "user"))
    made = {"own": bob, "hers": ada}
    for name, sender in made.items():
        metadata = "filename " + {"own": "b3duLmRhdA==", "hers": "aGVycy5kYXQ="}[name]
        answer = sender.post(f"{PREFIX}/uploads", headers={**NEW, "Upload-Metadata": metadata})
        made[name] = answer.get_json()["id"]
    before, wrong = contents(), []
    for method, path, headers, body, status, field in UPLOADS:
        answer = bob.ask(method, PREFIX + path.format_map(made), headers=headers, data=body)
        if (said := found(answer)) != (status, field):
            wrong.append((method, path[:80], str(headers)[:200], said, answer.text[:200]))
    assert not wrong, "\n".join(map(repr, wrong))
    assert contents() == before
