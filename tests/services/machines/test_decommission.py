"""What becomes of a job whose machine an administrator removes."""

import time

import pytest

from server.app import Controller
from server.db.models import Event, Job, Worker
from server.db.queries import queued_jobs
from server.db.transitions import Change, create
from server.engine.completion import Completion
from server.engine.records.manifests import Manifests
from server.reasons import Reason
from server.services.machines.decommission import JobAtWork, Removal, removal_request
from server.states import AT_WORK, JOB_TRANSITIONS, JobState, WorkerState
from tests.conftest import state_of, submission

RESULT = '{"attempt": 1, "exit_code": 0, "stage": "done", "message": ""}'


@pytest.fixture
def removal(controller: Controller) -> Removal:
    return Removal(controller.storage, Completion(controller.settings, Manifests(controller.storage)))


def at_work(controller: Controller, job_state: JobState, worker_state: WorkerState = WorkerState.BUSY) -> tuple[Job, Worker]:
    job = controller.jobs.submit(*submission())
    Job.update(state=job_state, attempt=1).where(Job.id == job.id).execute()
    fields = {"name": f"job-{job.id}", "job_id": job.id, "flavor": job.flavor, "weight": 1, "not_before": 9e9}
    return job, create(Worker, Change(1.0), state=worker_state, **fields)


def request() -> Change:
    return removal_request("root", time.time())


@pytest.mark.parametrize("state", sorted(AT_WORK))
def test_a_machine_with_a_job_at_work_stays_unless_that_is_forced(
    controller: Controller, removal: Removal, state: JobState
) -> None:
    job, worker = at_work(controller, state)
    with pytest.raises(JobAtWork, match=f"job {job.id} is at work on job-{job.id} .{state}.*--force"):
        removal.begin(worker, request(), force=False)
    assert (state_of(job.id), Worker.get_by_id(worker.id).state) == (state, WorkerState.BUSY)


@pytest.mark.parametrize("state", sorted(AT_WORK - {JobState.FINISHING}))
def test_forced_the_job_waits_for_another_machine_and_its_own_goes(
    controller: Controller, removal: Removal, state: JobState
) -> None:
    job, worker = at_work(controller, state)
    found = removal.begin(worker, request(), force=True)
    assert found is not None
    assert (found.id, state_of(job.id)) == (job.id, JobState.QUEUED)
    row = Worker.get_by_id(worker.id)
    assert (row.state, row.not_before) == (WorkerState.DELETING, 0.0)
    assert [one.id for one in queued_jobs() if one.not_before <= time.time()] == [job.id]
    told = Event.select().where(Event.reason == Reason.MACHINE_REMOVED, Event.who == "root")
    assert {(event.subject, event.new) for event in told} >= {("job", "queued"), ("worker", "deleting")}
    assert "An administrator removed the machine" in Job.get_by_id(job.id).message


def test_each_change_is_one_that_the_table_allows(controller: Controller, removal: Removal) -> None:
    _, worker = at_work(controller, JobState.RUNNING)
    removal.begin(worker, request(), force=True)
    changes = [(event.old, event.new) for event in Event.select().where(Event.subject == "job", Event.old != "")]
    assert changes == [("running", "lost"), ("lost", "queued")]
    assert all(JobState(new) in JOB_TRANSITIONS[JobState(old)] for old, new in changes)


def test_it_costs_the_job_none_of_its_attempts(controller: Controller, removal: Removal) -> None:
    job, worker = at_work(controller, JobState.RUNNING)
    for row in (Job, Worker):
        row.update(attempt=controller.settings.max_attempts).execute()
    removal.begin(worker, request(), force=True)
    found = Job.get_by_id(job.id)
    assert (found.state, found.attempt - found.spared) == (JobState.QUEUED, controller.settings.max_attempts - 1)


def test_a_job_that_is_ending_keeps_its_machine_for_the_moment(controller: Controller, removal: Removal) -> None:
    job, worker = at_work(controller, JobState.FINISHING)
    with pytest.raises(JobAtWork, match="finishing: try again"):
        removal.begin(worker, request(), force=True)
    assert (state_of(job.id), Worker.get_by_id(worker.id).state) == (JobState.FINISHING, WorkerState.BUSY)


def test_a_job_whose_result_is_there_needs_its_machine_no_more_and_is_not_run_again(
    controller: Controller, removal: Removal
) -> None:
    job, worker = at_work(controller, JobState.RUNNING)
    (controller.storage.folder(job.folder).path / ".cumulus.result").write_text(RESULT)
    assert removal.begin(worker, request(), force=False) is None
    assert (state_of(job.id), Worker.get_by_id(worker.id).state) == (JobState.RUNNING, WorkerState.DELETING)


@pytest.mark.parametrize("state", [WorkerState.HELD, WorkerState.DELETING])
def test_a_machine_of_a_former_attempt_is_nobody_s(controller: Controller, removal: Removal, state: WorkerState) -> None:
    job, worker = at_work(controller, JobState.QUEUED, state)
    assert removal.begin(worker, request(), force=False) is None
    assert (state_of(job.id), Worker.get_by_id(worker.id).state) == (JobState.QUEUED, WorkerState.DELETING)
    assert Worker.get_by_id(worker.id).not_before == 0.0


@pytest.mark.parametrize("state", [state for state in WorkerState if state not in (WorkerState.DELETED, WorkerState.HELD)])
def test_a_machine_of_the_pool_can_go_wherever_it_is(controller: Controller, removal: Removal, state: WorkerState) -> None:
    worker = create(Worker, Change(1.0), name="pool-1", flavor="m1.4xlarge", weight=1, attempt=0, state=state)
    assert removal.begin(worker, request(), force=False) is None
    assert Worker.get_by_id(worker.id).state == WorkerState.DELETING
