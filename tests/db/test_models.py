"""Rows, guarded moves and their events."""

import threading
from pathlib import Path

import pytest
from peewee import SqliteDatabase

from server.db.models import (
    Change,
    Event,
    ForbiddenTransition,
    Job,
    Worker,
    create,
    living_workers,
    never_again,
    open_database,
    transition,
    unfinished_jobs,
)
from server.reason_texts import Blame
from server.reasons import Reason
from server.states import JOB_TRANSITIONS, WORKER_TRANSITIONS, JobState, WorkerState


@pytest.fixture
def database(tmp_path: Path) -> SqliteDatabase:
    return open_database(tmp_path / "rows.sqlite")


def a_job(state: JobState = JobState.QUEUED, folder: str = "Job_1") -> Job:
    job: Job = create(
        Job, Change(1.0, who="ada"), owner="ada", app="comet", flavor="m1", weight=1, settings="{}", folder=folder, state=state
    )
    return job


def events() -> list[tuple[str, str, str]]:
    return [(event.old, event.new, event.who) for event in Event.select().order_by(Event.id)]


def test_a_move_changes_the_row_and_records_who_and_why(database: SqliteDatabase) -> None:
    job = a_job()
    assert transition(
        Job, job.id, JobState.QUEUED, JobState.CANCELLED, Change(5.0, who="ada", reason=Reason.CANCELLED), {"ended": 5.0}
    )
    row = Job.get_by_id(job.id)
    assert (row.state, row.state_since, row.ended) == ("cancelled", 5.0, 5.0)
    assert events() == [("", "queued", "ada"), ("queued", "cancelled", "ada")]


def test_a_row_keeps_the_number_that_it_is_given_and_the_next_goes_on_from_there(database: SqliteDatabase) -> None:
    fields = {"owner": "ada", "app": "comet", "flavor": "m1", "weight": 1, "settings": "{}", "state": JobState.QUEUED}
    given = create(Job, Change(1.0), id=7, folder="Job_7", **fields)
    assert (given.id, Job.get().id, Event.get().subject_id) == (7, 7, 7)
    assert a_job(folder="Job_8").id == 8


@pytest.mark.parametrize("begun", [False, True])
def test_a_number_that_was_given_is_never_given_again(database: SqliteDatabase, begun: bool) -> None:
    first = a_job(folder="Job_1").id if begun else 0
    never_again(0)
    never_again(40)
    never_again(3)
    assert a_job(folder="Job_41").id == 41
    assert first in (0, 1)


def test_the_second_of_two_movers_changes_nothing(database: SqliteDatabase) -> None:
    job = a_job()
    assert transition(Job, job.id, JobState.QUEUED, JobState.PROVISIONING, Change(2.0))
    assert not transition(Job, job.id, JobState.QUEUED, JobState.CANCELLED, Change(3.0), {"message": "no"})
    row = Job.get_by_id(job.id)
    assert (row.state, row.message) == ("provisioning", "")
    assert len(events()) == 2


def test_of_many_movers_at_once_exactly_one_wins(database: SqliteDatabase) -> None:
    job = a_job()
    wins: list[bool] = []

    def mover() -> None:
        wins.append(transition(Job, job.id, JobState.QUEUED, JobState.PROVISIONING, Change(2.0)))
        database.close()

    threads = [threading.Thread(target=mover) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == [False] * 7 + [True]
    assert len(events()) == 2


def test_a_move_that_the_table_lacks_is_refused(database: SqliteDatabase) -> None:
    job = a_job(JobState.DONE)
    with pytest.raises(ForbiddenTransition):
        transition(Job, job.id, JobState.DONE, JobState.RUNNING, Change(2.0))


def test_every_state_has_its_moves_and_final_ones_lead_only_to_the_archive_or_away() -> None:
    assert set(JOB_TRANSITIONS) == set(JobState)
    assert set(WORKER_TRANSITIONS) == set(WorkerState)
    for state in JobState:
        if state is JobState.ARCHIVED:  # what is restored from the trash is what it was before
            assert JOB_TRANSITIONS[state] == {JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.DELETED}
        elif state.is_final:
            assert JOB_TRANSITIONS[state] <= {JobState.ARCHIVED, JobState.DELETED}
        else:
            assert {JobState.FAILED, JobState.CANCELLED} <= JOB_TRANSITIONS[state]
    for state in set(WorkerState) - {WorkerState.DELETED, WorkerState.DELETING}:
        assert WorkerState.DELETING in WORKER_TRANSITIONS[state]


def test_what_is_not_the_infrastructure_is_not_worth_another_machine() -> None:
    retried = {reason for reason in Reason if reason.retryable}
    assert {reason for reason in Reason if reason.blame is Blame.INFRASTRUCTURE} <= retried
    others = {reason for reason in retried if reason.blame is not Blame.INFRASTRUCTURE}
    assert {reason for reason in others if not reason.waits} == {Reason.CONTROLLER_DISK_FULL}
    assert {reason.blame for reason in others if reason.waits} == {Blame.ADMIN}, "no user's or app's doing is waited for"
    assert not Reason.APP_FAILED.retryable
    assert not Reason.RESULT_UNREADABLE.retryable


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_sentence_for_the_owner_and_one_for_the_administrator(reason: Reason) -> None:
    assert reason.text.endswith(".")
    assert reason.advice.endswith(".")
    assert Reason.known(reason.value) is reason
    assert reason is Reason.CANCELLED or reason.blame.phrase in reason.explain()


def test_a_word_that_is_no_reason_is_none() -> None:
    assert [Reason.known(word) for word in ("", "terraform", "machine_remains")] == [None, None, None]


def test_the_loop_s_questions_use_their_partial_indexes(database: SqliteDatabase) -> None:
    a_job(JobState.DONE, "done")
    waiting = a_job(JobState.QUEUED, "waiting")
    create(Worker, Change(1.0), name="job-2", job_id=waiting.id, flavor="m1", weight=1, state=WorkerState.BUSY)
    create(Worker, Change(1.0), name="job-1", job_id=None, flavor="m1", weight=1, state=WorkerState.DELETED)
    assert [job.id for job in unfinished_jobs()] == [waiting.id]
    assert [worker.name for worker in living_workers()] == ["job-2"]
    plan = database.execute_sql(
        "EXPLAIN QUERY PLAN SELECT id FROM job"
        " WHERE state NOT IN ('done', 'failed', 'cancelled', 'archived', 'deleted') ORDER BY id"
    ).fetchall()
    assert "job_unfinished" in str(plan)


def test_a_number_is_never_given_twice(database: SqliteDatabase) -> None:
    first = a_job(folder="first")
    first.delete_instance()
    assert a_job(folder="second").id > first.id
