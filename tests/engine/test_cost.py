"""What a turn of the loop and a job's life cost the database: the same, however many jobs have ended before."""

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from server.app import Controller
from server.db.models import Event, Job, Row, Worker
from server.db.transitions import Change, create, record_event
from server.engine.records.manifests import Manifests
from server.engine.situation import Situations
from server.policy.why_waiting import Cause
from server.states import JobState, WorkerState
from server.workers.address import Address
from server.workers.fleet import Fleet
from tests.conftest import eventually, submission

ENDED = 2000
QUIET_S = 0.3
RESULT = '{"attempt": 1, "exit_code": 0, "stage": "done", "end_tag_seen": true}'
# A partial index holds the unfinished alone: reading all of it is reading nothing that has ended.
PARTIAL = ("job_unfinished", "worker_living")
SMALL = (
    "SCAN sqlite_sequence",
    "SCAN switch",
    "SCAN unwritten",
)  # a few rows, however many jobs have ended; sqlite_sequence: one for each table
READ_OR_WRITE = ("SELECT", "INSERT", "UPDATE", "DELETE")
Statement = tuple[str, Any]


class Heard(logging.Handler):
    """Every statement that peewee has executed, in any thread."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.statements: list[Statement] = []

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.msg, tuple) and record.msg[0].startswith(READ_OR_WRITE):
            self.statements.append(record.msg)


@contextmanager
def heard() -> Iterator[list[Statement]]:
    """The statements of the block, and of what it began on other threads."""
    logger, handler = logging.getLogger("peewee"), Heard()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield handler.statements
    finally:
        settle(handler.statements)
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def settle(statements: list[Statement]) -> None:
    """Wait until nothing more comes: the loop does not run by itself here, so its steps are then over."""
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < QUIET_S:
        if len(statements) != seen:
            seen, since = len(statements), time.monotonic()
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def folders_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """How often manifests are written while jobs go on depends on who is quicker."""
    monkeypatch.setattr(Manifests, "is_behind", lambda self: False)


@pytest.fixture(autouse=True)
def machines_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines that are there and gone at once: Terraform asks the database nothing."""

    def launch(self: Fleet, *arguments: object, on_machine: Callable[[Address], None], **others: object) -> None:
        on_machine(Address("localhost", 0, boot="local"))

    monkeypatch.setattr(Fleet, "launch", launch)
    monkeypatch.setattr(Fleet, "remove", lambda self, *arguments, **others: None)


def archive_of(ended: int) -> None:
    """A database after some years: jobs that are over, their machines that are gone, and all that happened to them."""
    with Job._meta.database.atomic():
        insert_all(Job, [a_row(number) for number in range(ended)])
        numbers = [row.id for row in Job.select(Job.id)]
        gone = {
            "flavor": "m1.4xlarge",
            "weight": 1,
            "state": WorkerState.DELETED,
            "state_since": 2.0,
            "created": 1.0,
            "ended": 2.0,
        }
        insert_all(Worker, [{"name": f"job-{number}", "job_id": number, **gone} for number in numbers])
        happened = {"at": 1.0, "subject": "job", "who": "controller", "old": "queued"}
        insert_all(Event, [{**happened, "subject_id": number, "new": new} for number in numbers for new in ("running", "done")])
        Job._meta.database.execute_sql("DELETE FROM unwritten")  # their folders know it all


def insert_all(table: type[Row], rows: list[dict[str, Any]]) -> None:
    for start in range(0, len(rows), 500):
        table.insert_many(rows[start : start + 500]).execute()


def a_row(number: int) -> dict[str, Any]:
    state = (JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.ARCHIVED)[number % 4]
    return {
        "owner": "ada",
        "app": "probe_1.0",
        "flavor": "m1.4xlarge",
        "weight": 1,
        "settings": "{}",
        "folder": f"Job_ended_{number}",
        "state": state,
        "outcome": state,
        "state_since": 2.0,
        "created": 1.0,
        "ended": 2.0,
    }


def first_turn(controller: Controller) -> None:
    """The first turn begins what is done once a day and once a minute, too."""
    with heard():
        controller.loop.turn()
        eventually(controller.loop._background.is_idle)


def one_of_each(controller: Controller) -> None:
    """An unfinished job in every state in which the loop looks at it."""
    for state in (JobState.UPLOADING, JobState.QUEUED, JobState.RUNNING):
        job = controller.jobs.submit(*submission())
        if state is JobState.RUNNING:
            worker = {"name": f"job-{job.id}", "job_id": job.id, "flavor": job.flavor, "weight": 1, "state": WorkerState.BUSY}
            create(Worker, Change(time.time()), **worker)
            Path(controller.settings.home, "local", f"job-{job.id}").mkdir()
        later = {"not_before": time.time() + 3600} if state is JobState.QUEUED else {"attempt": 1}
        Job.update(state=state, **later).where(Job.id == job.id).execute()


def turn(controller: Controller) -> list[Statement]:
    """What one turn asks while jobs are in all states and nothing happens to them."""
    one_of_each(controller)
    first_turn(controller)
    with heard() as statements:
        controller.loop.turn()
    return statements


def life(controller: Controller) -> list[Statement]:
    """What a job's whole life asks, from its submission to its machine's end."""
    first_turn(controller)
    with heard() as statements:
        job = controller.jobs.submit(*submission())
        folder = controller.storage.folder(job.folder)
        folder.mark_arrived()
        go_on(controller, statements)
        assert look(controller, "SELECT state FROM job WHERE id = ?", job.id) == "running"
        Path(folder.path, ".cumulus.result").write_text(RESULT)
        go_on(controller, statements)
        go_on(controller, statements)
    assert look(controller, "SELECT state FROM job WHERE id = ?", job.id) == "done"
    assert look(controller, "SELECT state FROM worker WHERE job_id = ?", job.id) == "deleted"
    return statements


def go_on(controller: Controller, statements: list[Statement]) -> None:
    controller.loop.turn()
    settle(statements)


def look(controller: Controller, sql: str, number: int) -> str:
    """One value of one row, by a connection that is not heard."""
    connection = sqlite3.connect(controller.settings.database)
    try:
        return str(connection.execute(sql, (number,)).fetchone()[0])
    finally:
        connection.close()


def kept_up(controller: Controller) -> list[Statement]:
    """What it asks to write what has happened to a job."""
    manifests = Manifests(controller.storage)
    job = controller.jobs.submit(*submission())
    manifests.keep_up()
    with heard() as statements:
        record_event(Job, job.id, Change(1.0, text="something"))
        manifests.keep_up()
    return statements


@pytest.mark.parametrize("act", [turn, life, kept_up])
def test_a_turn_and_a_life_take_as_many_statements_among_many_ended_jobs_as_among_none(
    controller: Controller, act: Callable[[Controller], list[Statement]]
) -> None:
    few = Counter(sql for sql, _ in act(controller))
    Worker.delete().execute()
    Job.delete().execute()
    archive_of(ENDED)
    assert Counter(sql for sql, _ in act(controller)) == few
    assert few.total() > 3


@pytest.mark.parametrize("act", [turn, life, kept_up])
def test_no_statement_of_the_loop_reads_what_has_ended(
    controller: Controller, act: Callable[[Controller], list[Statement]]
) -> None:
    archive_of(ENDED)
    scans = {
        (step, sql)
        for sql, parameters in act(controller)
        if not sql.startswith("INSERT")
        for step in plan(controller, sql, parameters)
        if step.startswith("SCAN") and not step.endswith(PARTIAL) and not step.startswith(SMALL)
    }
    assert scans == set()


def test_a_long_queue_takes_as_many_statements_as_a_short_one(controller: Controller) -> None:
    first_turn(controller)
    assert begun_of(controller, 300) == begun_of(controller, 10)


def test_why_a_job_waits_takes_as_many_statements_in_a_long_queue_as_in_a_short_one(controller: Controller) -> None:
    few = explained(controller, 10)
    assert explained(controller, 300) == few
    assert few.total() > 3


def test_why_others_wait_takes_none_while_no_row_changes(controller: Controller) -> None:
    fill_queue(20)
    situations = Situations(controller.settings, controller.storage, controller.flavors.max_weight, version=lambda: 1)
    jobs = list(Job.select())
    situations.why(jobs[-1])
    with heard() as statements:
        found = [situations.why(job) for job in jobs]
    assert statements == []
    assert [one.cause for one in found if one] == [Cause.NEXT] * 4 + [Cause.WEIGHT_LIMIT] * 16


def explained(controller: Controller, waiting: int) -> Counter[str]:
    """What is asked for the log of the last of so many waiting jobs."""
    fill_queue(waiting)
    situations = Situations(controller.settings, controller.storage, controller.flavors.max_weight)
    last = Job.select().order_by(Job.id.desc()).get()
    with heard() as statements:
        situations.why(last)
    return Counter(sql for sql, _ in statements)


def fill_queue(waiting: int) -> None:
    Worker.delete().execute()
    Job.delete().execute()
    queued = {"state": JobState.QUEUED, "outcome": "", "state_since": time.time(), "created": time.time(), "ended": None}
    insert_all(Job, [a_row(number) | queued for number in range(waiting)])


def begun_of(controller: Controller, waiting: int) -> Counter[str]:
    """What the loop asks when so many wait and the first four of them may begin."""
    fill_queue(waiting)
    with heard() as statements:
        controller.loop.turn()
    return Counter(sql for sql, _ in statements)


def plan(controller: Controller, sql: str, parameters: Any) -> list[str]:
    """How SQLite would read for a statement, a line for each table."""
    return [row[3] for row in controller.database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()]
