"""Damaged job folders: that job ends with a reason, a healthy one beside it is done, and the API goes on answering."""

import http.client
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from peewee import OperationalError

from server.app import Controller, make_controller
from server.db.models import Job, living_workers
from server.engine.failures import PATIENCE_S
from server.reasons import Reason
from server.settings import Settings
from server.states import JobState
from server.storage.folders import JobFolder
from server.workers.clouds.local import LocalCloud
from tests.api.serving import listening
from tests.conftest import eventually, state_of, submission

pytestmark = pytest.mark.system

GOOD_RESULT = '{"attempt": 1, "exit_code": 0, "stage": "done"}'
SPARSE_BYTES = 5_000_000_000
LONG_AGO_S = 1000.0
Damage = Callable[[JobFolder], None]


def gone(folder: JobFolder) -> None:
    beside = folder.path.with_name(f".gone-{folder.name}")  # at once: a runner that is at work would write into it meanwhile
    folder.path.rename(beside)
    shutil.rmtree(beside)


def a_file_instead(folder: JobFolder) -> None:
    gone(folder)
    folder.path.write_text("not a folder")


def a_link_to_itself(folder: JobFolder) -> None:
    gone(folder)
    folder.path.symlink_to(folder.path)


def private(name: str, make: Callable[[Path], object]) -> Damage:
    """Put something else in the place of one of the folder's private files."""

    def damage(folder: JobFolder) -> None:
        path = folder.path / f".cumulus.{name}"
        path.unlink(missing_ok=True)
        make(path)

    return damage


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(SPARSE_BYTES)
        file.seek(SPARSE_BYTES - 20)
        file.write(b"\xff\xfe the end\n")


def strange_output(folder: JobFolder) -> None:
    output = folder.output
    os.mkfifo(output / "fifo")
    os.mknod(output / "null", 0o20666, os.makedev(1, 3))
    (output / "loop").symlink_to(output / "loop")
    (output / "above").symlink_to("..")
    Path(os.fsdecode(os.fsencode(output) + b"/\xff\xfe name")).write_text("x")
    (output / "unreadable").write_text("x")
    (output / "unreadable").chmod(0)


def output_elsewhere(folder: JobFolder) -> None:
    """Never outside of the test's own folder: a fault here removes what the link leads to."""
    elsewhere = folder.path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("of somebody else")
    folder.output.rmdir()
    folder.output.symlink_to("elsewhere")


def broken_form(folder: JobFolder) -> None:
    (folder.path / ".cumulus.settings").write_bytes(b"\xff{")
    Job.update(settings='{"text": ').where(Job.folder == folder.name).execute()


BAD_RESULT = {JobState.RUNNING: Reason.RESULT_UNREADABLE}
BAD_ORDERS = {JobState.QUEUED: Reason.FOLDER_UNUSABLE, JobState.UPLOADING: Reason.FOLDER_UNUSABLE}
NO_FOLDER = dict.fromkeys((JobState.UPLOADING, JobState.QUEUED, JobState.RUNNING), Reason.FOLDER_GONE)
BAD_FORM = {JobState.UPLOADING: Reason.SETTINGS_UNUSABLE, JobState.QUEUED: Reason.SETTINGS_UNUSABLE}
# What it does to a folder -> the reason that the job then fails with, by the state in which it happens; "": it does no harm.
DAMAGES: dict[str, tuple[Damage, dict[JobState, Reason]]] = {
    "gone": (gone, NO_FOLDER),
    "a file instead": (a_file_instead, NO_FOLDER),
    "a link to itself": (a_link_to_itself, NO_FOLDER),
    "form: garbage": (broken_form, BAD_FORM),
    "form: deep": (lambda folder: Job.update(settings="[" * 100_000).where(Job.folder == folder.name).execute(), BAD_FORM),
    "result: half written": (private("result", lambda path: path.write_text(GOOD_RESULT[:20])), BAD_RESULT),
    "result: garbage": (private("result", lambda path: path.write_bytes(b"\0\xff" * 500)), BAD_RESULT),
    "result: empty": (private("result", Path.touch), BAD_RESULT),
    "result: folder": (private("result", Path.mkdir), BAD_RESULT),
    "result: FIFO": (private("result", os.mkfifo), BAD_RESULT),
    "result: 5 GB": (private("result", sparse), BAD_RESULT),
    "result: link": (private("result", lambda path: path.symlink_to(".cumulus.rsync")), BAD_RESULT),
    "result: loop": (private("result", lambda path: path.symlink_to(path)), BAD_RESULT),
    "result: device": (private("result", lambda path: os.mknod(path, 0o20666, os.makedev(1, 5))), BAD_RESULT),
    "attempt: folder": (private("attempt.1", Path.mkdir), BAD_ORDERS),
    "plan: folder": (private("plan", Path.mkdir), BAD_ORDERS),
    "plan: FIFO beside": (private("plan.new", os.mkfifo), {}),
    "log: FIFO": (private("log", os.mkfifo), BAD_ORDERS),
    "heartbeat: FIFO": (private("alive", os.mkfifo), BAD_ORDERS),
    "log: 5 GB": (private("log", sparse), {}),
    "log: binary": (private("log", lambda path: path.write_bytes(os.urandom(3_000_000))), {}),
    "log: folder": (private("log", Path.mkdir), BAD_ORDERS),
    "log: device": (private("log", lambda path: os.mknod(path, 0o20666, os.makedev(1, 5))), BAD_ORDERS),
    "converted: FIFO": (private("converted", os.mkfifo), {}),
    "output: strange": (strange_output, {}),
    "output: elsewhere": (
        output_elsewhere,
        {JobState.QUEUED: Reason.RESULTS_NOT_SAVED, JobState.UPLOADING: Reason.RESULTS_NOT_SAVED},
    ),
}


class Clock:
    """Real time, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def controller(settings: Settings, cloud: LocalCloud, clock: Clock) -> Iterator[Controller]:
    """A controller whose loop does not run yet."""
    settings.flavors.write_text(settings.flavors.read_text().replace("WEIGHT = 4", "WEIGHT = 100"))
    cloud.start()
    made = make_controller(settings, cloud, clock, clock)
    yield made
    made.loop.stop(grace_s=15)
    made.database.close()


@contextmanager
def at_work(controller: Controller) -> Iterator[None]:
    thread = threading.Thread(target=controller.loop.run, daemon=True)
    thread.start()
    yield
    controller.loop.stop(grace_s=15)
    thread.join(15)


@contextmanager
def served(controller: Controller) -> Iterator[Callable[[str], tuple[int, bytes]]]:
    """What asks the controller over a socket; fails where an answer hangs."""
    with listening(controller) as port:

        def ask(path: str) -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            response = connection.getresponse()
            answer = response.status, response.read()
            connection.close()
            return answer

        yield ask


def a_job(controller: Controller, state: JobState, clock: Clock, **changes: str) -> Job:
    """A job of which all files are there, put into ``state`` as if it had come there itself, a while ago."""
    job = controller.jobs.submit(*submission(**changes))
    controller.storage.folder(job.folder).mark_arrived()
    attempt = 1 if state in (JobState.RUNNING, JobState.DONE) else 0
    outcome = state if state.is_final else ""
    fields = {"state": state, "attempt": attempt, "outcome": outcome, "state_since": clock() - LONG_AGO_S}
    Job.update(fields).where(Job.id == job.id).execute()
    return job


def questions(job: Job) -> list[str]:
    names = ("fifo", "null", "loop", "above/plan", "%FF%FE%20name", "precious")
    return [
        f"/joblist/{job.id}/100",
        *(f"/getresults/ada/{job.id}/{name}" for name in names),
        "/info",
        "/storage",
        f"/getfile/ada/{job.folder}",
    ]


@pytest.mark.parametrize("state", [JobState.UPLOADING, JobState.QUEUED, JobState.RUNNING, JobState.DONE])
def test_a_damaged_folder_is_the_matter_of_its_own_job(controller: Controller, clock: Clock, state: JobState) -> None:
    damaged = {name: a_job(controller, state, clock) for name in DAMAGES}
    for name, (damage, _) in DAMAGES.items():
        damage(controller.storage.folder(damaged[name].folder))
    healthy = a_job(controller, JobState.UPLOADING, clock)
    harmed = [name for name, (_, reasons) in DAMAGES.items() if state in reasons]
    with served(controller) as ask, at_work(controller):
        for job in damaged.values():
            answers = {path: ask(path)[0] for path in questions(job)}
            assert answers.pop(f"/joblist/{job.id}/100") == 200
            assert [path for path, status in answers.items() if path.startswith("/get") and status != 404] == []
        eventually(lambda: state_of(healthy.id) is JobState.DONE)
        clock.ahead += PATIENCE_S + 1
        eventually(lambda: all(state_of(damaged[name].id).is_final for name in harmed))
        assert ask(f"/joblist/{healthy.id}/-1")[0] == 200
    rows = {name: Job.get_by_id(job.id) for name, job in damaged.items()}
    assert {name: rows[name].reason for name in harmed} == {name: DAMAGES[name][1][state] for name in harmed}
    assert all(Reason(rows[name].reason).blame.phrase in rows[name].message for name in harmed)
    elsewhere = controller.storage.folder(damaged["output: elsewhere"].folder).path / "elsewhere" / "precious"
    assert elsewhere.read_text() == "of somebody else"
    if state is JobState.DONE:
        assert {row.state for row in rows.values()} == {"done"}


def test_a_folder_that_is_removed_while_the_app_runs_fails_its_job_and_frees_the_machine(
    controller: Controller, clock: Clock
) -> None:
    job = a_job(controller, JobState.UPLOADING, clock, settings='{"text": "x", "seconds": "60", "outcome": "ok"}')
    with at_work(controller):
        eventually(lambda: state_of(job.id) is JobState.RUNNING)
        gone(controller.storage.folder(job.folder))

        def has_failed() -> bool:
            clock.ahead += 1  # whenever the loop sees the loss, its patience ends
            return state_of(job.id) is JobState.FAILED

        eventually(has_failed)
        eventually(lambda: living_workers() == [])
    assert Job.get_by_id(job.id).reason == Reason.FOLDER_GONE
    assert not controller.storage.folder(job.folder).path.exists()


def test_a_storage_that_is_away_as_a_whole_fails_no_job(controller: Controller, clock: Clock) -> None:
    job = a_job(controller, JobState.RUNNING, clock)
    aside = controller.storage.jobs.rename(controller.storage.root / "aside")
    for _ in range(3):
        controller.loop.turn()
        clock.ahead += PATIENCE_S + 1
    assert state_of(job.id) is JobState.RUNNING
    aside.rename(controller.storage.jobs)
    (controller.storage.folder(job.folder).path / ".cumulus.result").write_text(GOOD_RESULT)
    controller.loop.turn()
    assert state_of(job.id) is JobState.DONE


def test_a_folder_that_is_back_in_time_is_forgiven(controller: Controller, clock: Clock) -> None:
    job = a_job(controller, JobState.UPLOADING, clock)
    (controller.storage.folder(job.folder).path / ".cumulus.rsync").unlink()
    place = controller.storage.folder(job.folder).path
    for _ in range(3):
        aside = place.rename(controller.storage.root / "aside")
        controller.loop.turn()
        clock.ahead += PATIENCE_S * 0.8
        aside.rename(place)
        controller.loop.turn()
    assert state_of(job.id) is JobState.UPLOADING


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (PermissionError(13, "Permission denied"), Reason.FOLDER_UNUSABLE),
        (OSError(5, "Input/output error"), Reason.FOLDER_UNUSABLE),
        (ZeroDivisionError("a fault of ours"), Reason.CONTROLLER_FAULT),
    ],
)
def test_a_look_that_always_fails_ends_its_own_job_alone(
    controller: Controller, clock: Clock, monkeypatch: pytest.MonkeyPatch, problem: Exception, reason: Reason
) -> None:
    bad, good = a_job(controller, JobState.RUNNING, clock), a_job(controller, JobState.RUNNING, clock)
    (controller.storage.folder(good.folder).path / ".cumulus.result").write_text(GOOD_RESULT)

    def require(folder: JobFolder) -> None:
        if folder.name == bad.folder:
            raise problem

    monkeypatch.setattr(JobFolder, "require", require)
    controller.loop.turn()
    assert (state_of(bad.id), state_of(good.id)) == (JobState.RUNNING, JobState.DONE)
    clock.ahead += PATIENCE_S + 1
    controller.loop.turn()
    row = Job.get_by_id(bad.id)
    assert (row.state, row.reason) == ("failed", reason)
    assert str(problem) in row.message


def test_a_failing_database_is_no_job_s_fault(controller: Controller, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    job = a_job(controller, JobState.RUNNING, clock)

    def require(folder: JobFolder) -> None:
        raise OperationalError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(JobFolder, "require", require)
        for _ in range(2):
            with pytest.raises(OperationalError):
                controller.loop.turn()
            clock.ahead += PATIENCE_S + 1
    assert state_of(job.id) is JobState.RUNNING


def test_an_unreadable_result_is_waited_for_while_the_runner_lives(controller: Controller, clock: Clock) -> None:
    job = a_job(controller, JobState.RUNNING, clock)
    path = controller.storage.folder(job.folder).path
    (path / ".cumulus.result").write_text(GOOD_RESULT[:10])
    (path / ".cumulus.alive").touch()
    clock.ahead += 50  # longer than a lost machine is given
    controller.loop.turn()
    assert state_of(job.id) is JobState.RUNNING
    (path / ".cumulus.result").write_text(GOOD_RESULT)
    controller.loop.turn()
    assert state_of(job.id) is JobState.DONE
