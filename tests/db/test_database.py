"""Writers of one process take turns, and texts of statements are made once."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peewee import DoesNotExist, OperationalError, SqliteDatabase

from server.db.cached_sql import add, change_row, rows, tuples
from server.db.connection import open_database
from server.db.dialects.sqlite_database import Database
from server.db.models import Job, Worker
from server.db.transactions import exclusive
from server.db.transitions import Change, create
from server.states import JobState

WRITERS, TIMES = 4, 50


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Any]:
    """One that SQLite itself would not wait for."""
    made: Any = Database(str(tmp_path / "test.sqlite"), {"journal_mode": "wal", "busy_timeout": 0}, timeout_s=5)
    made.execute_sql("CREATE TABLE number (value INTEGER)")
    made.execute_sql("INSERT INTO number VALUES (0)")
    yield made
    made.close()


def value(database: Any) -> int:
    return int(database.execute_sql("SELECT value FROM number").fetchone()[0])


def test_writers_of_one_process_wait_for_one_another_without_asking_sqlite(database: Any) -> None:
    problems: list[Exception] = []

    def write() -> None:
        try:
            for _ in range(TIMES):
                with exclusive(database):
                    before = value(database)
                    time.sleep(0.0005)
                    database.execute_sql("UPDATE number SET value = ?", (before + 1,))
        except OperationalError as problem:
            problems.append(problem)
        finally:
            database.close()

    threads = [threading.Thread(target=write) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert value(database) == WRITERS * TIMES


def test_who_fails_passes_the_turn_on(database: Any) -> None:
    def fail() -> None:
        with exclusive(database), exclusive(database):
            database.execute_sql("UPDATE number SET value = 7")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with exclusive(database):
        assert value(database) == 0


def test_another_process_that_writes_is_told_and_the_turn_passed_on(database: Any, tmp_path: Path) -> None:
    other = Database(str(tmp_path / "test.sqlite"), {"busy_timeout": 0}, timeout_s=5)
    with other.atomic("IMMEDIATE"), pytest.raises(OperationalError, match="locked"), exclusive(database):
        pass
    with exclusive(database):
        database.execute_sql("UPDATE number SET value = 1")
    other.close()


def test_a_writer_that_never_ends_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "test.sqlite"), {"journal_mode": "wal"}, timeout_s=0.2)
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive(database):
            held.set()
            over.wait(10)
        database.close()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    with pytest.raises(OperationalError, match="locked"), exclusive(database):
        pass
    over.set()
    thread.join()
    database.close()


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[SqliteDatabase]:
    opened = open_database(tmp_path / "cumulus.sqlite")
    yield opened
    opened.close()


def job(owner: str) -> Job:
    fields = {"app": "a", "flavor": "f", "weight": 1, "settings": "{}", "folder": f"Job_{owner}"}
    made: Job = create(Job, Change(1.0), owner=owner, state=JobState.UPLOADING, **fields)
    return made


@pytest.mark.usefixtures("jobs")
def test_a_row_is_the_same_as_peewee_reads_it() -> None:
    number = job("ada").id
    read, asked = Job.get_by_id(number), Job.select().where(Job.id == number).get()
    assert read.__data__ == asked.__data__
    assert read.settings == "{}"
    assert not read.dirty_fields


@pytest.mark.usefixtures("jobs")
def test_a_column_may_be_left_out_and_values_are_bound_as_they_are() -> None:
    name = "x' OR '1'='1"
    job(name)
    job("bob")
    (found,) = rows(Job, "owner = ?", name, without="settings")
    assert (found.owner, "settings" in found.__data__) == (name, False)
    assert list(tuples(Job, ("owner", "weight"), "owner = ?", "bob")) == [("bob", 1)]


@pytest.mark.usefixtures("jobs")
def test_a_row_changes_only_while_it_is_in_its_state() -> None:
    number = job("ada").id
    assert not change_row(Job, number, JobState.QUEUED, {"state": JobState.PROVISIONING})
    assert change_row(Job, number, JobState.UPLOADING, {"state": JobState.QUEUED, "message": "?"})
    assert Job.get_by_id(number).message == "?"


@pytest.mark.usefixtures("jobs")
def test_what_is_no_column_is_no_sql() -> None:
    with pytest.raises(KeyError):
        change_row(Job, 1, JobState.QUEUED, {"state = 'done' --": 1})
    with pytest.raises(DoesNotExist):
        Job.get_by_id(4711)


@pytest.mark.usefixtures("jobs")
def test_a_new_row_has_its_number_and_its_defaults() -> None:
    worker = Worker(name="job-1", flavor="f", weight=1, state="requested", state_since=1.0, created=1.0)
    add(worker)
    assert Worker.get_by_id(worker.id).attempt == 1
