"""Batches with a real controller: all jobs or none, and what becomes of them as one."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cumulus_client.batches import BatchesQuery, BatchQuery, NewBatch
from server.app import Controller
from server.db.models import Batch, Event, Job
from server.db.transitions import Change, transition
from server.engine.duties.retention import Retention
from server.engine.records import batch_store
from server.engine.records.manifests import Manifests
from server.errors import CumulusError, InvalidInput, NotFound
from server.reasons import Reason
from server.services.batches.faults import FaultyBatch
from server.services.batches.lookup import BatchLookup
from server.services.batches.service import Conflict
from server.services.principal import Established, Forbidden, Principal, Role
from server.states import JobState
from tests.conftest import eventually, state_of, submission, turning
from tests.services.batches.asking import ADA, EVE, asked, store, submitted

ROOT = Principal.local_admin("root")
TEAM_MATE = Principal("max", frozenset({Role.USER}), Established.LOCAL_USER, team=frozenset({"ada"}))
MANAGER = Principal("mia", frozenset({Role.USER}), Established.LOCAL_USER, managed=frozenset({"ada"}))
LOOKUP = BatchLookup()


def put(job_id: int, state: JobState) -> None:
    """The job as if it had come to that state."""
    Job.update(state=state, outcome=state if state.is_final else "", ended=2e9 if state.is_final else None).where(
        Job.id == job_id
    ).execute()


def folders(controller: Controller) -> list[str]:
    return sorted(path.name for path in controller.storage.jobs.iterdir())


def nothing_is_left(controller: Controller) -> bool:
    rows = Job.select().count() + Batch.select().count() + Event.select().count()
    return not rows and not folders(controller) and not controller.storage.ledger.submitting()


def test_a_batch_is_a_row_with_its_jobs_and_their_folders(controller: Controller) -> None:
    made = submitted(controller, 3, name="Plasma", description="first", form={"text": "hi"})
    jobs = list(Job.select().order_by(Job.id))
    assert [(job.batch_id, job.batch_position, job.batch_label) for job in jobs] == [
        (made.batch, 1, "s1.dat"),
        (made.batch, 2, "s2.dat"),
        (made.batch, 3, "s3.dat"),
    ]
    assert {(job.owner, job.description, job.state) for job in jobs} == {("ada", "first", "uploading")}
    assert folders(controller) == sorted(job.folder for job in jobs)
    assert all(controller.storage.folder(job.folder).has_arrived() for job in jobs)
    assert [event.subject_id for event in Event.select().where(Event.new == "uploading")] == [job.id for job in jobs]
    assert controller.storage.ledger.submitting() == []
    row = Batch.get_by_id(made.batch)
    assert (row.owner, row.app, row.name, row.size) == ("ada", "probe_1.0", "Plasma", 3)


def test_the_jobs_of_a_batch_run_and_are_counted(controller: Controller) -> None:
    sheet = "inputs,outcome\ns1.dat,ok\ns2.dat,fail\ns3.dat,ok\n"
    store(controller, "s1.dat", "s2.dat", "s3.dat")
    made = controller.batches.submit(ADA, asked(sheet=sheet))
    with turning(controller):
        eventually(lambda: LOOKUP.details(ADA, BatchQuery(batch=made.batch)).is_over)
    found = LOOKUP.details(ADA, BatchQuery(batch=made.batch))
    assert found.states == {"done": 2, "failed": 1}
    assert [(one.label, one.state) for one in found.jobs] == [("s2.dat", "failed"), ("s1.dat", "done"), ("s3.dat", "done")]
    assert found.jobs[0].blame
    assert found.jobs[0].files == ["s2.dat"]


def test_a_job_waits_for_the_files_that_are_sent_and_for_no_others(controller: Controller) -> None:
    store(controller, "s1.dat")
    made = controller.batches.submit(ADA, asked(files=["s1.dat", "s2.dat"], sends=["s2.dat"]))
    assert [job.waits_for for job in made.jobs] == [[], ["s2.dat"]]
    assert [controller.storage.folder(job.folder).has_arrived() for job in made.jobs] == [True, False]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"files": ["s1.dat", "gone.dat"]}, "file 2, column 'inputs': 'gone.dat' is not in the storage"),
        ({"sheet": "inputs\ns1.dat\ngone.dat\n"}, "row 3, column 'inputs': 'gone.dat' is not in the storage"),
        ({"sheet": "inputs,seconds\ns1.dat,1\ns1.dat,soon\n"}, "row 3, column 'seconds': Seconds to wait"),
        ({"sheet": "inputs,Seconds to wait\ns1.dat,-1\ns1.dat,9999\n"}, "row 2, column 'Seconds to wait': "),
        ({"sheet": "inputs,outcome\ns1.dat,ok\ns1.dat,maybe\n"}, "row 3, column 'outcome': How to end is 'maybe'"),
        ({"sheet": "inputs,flavor\ns1.dat,m1.heavy\n"}, "row 2: the machine size m1.heavy weighs 9"),
        ({"sheet": "inputs,flavor\ns1.dat,m1.none\n"}, "row 2: there is no machine size 'm1.none'"),
    ],
)
def test_one_wrong_row_and_there_is_no_job(controller: Controller, given: dict[str, Any], message: str) -> None:
    store(controller, "s1.dat")
    with pytest.raises(FaultyBatch) as refused:
        controller.batches.submit(ADA, asked(**given))
    assert message in refused.value.message
    assert nothing_is_left(controller)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"app": "none_1"}, "app"),
        ({"app": ""}, "app"),
        ({"flavor": "m1.none"}, "flavor"),
        ({"form": {"nothing": 1}}, None),
        ({"preset": "none"}, "name"),
        ({"name": "<b>"}, "name"),
        ({"owner": "eve"}, "owner"),
        ({"each": "text"}, "each"),
        ({"sends": ["s1.dat", "other.dat"]}, "sends"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_stored(controller: Controller, given: dict[str, Any], field: str | None) -> None:
    store(controller, "s1.dat")
    with pytest.raises(CumulusError) as refused:
        controller.batches.submit(ADA, asked(**{"files": ["s1.dat"], **given}))
    assert refused.value.field == (field or "files")
    assert nothing_is_left(controller)


def test_where_a_folder_cannot_be_made_nothing_is_left(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    write = batch_store.write_record

    def fails(*given: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        write(*given)

    monkeypatch.setattr(batch_store, "write_record", fails)
    with pytest.raises(CumulusError, match="the storage is full"):
        submitted(controller, 4)
    assert len(calls) == 3
    assert nothing_is_left(controller)


def test_where_rows_cannot_be_stored_nothing_is_left(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def fails(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise InvalidInput("broken")

    monkeypatch.setattr(batch_store, "_add_row", fails)
    with pytest.raises(InvalidInput):
        submitted(controller, 4)
    assert nothing_is_left(controller)


def test_what_a_kill_leaves_of_a_batch_is_removed_at_the_next_start(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """As if the process had ended: nothing is cleaned up."""

    def killed(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(batch_store, "_add_row", killed)
    leave = type(controller.batches._store._store).leave_nothing
    monkeypatch.setattr(type(controller.batches._store._store), "leave_nothing", lambda *_: None)
    with pytest.raises(Killed):
        submitted(controller, 3)
    assert len(folders(controller)) == 3
    monkeypatch.undo()
    assert leave is type(controller.batches._store._store).leave_nothing
    controller.jobs.finish_interrupted()
    assert nothing_is_left(controller)
    assert controller.jobs.submit(*submission()).id == 4


def test_the_same_request_with_the_same_key_is_the_same_batch(controller: Controller) -> None:
    first = submitted(controller, 2, key="monday")
    again = submitted(controller, 2, key="monday")
    assert (first.is_new, again.is_new) == (True, False)
    assert again.model_copy(update={"is_new": True}) == first
    with pytest.raises(Conflict) as refused:
        submitted(controller, 3, key="monday")
    assert refused.value.field == "key"
    assert submitted(controller, 2, key="tuesday").batch != first.batch
    assert Job.select().count() == 4


def test_keys_are_each_owners_own(controller: Controller) -> None:
    submitted(controller, 1, key="monday")
    assert controller.batches.submit(EVE, asked(files=["s1.dat"], key="monday")).is_new


def test_requests_with_one_key_at_once_make_one_batch(controller: Controller) -> None:
    store(controller, *(f"s{number}.dat" for number in range(20)))
    request = asked(files=[f"s{number}.dat" for number in range(20)], key="monday")
    ready, made, refused = threading.Barrier(6), [], []

    def ask() -> None:
        ready.wait(20)
        try:
            made.append(controller.batches.submit(ADA, request).batch)
        except Conflict:
            refused.append(1)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) + len(refused) == 6
    assert len(set(made)) == 1
    assert (Batch.select().count(), Job.select().count()) == (1, 20)


def test_jobs_that_are_submitted_beside_a_batch_have_numbers_of_their_own(controller: Controller) -> None:
    store(controller, *(f"s{number}.dat" for number in range(30)))
    others: list[int] = []

    def ask() -> None:
        others.extend(controller.jobs.submit(*submission()).id for _ in range(15))

    thread = threading.Thread(target=ask)
    thread.start()
    made = controller.batches.submit(ADA, asked(files=[f"s{number}.dat" for number in range(30)]))
    thread.join(60)
    numbers = [job.job for job in made.jobs]
    assert len({*numbers, *others}) == 45 == Job.select().count()
    assert numbers == list(range(numbers[0], numbers[0] + 30))


def test_only_what_has_not_ended_is_cancelled(controller: Controller) -> None:
    made = submitted(controller, 3)
    put(made.jobs[0].job, JobState.DONE)
    put(made.jobs[1].job, JobState.RUNNING)
    assert controller.batches.cancel(ADA, made.batch) == f"2 jobs of batch {made.batch} are cancelled"
    assert [state_of(job.job) for job in made.jobs] == ["done", "cancelled", "cancelled"]
    assert Job.get_by_id(made.jobs[1].job).reason == Reason.CANCELLED
    stopped = [controller.storage.folder(job.folder).instructions.has_stop_request() for job in made.jobs]
    assert stopped == [False, True, True]
    with pytest.raises(Conflict, match="had already ended"):
        controller.batches.cancel(ADA, made.batch)


def test_a_batch_that_is_cancelled_while_its_jobs_start_ends_whole(controller: Controller) -> None:
    made = submitted(controller, 8, form={"outcome": "hang"})
    with turning(controller):
        eventually(lambda: Job.select().where(Job.state == JobState.RUNNING).exists())
        controller.batches.cancel(ADA, made.batch)
        assert {state_of(job.job) for job in made.jobs} == {JobState.CANCELLED}
        eventually(lambda: not _machines(controller))
    assert {state_of(job.job) for job in made.jobs} == {JobState.CANCELLED}


def _machines(controller: Controller) -> list[Any]:
    return [one for one in controller.cloud.resources() if one.worker]


def test_only_failed_jobs_are_retried_with_the_files_that_they_had(controller: Controller) -> None:
    made = submitted(controller, 3)
    one, two, three = (job.job for job in made.jobs)
    put(one, JobState.FAILED)
    put(two, JobState.DONE)
    put(three, JobState.CANCELLED)
    own = controller.storage.folder(made.jobs[0].folder).input / "s1.dat"
    own.write_text("as it was sent")
    again = controller.batches.retry(ADA, made.batch)
    assert [(job.position, job.label) for job in again.jobs] == [(1, "s1.dat")]
    new = Job.get_by_id(again.jobs[0].job)
    assert (new.batch_id, new.owner, new.settings) == (made.batch, "ada", Job.get_by_id(one).settings)
    folder = controller.storage.folder(new.folder)
    assert (folder.input / "s1.dat").read_text() == "as it was sent"
    assert folder.has_arrived()
    assert Job.get_by_id(one).replaced_by == new.id
    found = LOOKUP.details(ADA, BatchQuery(batch=made.batch))
    assert {job.position: (job.state, job.tries) for job in found.jobs} == {
        1: ("uploading", 2),
        2: ("done", 1),
        3: ("cancelled", 1),
    }
    with pytest.raises(Conflict, match="has failed"):
        controller.batches.retry(ADA, made.batch)


def test_a_retried_job_runs_with_the_file_of_its_first_try(controller: Controller) -> None:
    made = submitted(controller, 1, form={"outcome": "fail"})
    with turning(controller):
        eventually(lambda: state_of(made.jobs[0].job) is JobState.FAILED)
        (controller.storage.data / "s1.dat").unlink()
        (controller.storage.data / "s1.dat").write_text("another content")
        again = controller.batches.retry(ADA, made.batch)
        eventually(lambda: state_of(again.jobs[0].job).is_final)
    folder = controller.storage.folder(again.jobs[0].folder)
    assert (folder.input / "s1.dat").read_text() == "s1.dat"
    assert "6" in (folder.output / "result.txt").read_text().split()


def test_a_job_whose_files_are_gone_is_not_retried_and_none_is(controller: Controller) -> None:
    made = submitted(controller, 2)
    for job in made.jobs:
        put(job.job, JobState.FAILED)
    (controller.storage.data / "s2.dat").unlink()
    with pytest.raises(FaultyBatch, match=r"job 2 \(s2.dat\): s2.dat is no longer there"):
        controller.batches.retry(ADA, made.batch)
    assert Job.select().count() == 2


def test_two_who_retry_at_once_make_each_job_once(controller: Controller) -> None:
    made = submitted(controller, 10)
    for job in made.jobs:
        put(job.job, JobState.FAILED)
    ready, done = threading.Barrier(4), []

    def ask() -> None:
        ready.wait(20)
        try:
            done.append(controller.batches.retry(ADA, made.batch))
        except Conflict:
            done.append(None)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 4
    assert len([one for one in done if one]) == 1
    assert Job.select().count() == 20 == len(folders(controller))


def test_a_batch_is_deleted_with_its_jobs_and_what_was_replaced(controller: Controller) -> None:
    made = submitted(controller, 2)
    for job in made.jobs:
        put(job.job, JobState.FAILED)
    again = controller.batches.retry(ADA, made.batch)
    with pytest.raises(Conflict, match="2 jobs of batch 1 cannot be deleted"):
        controller.batches.delete(ADA, made.batch)
    for job in again.jobs:
        put(job.job, JobState.DONE)
    assert controller.batches.delete(ADA, made.batch) == "Batch 1 is deleted, with 4 jobs"
    assert {job.state for job in Job.select()} == {"deleted"}
    with pytest.raises(NotFound):
        LOOKUP.details(ADA, BatchQuery(batch=made.batch))
    assert LOOKUP.newest(ADA, BatchesQuery()).batches == []


def test_a_job_that_is_deleted_alone_leaves_the_batch_and_the_last_one_takes_it_along(controller: Controller) -> None:
    made = submitted(controller, 2)
    for job in made.jobs:
        put(job.job, JobState.DONE)
    controller.jobs.delete(ADA, made.jobs[0].job)
    found = LOOKUP.details(ADA, BatchQuery(batch=made.batch))
    assert (found.size, found.states, [job.position for job in found.jobs]) == (2, {"done": 1}, [2])
    controller.jobs.delete(ADA, made.jobs[1].job)
    with pytest.raises(NotFound):
        LOOKUP.details(ADA, BatchQuery(batch=made.batch))


def test_an_archived_job_counts_as_it_ended(controller: Controller) -> None:
    made = submitted(controller, 2)
    put(made.jobs[0].job, JobState.FAILED)
    transition(Job, made.jobs[0].job, JobState.FAILED, JobState.ARCHIVED, Change(2e9))
    found = LOOKUP.details(ADA, BatchQuery(batch=made.batch, state=["failed"]))
    assert (found.states, found.archived) == ({"failed": 1, "uploading": 1}, 1)
    assert [(one.state, one.is_archived) for one in found.jobs] == [("failed", True)]


def test_retention_archives_the_jobs_of_a_batch_like_any_other(controller: Controller) -> None:
    made = submitted(controller, 1)
    put(made.jobs[0].job, JobState.DONE)
    Job.update(ended=1.0, state_since=1.0, created=1.0).execute()
    retention = Retention(controller.storage, 90)
    retention.remove(retention.plan(2e9).removals, 2e9)
    assert LOOKUP.details(ADA, BatchQuery(batch=made.batch)).archived == 1


Change_ = Callable[[Controller, Principal, int], object]
CHANGES: tuple[Change_, ...] = (
    lambda controller, who, number: controller.batches.cancel(who, number),
    lambda controller, who, number: controller.batches.retry(who, number),
    lambda controller, who, number: controller.batches.delete(who, number),
)


@pytest.mark.parametrize("change", CHANGES)
def test_somebody_else_neither_sees_nor_changes_a_batch(controller: Controller, change: Change_) -> None:
    made = submitted(controller, 2)
    for who, error in ((EVE, NotFound), (TEAM_MATE, Forbidden), (Principal.agent(), Forbidden)):
        with pytest.raises(error):
            change(controller, who, made.batch)
    assert {job.state for job in Job.select()} == {"uploading"}


@pytest.mark.parametrize("who", [ADA, ROOT, MANAGER])
def test_owner_manager_and_administrator_change_it(controller: Controller, who: Principal) -> None:
    made = submitted(controller, 1)
    assert "cancelled" in controller.batches.cancel(who, made.batch)


def test_each_sees_the_own_batches_and_those_of_the_team(controller: Controller) -> None:
    made = submitted(controller, 1)
    controller.batches.submit(EVE, asked(files=["s1.dat"]))
    seen = {who.name: [one.owner for one in LOOKUP.newest(who, BatchesQuery()).batches] for who in (ADA, EVE, TEAM_MATE, ROOT)}
    assert seen == {"ada": ["ada"], "eve": ["eve"], "max": ["ada"], "root": ["eve", "ada"]}
    assert LOOKUP.newest(EVE, BatchesQuery(owner="ada")).batches == []
    assert LOOKUP.details(TEAM_MATE, BatchQuery(batch=made.batch)).owner == "ada"
    with pytest.raises(Forbidden):
        LOOKUP.newest(Principal.agent(), BatchesQuery())


def test_a_manager_submits_for_a_member(controller: Controller) -> None:
    store(controller, "s1.dat")
    made = controller.batches.submit(MANAGER, asked(files=["s1.dat"], owner="ada"))
    assert Job.get_by_id(made.jobs[0].job).owner == "ada"
    assert Event.get(Event.subject_id == made.jobs[0].job).who == "mia"


def test_lists_and_matrices_come_in_pages(controller: Controller) -> None:
    for _ in range(5):
        submitted(controller, 1)
    numbers, cursor = [], ""
    while True:
        page = LOOKUP.newest(ADA, BatchesQuery(limit=2, cursor=cursor))
        numbers += [one.id for one in page.batches]
        if not (cursor := page.next):
            break
    assert numbers == [5, 4, 3, 2, 1]
    large = submitted(controller, 7)
    put(large.jobs[4].job, JobState.FAILED)
    positions, cursor = [], ""
    while True:
        shown = LOOKUP.details(ADA, BatchQuery(batch=large.batch, limit=3, cursor=cursor))
        positions += [one.position for one in shown.jobs]
        if not (cursor := shown.next):
            break
    assert positions == [5, 1, 2, 3, 4, 6, 7]


def test_a_check_says_what_there_would_be_and_stores_nothing(controller: Controller) -> None:
    store(controller, "s1.dat")
    plan = controller.batches.check(ADA, asked(sheet="inputs,label\ns1.dat,one\nfar/s2.dat,two\n"))
    shown = [
        (job.position, job.label, job.place, [(file.name, file.path, file.is_stored) for file in job.files]) for job in plan.jobs
    ]
    assert shown == [
        (1, "one", "row 2", [("s1.dat", "s1.dat", True)]),
        (2, "two", "row 3", [("s2.dat", "far/s2.dat", False)]),
    ]
    assert nothing_is_left(controller)


def test_a_link_in_the_shared_data_is_no_file(controller: Controller, tmp_path: Path) -> None:
    (controller.storage.data / "s1.dat").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FaultyBatch, match="is not in the storage"):
        controller.batches.submit(ADA, asked(files=["s1.dat"]))


def test_the_manifests_follow_the_rows(controller: Controller) -> None:
    made = submitted(controller, 2)
    manifests = Manifests(controller.storage)
    assert manifests.is_behind()
    manifests.keep_up()
    text = (controller.storage.folder(made.jobs[0].folder).path / ".cumulus.job").read_text()
    assert '"batch_label": "s1.dat"' in text
    assert '"new": "uploading"' in text


def test_a_request_is_bounded() -> None:
    with pytest.raises(ValueError, match="at most 10000"):
        NewBatch(app="probe_1.0", files=["a"] * 10_001)
