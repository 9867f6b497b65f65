"""A job's life beside its run, as its owner reads it in the log."""

from collections.abc import Callable

import pytest
from click.testing import CliRunner

from server.app import Controller
from server.cli.main import main
from server.db.models import Job, Worker
from server.db.settings_store import drain, write_setting
from server.db.transitions import Change, create, record_event, transition
from server.engine.breaker import NAME
from server.engine.history import FIRST, LAST, last_word, remarks
from server.engine.situation import Situations
from server.policy.why_waiting import Cause
from server.reasons import Reason
from server.services.jobs.submission import Submission
from server.services.principal import Principal
from server.services.queue import QueueService
from server.states import JobState, WorkerState
from server.storage.logs.job_log import Log
from tests.conftest import eventually, state_of, submission, turning

Lines = Callable[[], list[tuple[int, bool, str]]]


@pytest.fixture
def situations(controller: Controller) -> Situations:
    return Situations(controller.settings, controller.storage, controller.flavors.max_weight, lambda: 2_000_000_100.0)


@pytest.fixture
def step(controller: Controller) -> Callable[..., None]:
    """Moves job 1 on; each step is a second later."""
    clock = iter(range(2_000_000_000, 2_100_000_000))
    controller.jobs.submit(*submission())

    def moved(new: JobState, text: str = "", reason: str = "") -> None:
        job = Job.get_by_id(1)
        fields = {"attempt": job.attempt + 1} if new is JobState.PROVISIONING else {}
        assert transition(Job, 1, JobState(job.state), new, Change(next(clock), reason=reason, text=text), fields)

    return moved


@pytest.fixture
def lines(situations: Situations) -> Lines:
    """The lines of job 1: the attempt that each belongs to, whether its run had begun, and the text."""
    return lambda: [(one.attempt, one.begun, one.text) for one in remarks(Job.get_by_id(1), situations)]


def test_a_job_that_is_tried_again_tells_why_and_of_each_attempt(step: Callable[..., None], lines: Lines) -> None:
    for new in (JobState.QUEUED, JobState.PROVISIONING):
        step(new)
    step(JobState.QUEUED, "Quota exceeded for cores", Reason.QUOTA_EXCEEDED)
    step(JobState.PROVISIONING)
    step(JobState.STARTING, "cold: no memory image")
    step(JobState.RUNNING)
    step(JobState.LOST, "no sign of life for 30 s")
    step(JobState.RUNNING, "a sign of life")
    step(JobState.LOST, "the cloud does not list its machine")
    step(JobState.QUEUED, "The cloud has it no longer.", Reason.MACHINE_LOST)
    create(Worker, Change(1.0), name="pool-3", state=WorkerState.READY, job_id=1, attempt=3, flavor="m1.4xlarge", weight=1)
    step(JobState.PROVISIONING)
    step(JobState.STARTING, "warm")
    assert lines() == [
        (1, False, "Job 1 was submitted: probe_1.0 on a machine of size m1.4xlarge"),
        (1, False, "The job waits for a machine"),
        (1, False, "A machine of size m1.4xlarge is being made"),
        (
            1,
            False,
            "The cloud's quota is used up. Your job is not the cause. Quota exceeded for cores. "
            "The job waits: it is tried again when that is over",
        ),
        (2, False, "A machine of size m1.4xlarge is being made (attempt 2)"),
        (2, False, "The machine has booted; it gets the storage and the job"),
        (2, False, "The machine has the storage and begins with the job"),
        (2, True, "The machine is being checked: no sign of life for 30 s"),
        (2, True, "The machine answers again"),
        (2, True, "The machine is being checked: the cloud does not list its machine"),
        (
            2,
            True,
            "The machine was lost. Your job is not the cause. The cloud has it no longer. "
            "The job waits: another machine is tried",
        ),
        (3, False, "A machine of size m1.4xlarge stands ready and takes the job (attempt 3)"),
        (3, False, "The machine is there; it gets the storage and the job"),
    ]


def test_a_note_is_told_with_whoever_made_it(step: Callable[..., None], lines: Lines) -> None:
    step(JobState.QUEUED)
    record_event(Job, 1, Change(2_000_000_001.5, text="your a.raw is another than the shared one"))
    record_event(Job, 1, Change(2_000_000_002.5, who="root", text="priority 5"))
    assert [text for _, _, text in lines()][2:4] == ["your a.raw is another than the shared one", "priority 5 (root)"]


def test_a_queued_job_tells_what_it_waits_for(controller: Controller, step: Callable[..., None], lines: Lines) -> None:
    step(JobState.QUEUED)
    assert lines()[-1][2] == "The job waits; it is next"
    create(Worker, Change(1.0), name="job-9", state=WorkerState.BUSY, flavor="m1.8xlarge", weight=4)
    assert lines()[-1][2] == "The job waits; the weight limit is reached: it weighs 1, 4 of 4 are taken by jobs before it"
    write_setting(NAME, '{"failures": 5, "pause_s": 60, "try_at": 2000001600, "text": "no quota"}', Change(1.0))
    assert lines()[-1][2] == (
        "The job waits; no machines are made since 5 failed in a row: "
        "it waits until the next try at 2033-05-18 04:00:00 UTC succeeds. The last failure: no quota"
    )
    drain("new disks", Change(1.0))
    assert lines()[-1][2] == "The job waits; the queue is drained: new disks"
    controller.jobs.cancel(Principal.desktop("ada"), 1)
    assert "new disks" not in lines()[-1][2]


def test_the_words_are_those_of_the_queue(controller: Controller, step: Callable[..., None], lines: Lines) -> None:
    step(JobState.QUEUED)
    Job.update(weight=9).where(Job.id == 1).execute()
    (only,) = QueueService(controller.settings).view(Principal.local_admin("root")).waiting
    assert lines()[-1][2] == f"The job waits; {only.why}"


def test_what_was_read_is_shared_until_a_row_changes(controller: Controller, step: Callable[..., None]) -> None:
    step(JobState.QUEUED)
    version = ["one"]
    shared = Situations(controller.settings, controller.storage, controller.flavors.max_weight, version=lambda: version[0])

    def cause() -> Cause | None:
        wait = shared.why(Job.get_by_id(1))
        return wait and wait.cause

    assert cause() is Cause.NEXT
    drain("new disks", Change(1.0))
    assert cause() is Cause.NEXT
    version[0] = "another"
    assert cause() is Cause.DRAINED


def test_what_a_job_waits_for_before_it_is_queued(controller: Controller, situations: Situations) -> None:
    first = controller.jobs.submit(*submission())
    inputs = '{"text": "x", "seconds": "0", "outcome": "ok", "inputs": ["C:\\\\d\\\\a.raw", "/d/b c.raw"]}'
    second = controller.jobs.submit(*submission(settings=inputs, start_after=str(first.id)))
    (only,) = remarks(second, situations)
    assert only.text.endswith("; its input: a.raw, b c.raw; it starts when job 1 is done")


def test_of_many_attempts_the_first_and_the_last_are_told(step: Callable[..., None], lines: Lines) -> None:
    step(JobState.QUEUED)
    for _ in range(300):
        step(JobState.PROVISIONING)
        step(JobState.QUEUED, "", Reason.CLOUD_BUSY)
    assert len(lines()) == FIRST + LAST + 1
    assert "lines are left out here" in lines()[FIRST][2]


def test_the_last_word_is_that_of_a_job_that_has_ended(controller: Controller, step: Callable[..., None]) -> None:
    step(JobState.QUEUED)
    Job.update(message="Waiting: The cloud is overloaded.").where(Job.id == 1).execute()
    assert last_word(Job.get_by_id(1)) == ""
    controller.jobs.cancel(Principal.desktop("ada"), 1)
    assert last_word(Job.get_by_id(1)).endswith(" UTC - The job was cancelled.\n")


@pytest.mark.system
def test_a_whole_life_is_told_in_order_and_alike_everywhere(
    controller: Controller, situations: Situations, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = controller.settings
    for name, value in (("HOME", settings.home), ("CLOUD", "local"), ("APPS", settings.apps), ("FLAVORS", settings.flavors)):
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))
    with turning(controller):
        job = begun(controller, submission())
        eventually(lambda: state_of(job.id).is_final)
    row = Job.get_by_id(job.id)
    text = Log(controller.storage.folder(job.folder).log.path).text(remarks(row, situations)) + last_word(row)
    lines = [line.rpartition(" UTC - ")[2] for line in text.splitlines() if not line.startswith("[INFO] ")]
    order = ["was submitted", "waits for a machine", "is being made", "gets the storage", "begins with the job"]
    assert [word in line for word, line in zip(order, lines, strict=False)] == [True] * 5
    assert lines[5] == f"job {job.id}, attempt 1, on job-{job.id}"
    assert lines[-1] == "done"
    printed = CliRunner().invoke(main, ["logs", str(job.id)], catch_exceptions=False)
    assert printed.output == text
    followed = CliRunner().invoke(main, ["logs", "-f", str(job.id)], catch_exceptions=False)
    assert sorted(followed.output.splitlines()) == sorted(text.splitlines())


def begun(controller: Controller, wish: tuple[Principal, Submission]) -> Job:
    job = controller.jobs.submit(*wish)
    controller.storage.folder(job.folder).mark_arrived()
    controller.loop.wake()
    return job
