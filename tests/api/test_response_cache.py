"""Answers are given again as long as nothing changed, and never after it did, whoever changed it."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from server.api.desktop import job_lists
from server.api.response_cache import ENTRY_BYTES, Reused
from server.api.responses import CHUNK, array
from server.app import Controller
from server.application import create_app
from server.db.change_counter import ChangeCounter
from server.db.models import Job
from server.db.transactions import exclusive
from server.services.jobs import listings
from server.settings import CHECKOUT
from tests.conftest import submission

CHANGE = """
import sys
from pathlib import Path
from server.db.models import Job
from server.db.connection import open_database
open_database(Path(sys.argv[1]))
Job.update(description=sys.argv[3]).where(Job.id == int(sys.argv[2])).execute()
"""


@pytest.fixture
def client(controller: Controller) -> FlaskClient:
    return create_app(controller).test_client()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The searches that were really made."""
    queries: list[object] = []
    real = listings.find
    monkeypatch.setattr(listings, "find", lambda query: queries.append(query) or real(query))  # type: ignore[func-returns-value]
    return queries


def change_elsewhere(controller: Controller, job: Job, description: str) -> None:
    """Another process changes a job and is gone when this returns."""
    arguments = [str(controller.settings.database), str(job.id), description]
    subprocess.run([sys.executable, "-c", CHANGE, *arguments], check=True, cwd=CHECKOUT)


def shown(client: FlaskClient, job: Job) -> dict[str, Any]:
    rows = client.get(f"/joblist/{job.id}/100").get_json()
    return next(row for row in rows if row["id"] == job.id)


def search(client: FlaskClient, **form: str) -> list[int]:
    form = {"current_job_id": "0", "number": "100", **form}
    return [row["id"] for row in client.post("/search", data=form).get_json()]


def test_an_answer_is_made_once_while_nothing_changes(client: FlaskClient, controller: Controller, made: list[object]) -> None:
    job = controller.jobs.submit(*submission())
    assert client.get(f"/joblist/{job.id}/100").data == client.get(f"/joblist/{job.id}/100").data
    assert len(made) == 1
    assert search(client, owner="ada") == search(client, owner="ada") == [job.id]
    assert len(made) == 2
    assert search(client, owner="bob") == []
    assert len(made) == 3


def test_a_change_by_another_process_is_seen_at_once(client: FlaskClient, controller: Controller) -> None:
    job = controller.jobs.submit(*submission(description="at first"))
    for description in ("then", "at last"):
        shown(client, job)
        search(client, description="at last")
        change_elsewhere(controller, job, description)
        assert shown(client, job)["description"] == description
        assert search(client, description="at last") == ([job.id] if description == "at last" else [])


def test_a_change_by_this_process_is_seen_at_once_on_any_thread(client: FlaskClient, controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    for number in range(20):
        thread = threading.Thread(target=lambda text=f"number {number}": _describe(controller, job, text))
        thread.start()
        thread.join()
        assert shown(client, job)["description"] == f"number {number}"


def _describe(controller: Controller, job: Job, text: str) -> None:
    Job.update(description=text).where(Job.id == job.id).execute()
    controller.database.close()


def test_a_change_that_is_taken_back_or_not_yet_committed_is_not_shown(client: FlaskClient, controller: Controller) -> None:
    job = controller.jobs.submit(*submission(description="before"))
    assert shown(client, job)["description"] == "before"
    with exclusive(controller.database) as transaction:
        Job.update(description="after").where(Job.id == job.id).execute()
        seen: list[str] = []
        thread = threading.Thread(target=lambda: seen.append(shown(client, job)["description"]))
        thread.start()
        thread.join()
        transaction.rollback()
    assert seen == ["before"]
    assert shown(client, job)["description"] == "before"


def test_the_files_of_the_job_shown_count_too(client: FlaskClient, controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    folder = controller.jobs.folder(job)
    assert shown(client, job)["files"] == []
    with folder.log.path.open("a") as log:
        log.write("one\n")
    assert shown(client, job)["log"].endswith("\none\n")
    with folder.log.path.open("a") as log:
        log.write("two\n")
    assert shown(client, job)["log"].endswith("\none\ntwo\n")
    (folder.output / "a.txt").write_text("x")
    assert shown(client, job)["files"] == [["a.txt", 1]]
    (folder.output / "a.txt").write_text("xyz")
    assert shown(client, job)["files"] == [["a.txt", 3]]
    (folder.output / "a.txt").unlink()
    assert shown(client, job)["files"] == []


def test_a_job_asked_for_before_it_exists_is_shown_once_it_does(client: FlaskClient, controller: Controller) -> None:
    assert client.get("/joblist/1/100").get_json() == []
    job = controller.jobs.submit(*submission())
    assert job.id == 1
    controller.jobs.folder(job).log.path.write_text("one\n")
    assert shown(client, job)["log"].endswith("\none\n")


def test_apps_follow_the_jobs_that_name_one(client: FlaskClient, controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    assert "gone_1" not in client.get("/apps").get_json()
    Job.update(app="gone_1").where(Job.id == job.id).execute()
    assert "gone_1" in client.get("/apps").get_json()


def test_commits_are_told_from_questions(controller: Controller) -> None:
    commits = ChangeCounter(controller.settings.database)
    before = commits.number()
    list(Job.select())
    assert commits.number() == before
    job = controller.jobs.submit(*submission())
    after = commits.number()
    assert after != before
    change_elsewhere(controller, job, "x")
    assert commits.number() != after


def answer_of(size: int) -> Callable[[], list[bytes]]:
    return lambda: [b"x" * size]


def test_memory_is_bounded_and_the_latest_answers_are_kept() -> None:
    reused = Reused(max_bytes=10 * ENTRY_BYTES)
    for key in range(50):
        reused.get(key, lambda: 0, answer_of(2 * ENTRY_BYTES))
    made: list[int] = []
    for key in (49, 48, 47, 46):
        reused.get(key, lambda: 0, lambda key=key: made.append(key) or [b""])  # type: ignore[func-returns-value,misc]
    assert made == [46]
    large = reused.get("large", lambda: 0, answer_of(100 * ENTRY_BYTES))
    assert len(large[0]) == 100 * ENTRY_BYTES
    assert reused.get("large", lambda: 0, answer_of(1)) == [b"x"]


def test_an_answer_that_failed_is_made_again() -> None:
    reused = Reused()
    with pytest.raises(ZeroDivisionError):
        reused.get("a", lambda: 0, lambda: [bytes(1 // 0)])
    assert reused.get("a", lambda: 0, lambda: [b"x"]) == [b"x"]


def test_what_changes_while_an_answer_is_made_counts_for_the_next_one() -> None:
    reused, state = Reused(), ["old"]

    def make() -> list[bytes]:
        text = state[0].encode()
        state[0] = "new"
        return [text]

    assert reused.get("a", lambda: state[0], make) == [b"old"]
    assert reused.get("a", lambda: state[0], make) == [b"new"]


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_a_list_in_parts_is_the_same_list(count: int) -> None:
    values = [{"n": number, "text": "é <"} for number in range(count)]
    parts = list(array(iter(values)))
    assert b"".join(parts).decode("ascii") == json.dumps(values) + "\n"
    assert len(parts) == 1 + -(-count // CHUNK)


def test_a_list_of_all_is_sent_while_it_is_made_and_not_kept(
    client: FlaskClient, controller: Controller, made: list[object]
) -> None:
    job = controller.jobs.submit(*submission())
    answers = [client.get(f"/joblist/{job.id}/-1") for _ in range(2)]
    assert [[row["id"] for row in answer.get_json()] for answer in answers] == [[job.id], [job.id]]
    assert [answer.content_length for answer in answers] == [None, None]
    assert len(made) == 2


def test_a_search_for_all_that_cannot_be_made_still_answers_a_list(
    client: FlaskClient, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller.jobs.submit(*submission())
    monkeypatch.setattr(job_lists, "wire_status", lambda job: 1 // 0)
    assert search(client, number="-1") == []
