"""Batches, presets and usage over the controller's Unix socket, and the same answers without a controller."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from cumulus_client.batches import NewBatch
from cumulus_client.client import Cumulus
from cumulus_client.errors import Refused
from cumulus_client.operations import PREFIX
from cumulus_client.presets import NewPreset
from cumulus_client.usage import UsageQuery
from programs.errors import login
from server.api.v1.direct import DirectCaller
from server.app import Controller
from server.application import services_of
from server.db.models import Batch, Job, Preset
from server.home.folder import SOCKET_FILE
from server.services.principal import Principal
from server.states import JobState
from tests.api.v1.local import client_of
from tests.services.batches.asking import asked, store

ME = login()


@pytest.fixture
def served(controller: Controller) -> Iterator[Cumulus]:
    with client_of(controller) as client:
        yield client


def direct(controller: Controller) -> Cumulus:
    services = services_of(controller)
    return Cumulus(DirectCaller(services, Principal.local_admin(ME)))


@pytest.fixture(params=["over the socket", "direct"])
def client(controller: Controller, request: pytest.FixtureRequest) -> Iterator[Cumulus]:
    if request.param == "direct":
        yield direct(controller)
    else:
        yield request.getfixturevalue("served")


def test_a_batch_from_its_submission_to_its_deletion(controller: Controller, client: Cumulus) -> None:
    store(controller, "a.dat", "b.dat")
    request = asked(sheet="inputs\na.dat\nb.dat\n", key="one")
    assert [job.label for job in client.batches.check(request).jobs] == ["a.dat", "b.dat"]
    made = client.batches.submit(request)
    assert client.batches.submit(request).is_new is False
    (listed,) = client.batches.list().batches
    assert (listed.id, listed.owner, listed.states) == (made.batch, ME, {"uploading": 2})
    Job.update(state=JobState.FAILED, outcome=JobState.FAILED).where(Job.id == 2).execute()
    assert [job.label for job in client.batches.get(made.batch, ["failed"]).jobs] == ["b.dat"]
    assert [job.position for job in client.batches.retry(made.batch).jobs] == [2]
    assert "2 jobs" in client.batches.cancel(made.batch)
    assert client.batches.delete(made.batch) == f"Batch {made.batch} is deleted, with 3 jobs"
    with pytest.raises(Refused) as refused:
        client.batches.get(made.batch)
    assert (refused.value.problem.status, refused.value.problem.field) == (404, "batch")


def test_a_preset_from_its_saving_to_its_deletion(client: Cumulus, controller: Controller) -> None:
    saved = client.presets.save(NewPreset(name="my own", app="probe_1.0", form={"text": "hi"}, flavor="m1.4xlarge"))
    assert (saved.owner, saved.may_change) == (ME, True)
    assert [one.name for one in client.presets.list("probe_1.0")] == ["my own"]
    assert client.presets.get("my own", "probe_1.0").form == {"text": "hi"}
    store(controller, "a.dat")
    made = client.batches.submit(asked(files=["a.dat"], preset="my own", form={"seconds": "0"}))
    assert json.loads(Job.get_by_id(made.jobs[0].job).settings)["text"] == "hi"
    assert "deleted" in client.presets.delete("my own")
    assert Preset.select().count() == 0


def test_usage_is_the_same_as_json_and_as_csv(client: Cumulus, controller: Controller) -> None:
    store(controller, "a.dat")
    client.batches.submit(asked(files=["a.dat"]))
    query = UsageQuery(by=["user", "app"])
    (row,) = client.usage.get(query).rows
    assert (row.user, row.app, row.jobs) == (ME, "probe_1.0", 1)
    (line,) = csv.DictReader(io.StringIO(client.usage.csv(query).decode()))
    assert {name: str(value) for name, value in row.model_dump().items()} == line


def test_both_ways_refuse_in_the_same_words(controller: Controller, served: Cumulus) -> None:
    store(controller, "a.dat")
    faulty = [
        lambda client: client.batches.submit(asked(sheet="inputs,outcome\na.dat,maybe\n")),
        lambda client: client.batches.submit(asked(files=["gone.dat"])),
        lambda client: client.batches.cancel(7),
        lambda client: client.presets.get("none"),
        lambda client: client.presets.save(NewPreset(name="x", app="probe_1.0", form={"nothing": 1})),
        lambda client: client.usage.get(UsageQuery(first="2026-13-01")),
    ]
    for ask in faulty:
        problems = []
        for client in (served, direct(controller)):
            with pytest.raises(Refused) as refused:
                ask(client)
            problems.append(refused.value.problem)
        assert problems[0] == problems[1]
        assert problems[0].field


GOOD = {"app": "probe_1.0", "flavor": "m1.4xlarge", "files": ["a.dat"]}
NEW = ("POST", "/batches")
BAD: list[tuple[str, str, Any, str]] = [
    *(
        (*NEW, {**GOOD, **change}, field)
        for change, field in [
            ({"app": 7}, "app"),
            ({"app": "x" * 201}, "app"),
            ({"app": "none"}, "app"),
            ({"name": "x" * 201}, "name"),
            ({"name": "a\nb"}, "name"),
            ({"flavor": ["m1"]}, "flavor"),
            ({"flavor": "none"}, "flavor"),
            ({"description": "x" * 10_001}, "description"),
            ({"form": []}, "form"),
            ({"form": {"outcome": "maybe"}}, "files"),
            ({"form": {"nothing": 1}}, "files"),
            ({"preset": "none"}, "name"),
            ({"preset": "x" * 201}, "preset"),
            ({"each": "none"}, "each"),
            ({"each": 1}, "each"),
            ({"files": "a.dat"}, "files"),
            ({"files": []}, "files"),
            ({"files": [""]}, "files.0"),
            ({"files": [1]}, "files.0"),
            ({"files": ["../.."]}, "files"),
            ({"files": ["a\0b"]}, "files"),
            ({"files": ["a.dat", "a.dat"]}, "files"),
            ({"files": ["x"] * 10_001}, "files"),
            ({"sheet": {}}, "sheet"),
            ({"sheet": "inputs\na.dat\n"}, "files"),
            ({"files": [], "sheet": "x\ny\n"}, "sheet"),
            ({"columns": []}, "columns"),
            ({"columns": {"a": "b"}}, "columns"),
            ({"sends": ["other.dat"]}, "sends"),
            ({"sends": {}}, "sends"),
            ({"key": "x" * 201}, "key"),
            ({"key": 5}, "key"),
            ({"owner": "<b>"}, "owner"),
            ({"more": 1}, "more"),
        ]
    ),
    ("GET", "/batches?limit=0", None, "limit"),
    ("GET", "/batches?limit=201", None, "limit"),
    ("GET", "/batches?limit=many", None, "limit"),
    ("GET", "/batches?cursor=-1", None, "cursor"),
    ("GET", "/batches?cursor=1;DROP", None, "cursor"),
    ("GET", "/batches?limit=1&limit=2", None, "limit"),
    ("GET", "/batches?more=1", None, "more"),
    ("GET", "/batches/0", None, "batch"),
    ("GET", "/batches/x", None, "batch"),
    ("GET", "/batches/9", None, "batch"),
    ("GET", "/batches/1?state=gone", None, "state.0"),
    ("GET", "/batches/1?limit=10001", None, "limit"),
    ("GET", "/batches/1?cursor=x", None, "cursor"),
    ("POST", "/batches/9/cancel", {}, "batch"),
    ("POST", "/batches/9/retry", {}, "batch"),
    ("POST", "/batches/1/retry", {"more": 1}, "more"),
    ("DELETE", "/batches/9", None, "batch"),
    ("PUT", "/presets/x", {"app": "probe_1.0"}, "form"),
    ("PUT", "/presets/x", {"app": "none", "form": {}}, "app"),
    ("PUT", "/presets/x", {"app": "probe_1.0", "form": {"text": 1}}, "text"),
    ("PUT", "/presets/x", {"app": "probe_1.0", "form": {"nothing": 2}}, "nothing"),
    ("PUT", "/presets/x", {"app": "probe_1.0", "form": {"outcome": "maybe"}}, "outcome"),
    ("PUT", "/presets/x", {"app": "probe_1.0", "form": {}, "group": "none"}, "group"),
    ("PUT", "/presets/x", {"app": "probe_1.0", "form": {}, "description": "x" * 1001}, "description"),
    ("PUT", "/presets/%3Cb%3E", {"app": "probe_1.0", "form": {}}, "name"),
    ("PUT", f"/presets/{'x' * 65}", {"app": "probe_1.0", "form": {}}, "name"),
    ("GET", "/presets/none", None, "name"),
    ("GET", "/presets?app=none", None, "app"),
    ("DELETE", "/presets/none", None, "name"),
    ("GET", "/usage?by=week", None, "by.0"),
    ("GET", "/usage?first=yesterday", None, "first"),
    ("GET", "/usage?first=2026-02-30", None, "first"),
    ("GET", "/usage?last=2026-00-01", None, "last"),
    ("GET", "/usage?first=2020-01-02&last=2020-01-01", None, "first"),
    ("GET", "/usage?first=9999-01-01", None, "first"),
    ("GET", "/usage.csv?by=week", None, "by.0"),
]


def test_bad_input_is_refused_by_its_field_and_changes_nothing(controller: Controller, served: Cumulus) -> None:
    store(controller, "a.dat")
    assert served.batches.list().batches == []
    transport = httpx.HTTPTransport(uds=str(controller.settings.home / SOCKET_FILE))
    wrong = []
    with httpx.Client(base_url=f"http://localhost{PREFIX}", transport=transport) as http:
        for method, path, body, field in BAD:
            response = http.request(method, path, **({} if body is None else {"json": body}))
            told = response.json() if response.headers["Content-Type"] == "application/problem+json" else {}
            if not 400 <= response.status_code < 500 or told.get("field") != field or not told.get("detail"):
                wrong.append((method, path, str(body)[:80], response.status_code, told))
    assert wrong == []
    assert (Job.select().count(), Batch.select().count(), Preset.select().count()) == (0, 0, 0)
    assert list(controller.storage.jobs.iterdir()) == []


def test_a_request_may_be_as_large_as_a_batch_can_be(controller: Controller, served: Cumulus) -> None:
    with pytest.raises(Refused, match=r"file 1, column 'inputs': .* and 9990 more"):
        served.batches.submit(NewBatch(app="probe_1.0", files=[f"gone-{number}.dat" for number in range(10_000)]))
    assert Job.select().count() == 0
