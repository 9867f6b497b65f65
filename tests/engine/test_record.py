"""``job.json``: what is known of a run, from its submission to its place in the archive."""

import hashlib
import json
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from server.app import Controller, rebuild_database
from server.db.models import Change, Job, open_database, transition
from server.engine.duties.retention import DAY_S, Retention
from server.engine.records.manifests import Manifests
from server.engine.records.record import (
    JobRecord,
    RecordedApp,
    RecordedFlavor,
    RecordedInput,
    parts_of,
    read_record,
    recorded_state,
    to_text,
    write_record,
)
from server.engine.records.recording import assembled, controller_version
from server.progress import Lines
from server.reasons import Reason
from server.services.principal import Principal
from server.settings import Settings
from server.states import JobState
from server.storage.folders import JobFolder
from server.storage.inputs.checksums import content_sha256
from server.storage.regular import MAX_VALUES
from server.storage.report import RunReport
from tests.conftest import TEST_APPS, eventually, state_of, submission, turning

CONTENT = b"content\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
A_TURN_S = 30.0  # what a turn of the loop does is written down with the time of its beginning


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """An installation whose app may be changed."""
    folder = tmp_path / "apps"
    folder.mkdir()
    (folder / "probe_1.0.xml").write_text((TEST_APPS / "probe_1.0.xml").read_text())
    return settings.model_copy(update={"apps": folder})


@pytest.fixture
def running(controller: Controller) -> Iterator[Controller]:
    """A controller whose loop runs."""
    with turning(controller):
        yield controller


def folder_of(controller: Controller, job_id: int) -> JobFolder:
    return controller.storage.folder(Job.get_by_id(job_id).folder)


def record(controller: Controller, job_id: int) -> JobRecord:
    """What ``job.json`` says."""
    found = read_record(folder_of(controller, job_id))
    assert found is not None
    return found


def form(*files: str, **values: str) -> str:
    return json.dumps({"text": "hello", "seconds": "0", "outcome": "ok", "inputs": list(files), **values})


def done(controller: Controller, job: Job) -> JobRecord:
    """The record of a job once it has run."""
    folder_of(controller, job.id).mark_arrived()
    controller.loop.wake()
    eventually(lambda: state_of(job.id).is_final)
    eventually(lambda: recorded_state(folder_of(controller, job.id)) == state_of(job.id))
    return record(controller, job.id)


def walk(job: Job, *states: JobState, reason: str = "", text: str = "") -> None:
    """Move a job's row on, a second each."""
    for new in states:
        row = Job.get_by_id(job.id)
        transition(Job, job.id, JobState(row.state), new, Change(row.state_since + 1, reason=reason, text=text))


def test_from_its_submission_on_it_says_what_was_submitted(controller: Controller, settings: Settings) -> None:
    job = controller.jobs.submit(*submission(description="first", settings='{"text": "hello", "outcome": "ok"}'))
    found = record(controller, job.id)
    xml = (settings.apps / "probe_1.0.xml").read_bytes()
    assert (found.id, found.owner, found.description, found.state) == (job.id, "ada", "first", "uploading")
    assert (found.app.id, found.app.name, found.app.version) == ("probe_1.0", "Probe", "1.0")
    assert found.app.sha256 == found.app.submitted_sha256 == hashlib.sha256(xml).hexdigest()
    assert found.settings == {"text": "hello", "seconds": "0", "outcome": "ok", **found.settings}
    assert (found.controller.version, found.flavor.name, found.created) == (controller_version(), "m1.4xlarge", job.created)
    assert (found.command, found.results, found.attempts, found.ended) == ("", (), (), None)
    path = folder_of(controller, job.id).path / "job.json"
    assert path.stat().st_mode & 0o444 == (folder_of(controller, job.id).path / ".cumulus.settings").stat().st_mode & 0o444


def test_a_job_that_is_done_has_all_of_it(running: Controller) -> None:
    (running.storage.data / "a.dat").write_bytes(CONTENT)
    job = running.jobs.submit(*submission(settings=form("C:\\data\\a.dat")))
    found = done(running, job)
    row = Job.get_by_id(job.id)
    assert (found.state, found.outcome, found.reason) == ("done", "done", "")
    assert (found.program, found.snapshot, found.cloud) == ("probe 1.0", "local", "local")
    assert (found.flavor.name, found.flavor.cpus, found.flavor.memory_gb) == ("m1.4xlarge", 1, 1)
    system = os.uname()
    assert (found.machine.host, found.machine.cpus) == (system.nodename, os.cpu_count())
    assert found.machine.kernel.endswith(system.release)
    assert (found.machine.memory_mb or 0) > 100
    assert "probe started" in found.command
    assert found.command + "\n" == (folder_of(running, job.id).path / ".cumulus.cmd").read_text()
    (read,) = found.inputs
    assert (read.name, read.target, read.field, read.origin) == ("a.dat", "a.dat", "inputs", "shared")
    assert [(one.path, one.size) for one in found.results] == [("result.txt", 8)]
    (attempt,) = found.attempts
    assert (attempt.number, attempt.worker, attempt.snapshot, attempt.outcome) == (1, f"job-{job.id}", "local", "done")
    times = [found.created, found.queued or 0, attempt.began or 0, attempt.started or 0, found.ended or 0]
    assert all(later > earlier - A_TURN_S for earlier, later in pairwise(times))
    assert (found.started, found.ended) == (row.started, row.ended)
    assert not found.app.changed


@pytest.mark.parametrize(("outcome", "reason"), [("fail", Reason.APP_FAILED), ("ok", Reason.INPUT_MISSING)])
def test_a_job_that_failed_says_why(running: Controller, outcome: str, reason: Reason) -> None:
    files = ["absent.raw"] if reason is Reason.INPUT_MISSING else []
    found = done(running, running.jobs.submit(*submission(settings=form(*files, outcome=outcome))))
    assert (found.state, found.outcome, found.reason) == ("failed", "failed", reason)
    assert found.message == Job.get_by_id(found.id).message
    assert [one.reason for one in found.attempts] == ([reason] if reason is Reason.APP_FAILED else [])


def test_a_cancelled_job_says_so_and_later_what_its_machine_has_still_told(running: Controller) -> None:
    job = running.jobs.submit(*submission(settings=form(seconds="60")))
    folder_of(running, job.id).mark_arrived()
    running.loop.wake()
    eventually(lambda: "probe started" in folder_of(running, job.id).log())
    running.jobs.cancel(Principal.desktop("ada"), job.id)
    assert record(running, job.id).state == "cancelled"
    eventually(lambda: record(running, job.id).machine.host != "")
    assert [one.reason for one in record(running, job.id).attempts] == [Reason.CANCELLED]


def test_each_attempt_is_there_with_why_it_ended(controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    walk(job, JobState.QUEUED)
    for number in (1, 2):
        walk(job, JobState.PROVISIONING, text=f"attempt {number}")
        walk(job, JobState.QUEUED, reason=Reason.MACHINE_LOST, text="gone")
    walk(job, JobState.PROVISIONING, text="attempt 3")
    walk(job, JobState.STARTING, JobState.RUNNING, JobState.LOST, JobState.RUNNING, JobState.FINISHING, JobState.DONE)
    Manifests(controller.storage).write(job.id)
    found = record(controller, job.id).attempts
    assert [(one.number, one.outcome, one.reason, one.text) for one in found] == [
        (1, "queued", "machine_lost", "gone"),
        (2, "queued", "machine_lost", "gone"),
        (3, "done", "", ""),
    ]
    first, last = found[0], found[-1]
    assert ((first.ended or 0) - (first.began or 0), (last.started or 0) - (last.began or 0)) == (1, 2)


def test_what_the_run_told_is_in_it_but_not_what_makes_no_sense(controller: Controller) -> None:
    job = controller.jobs.submit(*submission(settings=form("a.dat", "b.dat")))
    walk(job, JobState.QUEUED, JobState.PROVISIONING, JobState.STARTING, JobState.RUNNING, JobState.FINISHING, JobState.DONE)
    Job.update(attempt=1).where(Job.id == job.id).execute()
    report: dict[str, Any] = {
        "attempt": 1,
        "warnings": ["w"],
        "inputs": [
            {"name": "a.dat", "target": "a.dat", "size": 8, "sha256": SHA256, "kind": "other", "spectra": None},
            {"name": "c.mzML", "target": "c.mzML", "size": 1, "sha256": "ff"},
            {"name": 7, "size": []},
        ],
        "conversions": [{"source": "b.dat", "target": "b.mzML", "command": ["conv", "-x"], "version": "conv 3"}, {}],
        "files": [{"name": "a.dat", "outcome": "done", "message": ""}, {"name": "b.dat"}],
        "figures": [{"name": "psms", "label": "PSMs", "value": 12}, {"label": "nameless"}],
        "results": [{"path": "r.txt", "size": 3, "sha256": "ab"}, {"path": "q"}, {"path": None, "size": 1}],
        "machine": {"host": "h", "cpus": 4, "memory_mb": 100, "kernel": "Linux 6"},
    }
    folder = folder_of(controller, job.id)
    (folder.path / ".cumulus.report").write_text(json.dumps(report))
    Manifests(controller.storage).write(job.id)
    found = record(controller, job.id)
    assert [(one.name, one.origin, one.size, one.sha256) for one in found.inputs] == [
        ("a.dat", "shared", 8, SHA256),
        ("b.dat", "shared", None, ""),
        ("c.mzML", "converted", 1, "ff"),
    ]
    assert [(one.source, one.command, one.version) for one in found.conversions] == [("b.dat", "conv -x", "conv 3")]
    assert [one.name for one in found.files] == ["a.dat"]
    assert [(one.name, one.value) for one in found.figures] == [("psms", 12)]
    assert [(one.path, one.sha256) for one in found.results] == [("r.txt", "ab")]
    assert (found.machine.host, found.machine.cpus, found.warnings) == ("h", 4, ("w",))
    Manifests(controller.storage).write(job.id)
    assert record(controller, job.id) == found


def test_what_was_sent_for_the_job_is_told_from_what_was_there_with_its_checksum(running: Controller) -> None:
    for name in ("a.dat", "b.dat"):
        (running.storage.data / name).write_bytes(CONTENT)
    job = running.jobs.submit(*submission(settings=form("a.dat", "b.dat")))
    sent = [{"path": f"data/{name}", "size": len(CONTENT), "checksum": f"sha256:{SHA256}"} for name in ("a.dat", "b.dat")]
    manifest = {"version": 1, "files": sent, "stored": ["b.dat"]}
    (folder_of(running, job.id).path / ".cumulus.manifest").write_text(json.dumps(manifest))
    found = done(running, job)
    assert [(one.name, one.origin, one.size, one.sha256) for one in found.inputs] == [
        ("a.dat", "sent", len(CONTENT), SHA256),
        ("b.dat", "shared", len(CONTENT), SHA256),
    ]


def test_a_result_of_an_earlier_step_is_told_with_its_job(running: Controller) -> None:
    first = running.jobs.submit(*submission(workflow="two"))
    wish = submission(settings=form("%job_dir_0%/output/result.txt"), start_after=str(first.id), workflow="two")
    second = running.jobs.submit(*wish)
    done(running, first)
    found = done(running, second)
    (read,) = found.inputs
    assert (read.name, read.origin, read.job, read.path) == ("result.txt", "result", first.id, "result.txt")
    assert (found.state, found.start_after, found.workflow) == ("done", first.id, "two")


def test_an_app_that_was_changed_between_submission_and_run_is_told(running: Controller, settings: Settings) -> None:
    job = running.jobs.submit(*submission())
    path = settings.apps / "probe_1.0.xml"
    path.write_text(path.read_text().replace('category="Tests"', 'category="Other"'))
    eventually(lambda: running.catalog.get("probe_1.0").category == "Other")
    found = done(running, job)
    assert found.app.changed
    assert found.app.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() != found.app.submitted_sha256


@pytest.mark.parametrize("left", [None, "", "{", "[]", '{"id": 1}'])
def test_a_record_that_lacks_the_end_is_made_whole_by_the_next_controller(controller: Controller, left: str | None) -> None:
    job, other = controller.jobs.submit(*submission()), controller.jobs.submit(*submission())
    walk(job, JobState.CANCELLED)
    path = folder_of(controller, job.id).path / "job.json"
    if left is not None:
        path.write_text(left)
    assert controller.storage.folder(other.folder).record_text()
    manifests = Manifests(controller.storage)
    assert manifests.complete_records() == [job.id]
    found = record(controller, job.id)
    assert (found.state, found.settings["text"], found.app.id) == ("cancelled", "hello", "probe_1.0")
    assert manifests.complete_records() == []


def test_the_loop_s_first_turn_looks_for_such_records(controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    walk(job, JobState.CANCELLED)
    controller.loop.turn()
    eventually(lambda: recorded_state(folder_of(controller, job.id)) == "cancelled")


def test_something_else_in_its_place_holds_nobody_up(controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    path = folder_of(controller, job.id).path / "job.json"
    path.unlink()
    os.mkfifo(path)
    walk(job, JobState.CANCELLED)
    Manifests(controller.storage).write(job.id)
    assert record(controller, job.id).state == "cancelled"


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000], ids=["nothing", "a half", "a list", "too deep"])
def test_settings_that_are_none_keep_no_job_from_its_end(controller: Controller, text: str) -> None:
    job = controller.jobs.submit(*submission())
    Job.update(settings=text).where(Job.id == job.id).execute()
    walk(job, JobState.CANCELLED)
    Manifests(controller.storage).write(job.id)
    assert (record(controller, job.id).state, record(controller, job.id).settings) == ("cancelled", {})


def test_another_job_s_record_is_not_believed(controller: Controller) -> None:
    first = controller.jobs.submit(*submission(description="first"))
    second = controller.jobs.submit(*submission())
    path = folder_of(controller, second.id).path / "job.json"
    copy = record(controller, first.id).model_copy(update={"command": "rm -rf /"})
    path.write_text(to_text(copy))
    assert assembled(second, folder_of(controller, second.id)).command == ""


def test_a_record_of_another_app_is_not_believed(controller: Controller) -> None:
    job = controller.jobs.submit(*submission())
    folder = folder_of(controller, job.id)
    forged = assembled(job, folder).model_copy(update={"app": RecordedApp(id="other_1.0", name="Other", sha256=SHA256)})
    write_record(forged, folder)
    assert assembled(job, folder).app == RecordedApp(id=job.app)


@pytest.mark.parametrize(("kind", "name"), [(RunReport, "results"), (RunReport, "warnings"), (JobRecord, "inputs")])
def test_of_a_million_wrong_entries_the_first_is_enough(kind: type[BaseModel], name: str) -> None:
    with pytest.raises(ValidationError) as problem:
        kind.model_validate_json(f'{{"{name}": [{"1," * 1000}1]}}')
    assert len([error for error in problem.value.errors() if error["loc"][0] == name]) == 1


@pytest.mark.parametrize("filling", ["1,", "[],", "{},", '"",'])
def test_more_entries_than_fit_into_memory_are_none(tmp_path: Path, filling: str) -> None:
    folder = JobFolder(tmp_path / "job")
    folder.create("{}")
    text = f'{{"version": 1, "id": 1, "attempt": 1, "results": [{filling * MAX_VALUES}1]}}'
    for file in ("job.json", ".cumulus.report"):
        (folder.path / file).write_text(text)
    with pytest.raises(OSError, match="more entries"):
        folder.record_text()
    assert (read_record(folder), folder.report(1)) == (None, None)


def test_it_is_kept_in_the_archive_with_what_came_out(running: Controller) -> None:
    job = running.jobs.submit(*submission())
    found = done(running, job)
    rules, later = Retention(running.storage, 1), (found.ended or 0) + 2 * DAY_S
    eventually(lambda: bool(rules.plan(later).removals))  # its machine is gone
    for _ in range(2):
        rules.remove(rules.plan(later).removals, later)
    kept = record(running, job.id)
    assert not folder_of(running, job.id).output.exists()
    assert (kept.state, kept.outcome) == ("archived", "done")
    assert (kept.results, kept.command, kept.attempts) == (found.results, found.command, found.attempts)


def test_a_rebuilt_database_loses_nothing_of_it(controller: Controller, settings: Settings) -> None:
    job = controller.jobs.submit(*submission())
    walk(job, JobState.QUEUED, JobState.PROVISIONING)
    walk(job, JobState.QUEUED, reason=Reason.MACHINE_LOST, text="gone")
    Manifests(controller.storage).write(job.id)
    before = record(controller, job.id)
    controller.database.close()
    for path in settings.home.glob("cumulus.sqlite*"):
        path.unlink()
    rebuild_database(settings, 1_900_000_000.0, Lines(print))
    open_database(settings.database)
    Manifests(controller.storage).write(job.id)
    after = record(controller, job.id)
    assert (after.attempts, after.queued, after.settings) == (before.attempts, before.queued, before.settings)
    assert len(after.attempts) == 1


def test_the_sum_of_a_folder_is_that_of_its_files_and_their_names(tmp_path: Path) -> None:
    (tmp_path / "a.d" / "deep").mkdir(parents=True)
    (tmp_path / "a.d" / "deep" / "x").write_bytes(CONTENT)
    (tmp_path / "a.d" / "b").write_bytes(b"")
    lines = f"{hashlib.sha256(b'').hexdigest()}  b\n{SHA256}  deep/x\n"
    assert content_sha256(tmp_path / "a.d") == hashlib.sha256(lines.encode()).hexdigest()
    assert content_sha256(tmp_path / "a.d" / "deep" / "x") == SHA256
    os.rename(tmp_path / "a.d" / "b", tmp_path / "a.d" / "c")
    assert content_sha256(tmp_path / "a.d") != hashlib.sha256(lines.encode()).hexdigest()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_whatever_a_run_tells_of_its_inputs_makes_parts_or_nothing(entry: Any) -> None:
    found = parts_of(RecordedInput, [entry, {"name": "a"}])
    assert found[-1] == RecordedInput(name="a")


@pytest.mark.parametrize("text", ["plain", "Größe 😀", "half \ud83d of one", "line\nfeed"])
def test_a_record_is_text_whatever_the_settings_are(text: str, tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    found = JobRecord(
        id=1, owner="ada", app=RecordedApp(id="x"), flavor=RecordedFlavor(name="m"), created=1.5, settings={"a": text, "n": None}
    )
    write_record(found, folder)
    again = read_record(folder)
    assert again is not None
    assert again.settings == {"a": text.encode("utf-8", "replace").decode(), "n": None}
    assert again.created == 1.5
