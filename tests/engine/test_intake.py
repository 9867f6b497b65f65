"""From acceptance to its end a job reads exactly the bytes that its submitter chose: real runner, local cloud."""

import errno
import json
import os
import shutil
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from server.app import Controller
from server.db.models import Event, Job
from server.db.transitions import Change, transition
from server.engine import intake
from server.errors import InvalidInput
from server.reasons import Reason
from server.services.principal import Principal
from server.states import JobState
from server.storage.folders import JobFolder
from server.storage.inputs import placing
from server.storage.inputs.delivery import deliver
from server.storage.inputs.pins import APART, LEFT_OUT
from tests.conftest import eventually, state_of, submission, turning

pytestmark = pytest.mark.system


@pytest.fixture
def running(controller: Controller) -> Iterator[Controller]:
    """A controller whose loop runs."""
    with turning(controller):
        yield controller


def submit(controller: Controller, *names: str, after: int | None = None, seconds: str = "0") -> Job:
    """A job that reads these files of the client's computer; none is there yet."""
    form = {"text": "x", "seconds": seconds, "outcome": "ok", "inputs": [f"/far/{name}" for name in names]}
    return controller.jobs.submit(*submission(settings=json.dumps(form), start_after="" if after is None else str(after)))


def folder_of(controller: Controller, job: Job) -> JobFolder:
    return controller.storage.folder(job.folder)


def arrive(controller: Controller, job: Job, manifest: object = None) -> None:
    """The marker, as the desktop client's agent leaves it; with a manifest or without."""
    folder = folder_of(controller, job)
    if manifest is not None:
        (folder.path / ".cumulus.manifest").write_text(json.dumps({"version": 1, **manifest}))  # type: ignore[dict-item]
    folder.mark_arrived()
    controller.loop.wake()


def read(controller: Controller, job: Job) -> str:
    """What the job read, once it is done: the bytes of each file."""
    eventually(lambda: state_of(job.id).is_final)
    assert state_of(job.id) is JobState.DONE, Job.get_by_id(job.id).message
    plan = json.loads((folder_of(controller, job).path / ".cumulus.plan").read_text())
    assert not any(one["shared"] for one in plan["inputs"])
    return " ".join((folder_of(controller, job).input / one["name"]).read_text() for one in plan["inputs"])


def why(job: Job) -> tuple[str, str]:
    eventually(lambda: state_of(job.id).is_final)
    row = Job.get_by_id(job.id)
    return row.reason, row.message


def told(job: Job) -> list[str]:
    rows = Event.select().where(Event.subject == "job", Event.subject_id == job.id, Event.new == "", Event.text != "")
    return [row.text for row in rows.order_by(Event.id)]


def refusing(number: int) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return refuse


def test_two_people_send_other_files_of_one_name_and_size(running: Controller, tmp_path: Path) -> None:
    """The first one's job waits for another step meanwhile."""
    before = submit(running, seconds="1.5")
    first, second = submit(running, "a.dat", after=before.id), submit(running, "a.dat")
    for job, text in ((first, "first"), (second, "2nd__")):
        (tmp_path / "a.dat").write_text(text)
        deliver(running.storage, folder_of(running, job), [tmp_path / "a.dat"])
    arrive(running, before)
    assert read(running, second) == "2nd__"
    assert state_of(first.id) is JobState.UPLOADING
    (running.storage.data / "a.dat").unlink()  # the first job has it already
    assert read(running, first) == "first"
    assert (told(first), told(second)) == ([], [f"a.dat: {APART}"])


def test_what_an_earlier_version_has_queued_without_pins_is_pinned_by_the_first_turn(controller: Controller) -> None:
    """A job whose file is gone fails as it would at its launch, and holds up none."""
    gone, job, running = (submit(controller, name) for name in ("gone.dat", "a.dat", "a.dat"))
    (controller.storage.data / "a.dat").write_text("chosen")
    shutil.rmtree(folder_of(controller, running).input)  # whatever lies there: the turn goes on
    folder_of(controller, running).input.touch()
    for one in (gone, job, running):
        arrive(controller, one)
        later = {"not_before": time.time() + 3600}
        transition(Job, one.id, JobState.UPLOADING, JobState.QUEUED, Change(time.time()), later)
    controller.loop.turn()
    (controller.storage.data / "a.dat").unlink()
    (controller.storage.data / "a.dat").write_text("other!")
    assert (folder_of(controller, job).input / "a.dat").read_text() == "chosen"
    Job.update(not_before=0).execute()
    with turning(controller):
        assert read(controller, job) == "chosen"
        assert why(gone)[0] == Reason.INPUT_MISSING


def test_what_the_desktop_client_s_agent_vouches_for_is_the_storage_s(running: Controller) -> None:
    (running.storage.data / "a.dat").write_text("shared")
    job = submit(running, "a.dat")
    arrive(running, job)
    assert read(running, job) == "shared"


def test_the_agent_s_list_says_which_of_two_files_is_meant(running: Controller) -> None:
    (running.storage.data / "a.dat").write_text("shared")
    job = submit(running, "a.dat")
    (folder_of(running, job).input / "a.dat").write_text("sent")
    path = f"jobs/{job.folder}/input/a.dat"
    arrive(running, job, {"files": [{"path": path, "size": 4, "checksum": "xxh128:ab"}], "skipped": ["x.d/link"]})
    assert read(running, job) == "sent"
    assert told(job) == [f"a.dat: {APART}", f"left out of folders: x.d/link ({LEFT_OUT})"]


def test_a_file_that_is_not_in_the_list_was_not_sent_though_the_storage_has_one(running: Controller) -> None:
    (running.storage.data / "a.dat").write_text("somebody else's")
    job = submit(running, "a.dat")
    arrive(running, job, {"files": []})
    reason, message = why(job)
    assert reason == Reason.INPUT_MISSING
    assert "Not sent: a.dat" in message


def test_the_checksum_that_was_sent_goes_to_the_machine(running: Controller, tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_text("abc")
    job = submit(running, "a.dat")
    deliver(running.storage, folder_of(running, job), [tmp_path / "a.dat"])
    read(running, job)
    plan = json.loads((folder_of(running, job).path / ".cumulus.plan").read_text())
    known = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert [one["expected"] for one in plan["inputs"]] == [known]


@pytest.mark.parametrize("what", ["replaced", "removed"])
def test_what_becomes_of_the_shared_file_afterwards_is_nothing_to_a_job_that_waits(controller: Controller, what: str) -> None:
    shared = controller.storage.data / "a.dat"
    shared.write_text("chosen")
    job = submit(controller, "a.dat")
    arrive(controller, job)
    controller.loop._receive(Job.get_by_id(job.id), time.time())
    assert state_of(job.id) is JobState.QUEUED
    if what == "replaced":
        (shared.parent / "new").write_text("edited")
        (shared.parent / "new").rename(shared)
    else:
        shared.unlink()
    with turning(controller):
        assert read(controller, job) == "chosen"


def test_a_shared_file_that_is_edited_in_place_stops_the_job_before_it_starts(controller: Controller) -> None:
    shared = controller.storage.data / "a.dat"
    shared.write_text("chosen")
    job = submit(controller, "a.dat")
    arrive(controller, job)
    controller.loop._receive(Job.get_by_id(job.id), time.time())
    with shared.open("r+") as file:
        file.write("edited")
    with turning(controller):
        reason, message = why(job)
    assert reason == Reason.INPUT_INCOMPLETE
    assert "a.dat was changed in place" in message
    assert not (folder_of(controller, job).path / ".cumulus.attempt.1").exists()


def test_a_name_is_found_in_the_form_that_the_storage_s_system_gives_it(running: Controller) -> None:
    (running.storage.data / unicodedata.normalize("NFD", "größe.dat")).write_text("x")
    job = submit(running, "größe.dat")
    arrive(running, job)
    assert read(running, job) == "x"


def test_two_files_of_one_name_are_refused_at_once(controller: Controller) -> None:
    form = {"text": "x", "inputs": ["C:/a/b.dat", "C:/b/b.dat"]}
    with pytest.raises(InvalidInput, match="have the same name: rename one of them"):
        controller.jobs.submit(*submission(settings=json.dumps(form)))
    assert Job.select().count() == 0


def test_a_path_that_the_client_sends_twice_is_read_once(running: Controller) -> None:
    (running.storage.data / "b.dat").write_text("123")
    form = {"text": "x", "seconds": "0", "outcome": "ok", "inputs": ["C:/a/b.dat", "C:\\a\\b.dat"]}
    job = running.jobs.submit(*submission(settings=json.dumps(form)))
    arrive(running, job)
    assert read(running, job) == "123"
    assert (folder_of(running, job).output / "result.txt").read_text() == "x\n3\n"


def test_what_takes_long_keeps_no_other_job_from_going_on(running: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refusing(errno.EXDEV))
    copied, going_on = threading.Event(), threading.Event()

    def slow(_read: int, _write: int) -> bool:
        if threading.current_thread().name.startswith("step"):
            copied.set()
            assert going_on.wait(30)
        return False

    monkeypatch.setattr(placing, "_is_cloned", slow)
    (running.storage.data / "large.dat").write_text("x" * (intake.QUICK_BYTES + 1))
    (running.storage.data / "small.dat").write_text("small")
    large, small = submit(running, "large.dat"), submit(running, "small.dat")
    arrive(running, large)
    assert copied.wait(30)
    arrive(running, small)
    assert read(running, small) == "small"
    assert state_of(large.id) is JobState.UPLOADING
    going_on.set()
    assert len(read(running, large)) == intake.QUICK_BYTES + 1


def test_a_copy_for_a_job_that_is_cancelled_meanwhile_ends(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refusing(errno.EXDEV))
    monkeypatch.setattr(placing, "_CHECK_EVERY", 1)
    (controller.storage.data / "a.dat").write_text("x")
    job = submit(controller, "a.dat")
    arrive(controller, job)
    cancel = controller.jobs.cancel
    monkeypatch.setattr(placing, "_is_cloned", lambda _read, _write: bool(cancel(Principal.desktop("ada"), job.id)) and False)
    controller.stages.intake.prepare(job.id)
    assert state_of(job.id) is JobState.CANCELLED
    assert list(folder_of(controller, job).input.iterdir()) == []


def test_a_full_storage_is_waited_for_and_told(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    (controller.storage.data / "a.dat").write_text("x")
    job = submit(controller, "a.dat")
    arrive(controller, job)
    now = time.time()
    monkeypatch.setattr(os, "link", refusing(errno.ENOSPC))
    controller.loop._receive(Job.get_by_id(job.id), now)
    row = Job.get_by_id(job.id)
    assert (row.state, row.message) == (JobState.UPLOADING, "Waiting: its files cannot be pinned, the storage is full.")
    monkeypatch.undo()
    controller.loop._receive(row, now)
    assert state_of(job.id) is JobState.UPLOADING  # not at once again
    controller.loop._receive(row, now + 60)
    row = Job.get_by_id(job.id)
    assert (row.state, row.message, row.not_before) == (JobState.QUEUED, "", 0.0)


def test_a_storage_that_stays_full_fails_the_job(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    (controller.storage.data / "a.dat").write_text("x")
    job = submit(controller, "a.dat")
    arrive(controller, job)
    monkeypatch.setattr(os, "link", refusing(errno.ENOSPC))
    start = time.time()
    for later in (0.0, controller.settings.upload_timeout_s + 1):
        monkeypatch.setattr(controller.stages.intake, "_clock", lambda later=later: start + later)
        controller.stages.intake.prepare(job.id)
    reason, message = why(job)
    assert reason == Reason.CONTROLLER_DISK_FULL
    assert "the storage is full" in message


def test_whatever_else_fails_for_long_ends_the_job_and_not_the_loop(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    (controller.storage.data / "a.dat").write_text("x")
    job = submit(controller, "a.dat")
    arrive(controller, job)
    monkeypatch.setattr(os, "link", refusing(errno.EIO))
    start = time.time()
    for later in (0.0, 61.0):
        monkeypatch.setattr(controller.stages.intake, "_clock", lambda later=later: start + later)
        controller.stages.intake.prepare(job.id)
    assert why(job)[0] == Reason.FOLDER_UNUSABLE


def test_a_job_that_was_queued_before_anything_was_pinned_is_pinned_when_it_starts(controller: Controller) -> None:
    (controller.storage.data / "a.dat").write_text("shared")
    job = submit(controller, "a.dat")
    folder_of(controller, job).mark_arrived()
    Job.update(state=JobState.QUEUED).where(Job.id == job.id).execute()
    with turning(controller):
        assert read(controller, job) == "shared"


def test_a_result_of_another_step_is_pinned_also_where_nothing_can_be_linked(
    running: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refusing(errno.EXDEV))
    first = submit(running)
    form = {"text": "x", "seconds": "0", "outcome": "ok", "inputs": ["%job_dir_0%/output/result.txt"]}
    second = running.jobs.submit(*submission(settings=json.dumps(form), start_after=str(first.id)))
    arrive(running, first)
    eventually(lambda: state_of(second.id) is not JobState.UPLOADING)
    shutil.rmtree(folder_of(running, first).output)
    assert read(running, second) == "x\n"


def test_a_note_is_made_once_whatever_happens_after_it(controller: Controller) -> None:
    (controller.storage.data / "a.dat").write_text("others'")
    job = submit(controller, "a.dat", after=submit(controller).id)
    (folder_of(controller, job).input / "a.dat").write_text("mine")
    arrive(controller, job)
    for _ in range(3):
        controller.stages.intake.prepare(job.id)
    assert told(job) == [f"a.dat: {APART}"]


def test_many_files_are_not_looked_into_by_the_loop(controller: Controller) -> None:
    names = [f"{number}.dat" for number in range(intake.QUICK_FILES // intake.INSPECTION_COST + 1)]
    job = submit(controller, *names)
    for name in names:
        (controller.storage.data / name).write_text("chosen")
    arrive(controller, job)
    row = Job.get_by_id(job.id)
    assert controller.stages.intake.receive(row, time.time())
    assert state_of(job.id) is JobState.UPLOADING
    controller.stages.intake.prepare(job.id)
    assert state_of(job.id) is JobState.QUEUED
