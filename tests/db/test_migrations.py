"""Databases of every released schema, made with plain SQL, become the newest one whole or not at all."""

import hashlib
import multiprocessing
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from peewee import OperationalError

from server.app import make_controller
from server.db import migrations
from server.db.connection import open_database
from server.db.models import Job, Worker
from server.db.search import Query, find
from server.settings import Settings
from server.states import JobState, WorkerState
from server.storage.folders import Storage
from server.workers.clouds.local import LocalCloud
from tests.conftest import eventually, state_of

NEWEST = len(migrations.STEPS)
RELEASED = (
    "59980f514cb6",
    "0169daaac80d",
    "b3c92f2840e2",
    "3c0239e711f4",
    "32d58f932b39",
    "39c7daa28120",
    "3b0e5b134f40",
    "e77978a0df2d",
    "0eb80f2598de",
    "5153a6edb41b",
    "d58330c8b1e0",
    "73c62f4c827e",
    "4039fb0015df",
    "23853c0f1c69",
)
ROW = {
    "owner": "ada",
    "app": "probe_1.0",
    "flavor": "m1.4xlarge",
    "weight": 1,
    "description": "an old remark",
    "settings": '{"text": "hello", "seconds": "0", "outcome": "ok"}',
    "inputs": "old.raw",
    "workflow": "",
    "folder": "Job_1_ada_probe_1.0",
    "state": JobState.QUEUED.value,
    "state_since": 1.7e9,
    "outcome": "",
    "attempt": 0,
    "created": 1.7e9,
    "reason": "",
    "message": "",
    "not_before": 0.0,
}
MACHINE = {
    "name": "job-9",
    "job_id": 1,
    "flavor": "m1.4xlarge",
    "weight": 1,
    "state": WorkerState.DELETED.value,
    "state_since": 1.7e9,
    "address": "127.0.0.1",
    "port": 22,
    "boot": "warm",
    "attempt": 1,
    "failures": 0,
    "created": 1.7e9,
    "message": "",
    "not_before": 0.0,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database lies."""
    return tmp_path / "home" / "cumulus.sqlite"


@pytest.fixture(params=range(1, NEWEST))
def version(request: pytest.FixtureRequest) -> int:
    """Each schema but the newest."""
    return int(request.param)


def make_old(path: Path, version: int) -> None:
    """A database of that schema with a waiting job and a machine that is gone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE migration (number INTEGER PRIMARY KEY, at REAL NOT NULL)")
    for number, statements in enumerate(migrations.STEPS[:version], 1):
        for statement in statements:
            connection.execute(statement)
        connection.execute("INSERT INTO migration VALUES (?, 0)", (number,))
    for table, row in (("job", ROW), ("worker", MACHINE)):
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))
    connection.commit()
    connection.close()


def schema(path: Path) -> set[tuple[str, str]]:
    """Names and texts of all that is in the database."""
    with sqlite3.connect(path) as connection:
        return set(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def versions(path: Path) -> list[int]:
    """The steps that the database has seen."""
    with sqlite3.connect(path) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM migration ORDER BY number")]


def test_each_schema_becomes_the_newest_and_keeps_its_rows(path: Path, version: int, tmp_path: Path) -> None:
    make_old(path, version)
    database = open_database(path)
    job = Job.get_by_id(1)
    assert {name: getattr(job, name) for name in ROW} == ROW
    worker = Worker.get_by_id(1)
    assert {name: getattr(worker, name) for name in MACHINE} == MACHINE
    assert [one.id for one in find(Query(description="OLD REM"))] == [1]
    assert database.execute_sql("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert database.execute_sql("PRAGMA foreign_key_check").fetchall() == []
    database.execute_sql("INSERT INTO job_text (job_text) VALUES ('integrity-check')")
    database.close()
    open_database(tmp_path / "new.sqlite").close()
    assert schema(path) == schema(tmp_path / "new.sqlite")
    assert versions(path) == list(range(1, NEWEST + 1))


def test_a_job_of_each_schema_is_carried_on(settings: Settings, cloud: LocalCloud, version: int) -> None:
    make_old(settings.database, version)
    storage = Storage(settings.storage)
    storage.prepare()
    folder = storage.folder(ROW["folder"])  # type: ignore[arg-type]
    folder.create(str(ROW["settings"]))
    folder.mark_arrived()
    cloud.start()
    controller = make_controller(settings, cloud)
    thread = threading.Thread(target=controller.loop.run, daemon=True)
    thread.start()
    eventually(lambda: state_of(1) is JobState.DONE)
    eventually(lambda: Worker.select().where(Worker.state != WorkerState.DELETED).count() == 0)
    controller.loop.stop(grace_s=15)
    thread.join(15)
    controller.database.close()


def test_a_step_that_fails_leaves_the_schema_before_it(path: Path, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    make_old(path, version)
    broken = (*migrations.STEPS[version], "CREATE TABLE half (made INTEGER)", "INSERT INTO nowhere VALUES (1)")
    before = schema(path)
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "STEPS", (*migrations.STEPS[:version], broken, *migrations.STEPS[version + 1 :]))
        with pytest.raises(OperationalError, match="nowhere"):
            open_database(path)
    assert (schema(path), versions(path)) == (before, list(range(1, version + 1)))
    database = open_database(path)
    assert Job.get_by_id(1).description == ROW["description"]
    database.close()
    assert versions(path) == list(range(1, NEWEST + 1))


def open_at(path: Path, at: float) -> None:
    """What each of several processes does at the same instant."""
    time.sleep(max(0.0, at - time.time()))
    open_database(path).close()


def test_several_processes_at_once_run_each_step_once(path: Path) -> None:
    make_old(path, 1)
    context = multiprocessing.get_context("spawn")
    at = time.time() + 3
    processes = [context.Process(target=open_at, args=(path, at)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert versions(path) == list(range(1, NEWEST + 1))


@pytest.fixture
def opened(path: Path) -> Path:
    """The path of a database of the newest schema."""
    open_database(path).close()
    return path


def test_opening_again_keeps_the_rows_and_runs_no_step_twice(opened: Path) -> None:
    with sqlite3.connect(opened) as connection:
        before = connection.execute("SELECT * FROM migration").fetchall()
    open_database(opened).close()
    with sqlite3.connect(opened) as connection:
        assert connection.execute("SELECT * FROM migration").fetchall() == before


def test_a_database_of_a_later_version_is_refused(opened: Path) -> None:
    with sqlite3.connect(opened) as connection:
        connection.execute("INSERT INTO migration VALUES (999, 0)")
    with pytest.raises(migrations.DatabaseTooNew, match="upgrade Cumulus"):
        open_database(opened)


@pytest.mark.parametrize("number", range(1, NEWEST + 1))
def test_a_released_step_does_not_change(number: int) -> None:
    """Databases that have seen it would not see the change: it belongs into a new step."""
    text = "\0".join(migrations.STEPS[number - 1])
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == RELEASED[number - 1]


def test_jobs_that_their_owners_have_deleted_before_leave_the_lists(path: Path) -> None:
    make_old(path, 8)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE job SET state = 'archived', outcome = 'done'")
        kept = {**ROW, "folder": "Job_2", "state": "archived"}
        connection.execute(f"INSERT INTO job ({', '.join(kept)}) VALUES ({', '.join('?' * len(kept))})", tuple(kept.values()))
        for number, text in ((1, "deleted by its owner"), (2, "it ended 90 days ago")):
            event = (1.0, "job", number, "ada", "done", "archived", "", text)
            connection.execute(
                "INSERT INTO event (at, subject, subject_id, who, old, new, reason, text) VALUES (?,?,?,?,?,?,?,?)", event
            )
    database = open_database(path)
    assert [job.id for job in find(Query())] == [2]
    assert [job.id for job in find(Query(description="old rem"))] == [2]
    gone = Job.get_by_id(1)
    assert (gone.state, gone.outcome, gone.description, gone.settings, gone.inputs) == ("deleted", "done", "", "{}", "old.raw")
    assert database.execute_sql("SELECT job_id FROM unwritten ORDER BY 1").fetchall() == [(1,), (2,)]
    database.close()
