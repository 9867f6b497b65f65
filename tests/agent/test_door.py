"""No web page makes the agent send or stop anything, and whatever strangers do, its clients are answered."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from agent.door import open_agent_door
from agent.queue.queue import Queue
from agent.serve import Agent
from tests.agent.conftest import Lab
from tests.bench.siege import MALFORMED, SLOW_POST
from tests.programs.doors import closing, connected_to, running

BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0"
ROUTES = ("//", "/list-rsync", "/progress-rsync/akeller/7", "/queue", "/status", "/cancel-rsync/akeller/7")


@pytest.fixture
def port(agent: Agent) -> Iterator[int]:
    with running(open_agent_door(agent.settings, agent.app, connections=40, poll_s=0.05)) as door:
        yield int(door.effective_port)


def send(port: int, method: str, target: str, headers: dict[str, str], body: str = "") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    form = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
    connection.request(method, target, body or None, {**form, **headers})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content


def order(lab: Lab) -> str:
    lists = {"files": json.dumps([lab.write("run.raw")]), "local_files": "[]"}
    return urlencode({"job_id": "7", "job_dir": lab.job(7), "owner": "akeller", **lists})


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null", "User-Agent": BROWSER},
    ],
    ids=range(4),
)
def test_a_foreign_page_sends_stops_and_sees_nothing(port: int, lab: Lab, headers: dict[str, str]) -> None:
    status, said = send(port, "POST", "/send-rsync", headers, order(lab))
    assert (status, type(json.loads(said))) == (403, str)
    assert Queue().listing.lines() == []
    shapes: dict[str, Any] = {"/list-rsync": [], "/queue": [], "/progress-rsync/akeller/7": {}}
    for route in ROUTES:
        status, said = send(port, "GET", route, headers)
        assert status == 403
        assert json.loads(said) == shapes.get(route, json.loads(said))


def test_a_picture_in_a_foreign_page_stops_nothing(port: int, lab: Lab) -> None:
    send(port, "POST", "/send-rsync", {}, order(lab))
    assert send(port, "GET", "/cancel-rsync/akeller/7", {"User-Agent": BROWSER})[0] == 403
    assert len(Queue().listing.lines()) == 1
    assert send(port, "GET", "/status", {"User-Agent": BROWSER})[0] == 200


@pytest.mark.parametrize("headers", [{}, {"Origin": "null", "Sec-Fetch-Site": "none"}, {"Host": "localhost"}], ids=range(3))
def test_the_client_passes_on_every_route(port: int, lab: Lab, headers: dict[str, str]) -> None:
    assert send(port, "POST", "/send-rsync", headers, order(lab))[0] == 200
    assert len(Queue().listing.lines()) == 1
    assert [send(port, "GET", route, headers)[0] for route in ROUTES] == [200] * len(ROUTES)


def test_strangers_keep_nobody_out(port: int) -> None:
    besieging = [connected_to(port, MALFORMED[number % len(MALFORMED)]) for number in range(120)]
    besieging += [connected_to(port) for _ in range(100)]
    with closing(besieging + [connected_to(port, SLOW_POST) for _ in range(100)]):
        assert send(port, "GET", "//", {})[0] == 200
        assert send(port, "GET", "/list-rsync", {}) == (200, b"[]\n")


def test_a_damaged_queue_is_told_in_the_shape_of_each_route(port: int, agent: Agent, lab: Lab) -> None:
    database: Path = agent.settings.database
    for file in (database, Path(f"{database}-wal")):
        if file.exists():
            file.write_bytes(b"garbage " * max(1, file.stat().st_size // 8))
    status, said = send(port, "POST", "/send-rsync", {}, order(lab))
    assert status == 200
    assert str(database) in json.loads(said)
    assert send(port, "GET", "/list-rsync", {}) == (200, b"[]\n")
    assert send(port, "GET", "/progress-rsync/akeller/7", {}) == (200, b"{}\n")
    assert send(port, "GET", "//", {})[0] == 200  # its version needs no queue
