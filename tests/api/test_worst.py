"""What the worst request of each route may cost, whoever sends it."""

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from server.api.http import LARGE, LARGE_BYTES, LONG, SHORT, pool
from server.api.response_cache import ENTRY_BYTES, FACTOR, Reused, Unhurried
from server.app import Controller
from server.application import create_app
from server.catalog.settings_text import MAX_VALUES
from server.services.principal import Principal
from server.storage import data
from server.storage.job_folder.results import Results
from tests.api.test_desktop import START
from tests.bench import door
from tests.bench.worst import Installation, worst_requests
from tests.conftest import submission

FULL_MB = 200  # of memory, with all of them at once


@pytest.fixture
def client(controller: Controller) -> FlaskClient:
    return create_app(controller).test_client()


def test_answers_that_fail_and_long_questions_take_no_room() -> None:
    reused = Reused(max_bytes=10 * ENTRY_BYTES)
    for number in range(1000):
        with contextlib.suppress(ZeroDivisionError):
            reused.get((number, "x" * 10_000), lambda: 0, lambda: [bytes(1 // 0)])
    assert len(reused._answers) <= 10
    assert sum(map(sys.getsizeof, reused._answers)) < 1000


def test_a_text_too_long_to_search_for_is_not_even_a_question(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(Reused, "get", lambda self, question, *_: asked.append(question) or [b"[]"])  # type: ignore[func-returns-value]
    for field in ("owner", "app", "description", "file", "date", "from", "to"):
        assert client.post("/search", data={field: "x" * 1001, "number": "100"}).get_json() == []
    assert asked == []


def test_a_folder_named_many_times_is_walked_once(
    client: FlaskClient, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = controller.storage.data / "run.d"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a").touch()
    (folder / ".cumulus.hidden").touch()
    (folder / "link").symlink_to("/etc/passwd")
    walked: list[str] = []
    real = data._scanned
    monkeypatch.setattr(data, "_scanned", lambda place: walked.append(place) or real(place))  # type: ignore[func-returns-value]
    names = json.dumps(["run.d"] * 500)
    assert client.post("/getfilecontent", data={"names": names}).get_json() == ["run.d/deep/a"]
    assert len(walked) == 2


def test_files_behind_names_end_somewhere(client: FlaskClient, controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.api.desktop.files.MAX_FOUND", 5)
    for name in ("a.d", "b.d"):
        (controller.storage.data / name).mkdir()
        for number in range(4):
            (controller.storage.data / name / str(number)).touch()
    found = client.post("/getfilecontent", data={"names": '["a.d", "b.d"]'}).get_json()
    assert found[:4] == [f"a.d/{number}" for number in range(4)]
    assert len(found) == 5


def test_results_of_an_ended_job_are_listed_once_where_that_takes_long(
    client: FlaskClient, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = controller.jobs.submit(*submission())
    controller.jobs.cancel(Principal.desktop("ada"), job.id)
    (controller.jobs.folder(job).output / "a.txt").write_text("abc")
    monkeypatch.setattr("server.storage.outputs.CHEAP_S", -1.0)
    looks: list[str] = []
    real = Results.each_file
    monkeypatch.setattr(
        Results,
        "each_file",
        lambda self: looks.append("one") or real(self),  # type: ignore[func-returns-value]
    )
    for rows in range(1, 20):
        assert client.get(f"/joblist/{job.id}/{rows}").get_json()[0]["files"] == [["a.txt", 3]]
    assert len(looks) == 1


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_takes_long_is_found_out_for_a_tenth_of_the_time() -> None:
    clock, looks = Clock(), []

    def look() -> int:
        clock.now += 2
        looks.append(clock.now)
        return len(looks)

    found = Unhurried(look, clock)
    assert [found.get() for _ in range(100)] == [1] * 100
    clock.now += 2 * FACTOR
    assert found.get() == 2


FORMS: tuple[tuple[bytes, str], ...] = (
    (b"a&" * 1000, "application/x-www-form-urlencoded"),
    (b"owner=" + b"%41" * 100_001, "application/x-www-form-urlencoded"),
    (b"owner=" + b"a" * (1 << 20), "application/x-www-form-urlencoded"),
    (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 1001 + b"--b--\r\n", "multipart/form-data; boundary=b"),
)


@pytest.mark.parametrize("form", range(len(FORMS)))
def test_a_form_has_its_limits_in_both_encodings(client: FlaskClient, form: int) -> None:
    body, kind = FORMS[form]
    assert client.post("/start", data=body, content_type=kind).get_json()[1] == ""
    assert client.post("/search", data=body, content_type=kind).get_json() == []


def test_settings_of_very_many_values_are_refused_before_they_are_read(client: FlaskClient, controller: Controller) -> None:
    settings = '{"text": [' + "[]," * (MAX_VALUES // 2) + "[]]}"
    form = {**START, "settings": settings}
    message, folder = client.post("/start", data=form, content_type="multipart/form-data").get_json()
    assert (message, folder) == (f"the settings have more than {MAX_VALUES} values", "")


class Request:
    def __init__(self, path: str, size: int = 0) -> None:
        self.command, self.path = "GET", path
        self.body_bytes_received = size
        self.streamed_bytes = 0


@pytest.mark.parametrize(
    ("path", "size", "expected"),
    [
        ("/joblist/0/100", 0, SHORT),
        ("/joblist/0/999", 0, SHORT),
        ("/healthz", 0, SHORT),
        ("/cancel/ada/1", 0, SHORT),
        ("/getfile/ada/search", 0, SHORT),
        ("/start", 1000, SHORT),
        ("/joblist/0/-1", 0, LONG),
        ("/joblist/0/5000", 0, LONG),
        ("//apps", 0, LONG),
        ("/search", 500, LONG),
        ("/storage", 0, LONG),
        ("/start", LARGE_BYTES + 1, LARGE),
        ("/search", LARGE_BYTES + 1, LARGE),
    ],
)
def test_long_answers_have_threads_of_their_own(path: str, size: int, expected: int) -> None:
    assert pool(Request(path, size)) == expected


@contextlib.contextmanager
def filled(size: Installation) -> Iterator[door.Besieged]:
    with tempfile.TemporaryDirectory() as folder, door.besieged(Path(folder), size) as made:
        yield made


def asked_all(made: door.Besieged, longest_s: float) -> None:
    for one in worst_requests(made.shown):
        answer, took_s = made.sent(one.request)
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 404")), one.name
        assert took_s < longest_s, one.name


@pytest.mark.system
def test_the_worst_requests_are_answered_and_leave_no_memory_taken() -> None:
    with filled(Installation(jobs=500, results=3000, shared=3000)) as made:
        asked_all(made, 20)
        made.all_at_once(2)
        assert made.peak_mb() <= FULL_MB
        assert made.sent(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")[0].startswith(b"HTTP/1.1 200")


@pytest.mark.long
@pytest.mark.system
def test_the_same_at_full_size() -> None:
    with filled(Installation()) as made:
        asked_all(made, 60)
        made.all_at_once(3)
        assert made.peak_mb() <= FULL_MB


@pytest.mark.system
def test_a_siege_leaves_memory_flat_and_polls_quick() -> None:
    with filled(Installation(jobs=100, results=0, shared=0)) as made:
        seen = door.siege_of(made, malformed=1000, idle=300, slow=100)
        assert seen.failures == []
        assert seen.health_s <= 5  # of a computer that runs other tests, too; `make bench` measures it alone
        assert seen.grown_mb < 30


@pytest.mark.long
@pytest.mark.system
def test_a_siege_of_the_full_size() -> None:
    with filled(Installation(jobs=1000, results=0, shared=0)) as made:
        seen = door.siege_of(made, malformed=5000, idle=2000, slow=500)
        assert seen.failures == []
        assert seen.health_s <= 1
        assert seen.poll_p99_s <= 0.2
        assert seen.grown_mb < 30


@pytest.mark.system
def test_a_controller_that_may_open_too_few_files_says_so_in_one_line() -> None:
    with tempfile.TemporaryDirectory() as folder:
        said, code = door.started_with_files(Path(folder), 64)
    assert code == 1
    assert len(said.splitlines()) == 1
    assert "only 64 files may be open" in said
