"""A table of what no server should take: each refused with a message, and without a trace."""

import json
from itertools import product

import pytest

from server.app import Controller
from server.db.models import Event, Job
from tests.api.test_desktop import BOUNDARY, START, Wire, wire

__all__ = ["wire"]

EVERYWHERE = (
    *(
        "../x",
        "/etc/passwd",
        "..\\..\\x",
        "a/../../b",
        "<script>alert(1)</script>",
        "<b>",
        "a&b",
        '"',
        "'",
        "'; DROP TABLE job; --",
    ),
    *(
        "$(id)",
        "`id`",
        "|id",
        ";id",
        "&&id",
        ">x",
        "a\nb",
        "a\tb",
        "a\rb",
        "a\0b",
        "\x1b[31m",
        "\u202ex",
        "\u2028",
        "☃",
        "%",
        "%00",
    ),
    *("{}", "[]", "{{7*7}}", "${7*7}", "x" * 1000, "é" * 300, "*", "?", "#", "~", "\\", "!", "=", ",", ":", "(", "{"),
)
NUMBERS = (
    "-1",
    "1.5",
    "1e3",
    "0x10",
    "٣",
    "½",
    "99999",
    "9" * 16,
    "9" * 400,
    "+1",
    " 1",
    "1 ",
    "1,2",
    "NaN",
    "Infinity",
    "true",
    "0",
)
NOT_AN_OBJECT = (
    "",
    " ",
    "{",
    "}",
    "[]",
    "null",
    "true",
    "1",
    '"x"',
    "{'a': 1}",
    '{"a": }',
    '{"a": 1,}',
    "NaN",
    "\ufeff{}",
    "\0",
    "[" * 50_000,
    *(f'{{"unknown": {value}}}' for value in ("NaN", "-Infinity", "1e999", "[" * 101 + "1" + "]" * 101, "[" * 960 + "]" * 960)),
)
WRONG_VALUES: tuple[tuple[str, object], ...] = (
    *(("text", value) for value in (1, 1.5, True, [], {}, ["a"], "a\0b", "x" * 100_001, "\ud800")),
    *(
        ("seconds", value)
        for value in ("soon", "-1", "3600.1", "1e999", "NaN", "inf", "1,5", "0x1", " ", [], {}, True, "1\0", "٣", "1_0")
    ),
    *(("outcome", value) for value in ("", "maybe", "OK", " ok", "ok ", 1, True, [], {}, ["ok"], "ok\0", "<ok>")),
    *(
        ("inputs", value)
        for value in (1, True, {}, "..", "/", ".", [1], [None], [[]], [{}], ["a\0"], ["a\nb"], ["/x/.."], ["x" * 300])
    ),
    *(("inputs", value) for value in (["/a/x.raw", "/b/.cumulus.cmd"], ["C:\\"], ["\ud800"], ["a\u2028b"], ["a" * 100_001])),
    *(("inputs", [value]) for value in ("/a/<img src=x>.raw", "<b>/a.raw", "/a/<b>\\x.raw")),
    *(("inputs", [value]) for value in ("%job_dir_0%/output/a", "%job_dir_0%", "%job_dir_", "%job_dir_0%/../a")),
)
FORMS = (
    *(({"username": value}, "username") for value in ("", " ", " ada", ".ada", "-ada", "a" * 65, *EVERYWHERE)),
    *(({"app_name": value}, "app_name") for value in ("", " ", "probe", "PROBE_1.0", "probe_1.0 ", "probe_1.0.xml", *EVERYWHERE)),
    *(({"strategy": value}, "strategy") for value in ("", " ", "m1.heavy", "M1.4XLARGE", "m1.4xlarge ", *EVERYWHERE)),
    *(({"start_after_id": value}, "start_after_id") for value in (" ", *NUMBERS, *EVERYWHERE)),
    *(({"workflow_name": value}, "workflow_name") for value in ("<b>", "a&b", "a\nb", "a\0b", "\x1b[31m", "x" * 201)),
    *(({"description": value}, "description") for value in ("x" * 10_001, "é" * 20_000)),
    *(({"settings": value}, "settings") for value in NOT_AN_OBJECT),
    *(({"settings": json.dumps({**json.loads(START["settings"]), name: value})}, name) for name, value in WRONG_VALUES),
)


@pytest.fixture
def untouched(controller: Controller) -> object:
    """Fails the test if something came of what it sent."""
    yield
    assert Job.select().count() == Event.select().count() == 0
    assert list(controller.storage.jobs.iterdir()) == list(controller.storage.data.iterdir()) == []


def test_the_table_is_long_enough() -> None:
    assert len(FORMS) > 200


def test_every_wrong_field_is_refused_by_name_and_nothing_is_stored(wire: Wire, untouched: None) -> None:
    unexpected = []
    for change, field in FORMS:
        headers, answer = wire.posted("/start", {**START, **change})
        message, folder = answer
        named = headers.get("cumulus-refused", "").endswith(f"; field={field}")
        if folder or not named or not message or "<" in message or "Traceback" in message:
            unexpected.append((field, str(change)[:100], answer))
    assert unexpected == []


@pytest.mark.parametrize("missing", sorted(START))
def test_a_field_that_is_not_sent_at_all_is_as_an_empty_one(wire: Wire, controller: Controller, missing: str) -> None:
    answer = wire.post("/start", {name: value for name, value in START.items() if name != missing})
    assert bool(answer[1]) == (missing in ("workflow_name", "description", "start_after_id"))


BODIES = (
    (b"", {}),
    (b"", {"Content-Type": "multipart/form-data"}),
    (b"", {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}),
    (b"garbage", {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}),
    (f"--{BOUNDARY}\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}),
    (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(),
        {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
    ),
    (b"\xff" * 1000, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}),
    (b"username=ada", {"Content-Type": "application/x-www-form-urlencoded"}),
    (b'{"username": "ada"}', {"Content-Type": "application/json"}),
    (b"{}", {"Content-Type": "text/plain"}),
    (b"x", {"Content-Type": "multipart/form-data; boundary=" + "b" * 5000}),
    (b"x" * 1000, {"Content-Type": "\xe9\xe9"}),
)


@pytest.mark.parametrize(("route", "body"), list(product(("/start", "/search", "/getfilecontent", "/fail"), range(len(BODIES)))))
def test_a_body_that_is_none_still_gets_json_of_the_documented_shape(wire: Wire, untouched: None, route: str, body: int) -> None:
    content, headers = BODIES[body]
    status, _, answer = wire.send("POST", route, content, headers)
    assert status == 200
    told = json.loads(answer)
    assert (told == "") if route == "/fail" else isinstance(told, list)
    assert b"Traceback" not in answer


@pytest.mark.parametrize("route", ["/start", "/search", "/getfilecontent", "/fail", "/nothing"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"Content-Length": "2000000000"},
        {"Content-Length": "x"},
        {"Content-Length": "-1"},
        {"Transfer-Encoding": "gzip"},
        {"Transfer-Encoding": "chunked", "Content-Length": "0"},
    ],
)
def test_a_request_that_cannot_be_read_at_all_gets_the_shape_too(
    wire: Wire, untouched: None, route: str, wrong: dict[str, str]
) -> None:
    status, headers, body = wire.send("POST", route, b"zz\r\n<b>\r\n", {"Content-Length": "7", **wrong})
    assert status in (400, 413, 501)
    assert headers["content-type"] == "application/json"
    told = json.loads(body)
    shapes = {"/start": list, "/search": list, "/getfilecontent": list, "/fail": str, "/nothing": dict}
    assert isinstance(told, shapes[route])
    assert len(told) == {"/start": 2, "/nothing": 1}.get(route, 0)
    assert route != "/start" or (told[0] and told[1] == "")


def test_a_body_that_is_too_large_is_refused_before_it_is_kept(wire: Wire, untouched: None) -> None:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="settings"\r\n\r\n'.encode()
    body = head + b"x" * 21_000_000 + f"\r\n--{BOUNDARY}--\r\n".encode()
    status, _, answer = wire.send("POST", "/start", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
    assert status == 200
    message, folder = json.loads(answer)
    assert folder == ""
    assert "exceeds the capacity limit" in message


def test_a_form_of_the_20_mib_that_the_client_can_send_is_read(wire: Wire, untouched: None) -> None:
    message, folder = wire.post("/start", {**START, "settings": "x" * (20 * 1024 * 1024 - 2000)})
    assert (message, folder) == ("the settings are too long", "")


TARGETS = (
    *(
        "/nothing",
        "/",
        "//",
        "/start",
        "/search",
        "/fail",
        "/joblist",
        "/joblist/",
        "/joblist/1",
        "/cancel",
        "/cancel/ada",
        "/delete/ada",
    ),
    *(
        "/getresults/ada/1",
        "/getresults/ada/x/a",
        "/getresults/ada/99999999999999999999/a",
        "/getfile/ada",
        "/getfile/ada/..%2Fcumulus.sqlite",
    ),
    *(
        "/getfile/ada/%2Fetc%2Fpasswd",
        "/getfile/ada/..%2F..%2F..%2F..%2Fetc%2Fpasswd",
        "/getfile/ada/a%00b",
        "/getfile/ada/.",
        "/getfile/ada/%2e%2e",
    ),
    *(
        "/getfile/ada/" + "a" * 3000,
        "/getfile/ada/a%5C..%5Cb",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/../../etc/passwd",
        "/info/",
        "/apps/",
        "///apps",
    ),
    *("/joblist/1/2/3", "/config?x=1&y=<b>%00", "/%ff%fe", "/getfile/%ff/%ff"),
)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_that_leads_nowhere_is_told_so_and_never_redirected(wire: Wire, untouched: None, target: str) -> None:
    status, headers, body = wire.send("GET", target)
    assert status in (200, 400, 404, 405, 414)
    assert "location" not in headers
    assert b"root:" not in body
    assert b"SQLite format" not in body
    assert b"Traceback" not in body


@pytest.mark.parametrize("shown", ["x", "-1", "1e9", "9" * 30, "%00", "<b>", "1;DROP TABLE job"])
@pytest.mark.parametrize("number", ["x", "-5", "9" * 30, "1.5", "<b>", "%00", ""])
def test_a_list_that_makes_no_sense_is_still_a_list(wire: Wire, untouched: None, shown: str, number: str) -> None:
    if number:
        assert wire.get(f"/joblist/{shown.replace('<', '%3C').replace(' ', '%20')}/{number.replace('<', '%3C')}") == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "BREW"])
def test_methods_that_nobody_needs_change_nothing(wire: Wire, untouched: None, method: str) -> None:
    assert wire.send(method, "/start")[0] in (200, 400, 404, 405, 501)
