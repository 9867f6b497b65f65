"""``cumulus record`` and ``cumulus rerun`` beside a controller that runs jobs."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.app import Controller
from server.db.models import Job
from server.db.queries import living_workers
from server.engine.duties.retention import DAY_S, Retention
from server.engine.records.record import JobRecord, read_record, write_record
from server.home.presence import announced
from server.settings import Settings
from server.states import JobState
from server.storage.folders import JobFolder
from tests.api.v1.local import at_the_socket
from tests.catalog.building import tool
from tests.conftest import FLAVORS, eventually, state_of, submission, turning
from tests.forked import Done, Forks, forks

FIELDS = """\
<string name="text" label="Text" value="hello" command="printf '%s\\n' '%value%' > '%output_dir%/result.txt';"/>
<filelist name="own" label="Own" multiple="true" is_folder="false" is_raw_input="false"
 repeated_command="cat '%value%' >> result.txt || exit 4;"/>
<filelist name="common" label="Common" multiple="true" is_folder="false" is_raw_input="true"
 repeated_command="cat '%value%' >> result.txt || exit 4;"/>
"""
DICE = '<string name="dice" label="Dice" value="x" command="date +%N >> result.txt;"/>'


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """An installation with an app of its own."""
    (tmp_path / "apps").mkdir()
    put(tmp_path / "apps")
    return settings.model_copy(update={"apps": tmp_path / "apps"})


def put(folder: Path, fields: str = FIELDS, version: str = "echo copy 1.0") -> None:
    text = tool(fields, id="copy_1", name="Copy", version="1", command="true;", version_command=version)
    (folder / "copy_1.xml").write_text(text)


@pytest.fixture(scope="module")
def forked() -> Iterator[Forks]:
    """Commands are processes of their own: each has the rows in its own hands."""
    with forks() as made:
        yield made


@pytest.fixture
def running(controller: Controller) -> Iterator[Controller]:
    """A controller that answers and runs jobs."""
    home = controller.settings.home
    with turning(controller), at_the_socket(controller), announced(home, "http://127.0.0.1:1"):
        yield controller


@dataclass
class Shell:
    """Somebody's commands for that installation."""

    forks: Forks
    folder: Path
    settings: Settings

    def run(self, *arguments: str, code: int = 0) -> Done:
        names = ("home", "cloud", "apps", "flavors")
        env = {f"CUMULUS_{name.upper()}": str(getattr(self.settings, name)) for name in names}
        done = self.forks.run("cumulus", *arguments, folder=self.folder, env=env)
        assert done.code == code, (done.stdout, done.stderr)
        return done

    def submit(self, *arguments: str) -> int:
        """The number of a job of ada's that has run."""
        return int(self.run("submit", "copy_1", "--owner", "ada", *arguments, "--wait").stdout.split()[0])


@pytest.fixture
def shell(forked: Forks, running: Controller, tmp_path: Path) -> Shell:
    return Shell(forked, tmp_path, running.settings)


def folder(controller: Controller, job_id: int) -> JobFolder:
    return controller.storage.folder(Job.get_by_id(job_id).folder)


def record(controller: Controller, job_id: int) -> JobRecord:
    eventually(lambda: (read_record(folder(controller, job_id)) or record_of_none()).state == state_of(job_id))
    found = read_record(folder(controller, job_id))
    assert found is not None
    return found


def record_of_none() -> JobRecord:
    return JobRecord.model_validate({"id": 0, "owner": "", "app": {"id": ""}, "flavor": {"name": ""}, "created": 0})


def remember(controller: Controller, job_id: int, name: str, content: bytes) -> None:
    """As a runner that tells what it has read."""
    found = record(controller, job_id)
    told = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    inputs = tuple(one.model_copy(update=told) if one.name == name else one for one in found.inputs)
    write_record(found.model_copy(update={"inputs": inputs}), folder(controller, job_id))


def test_a_record_is_printed_for_people_and_whole_for_programs(shell: Shell, running: Controller, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine\n")
    job_id = shell.submit("--input", "own=a.txt", "--description", "a trial", "--set", "text=Ada's")
    record(running, job_id)
    told = shell.run("record", str(job_id)).stdout
    for words in (
        f"job        {job_id} of ada: done",
        "a trial",
        "copy 1.0",
        "local, snapshot local",
        "m1.4xlarge (1 CPUs, 1 GB)",
    ):
        assert words in told
    rows = [line.split() for line in told.splitlines()]
    assert ["text", "Ada's"] in rows
    assert ["a.txt", "sent"] in [row[:2] for row in rows]
    assert ["result.txt", "11"] in [row[:2] for row in rows]
    assert ["1", f"job-{job_id}", "local"] in [row[:3] for row in rows]
    whole = json.loads(shell.run("record", str(job_id), "--json").stdout)
    assert whole == json.loads(folder(running, job_id).documents.record_text())
    assert whole["settings"]["text"] == "Ada's"


def test_a_job_of_a_version_that_kept_no_record_has_what_is_known(shell: Shell, running: Controller) -> None:
    job_id = shell.submit()
    (folder(running, job_id).path / "job.json").unlink()
    whole = json.loads(shell.run("record", str(job_id), "--json").stdout)
    assert (whole["state"], whole["settings"]["text"], [one["path"] for one in whole["results"]]) == (
        "done",
        "hello",
        ["result.txt"],
    )
    assert "printf" in whole["command"]
    assert "run" not in shell.run("record", "99", code=1).stdout


def test_the_same_job_once_more_has_the_same_results(shell: Shell, running: Controller, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine\n")
    job_id = shell.submit("--input", "own=a.txt", "--description", "a trial")
    (tmp_path / "a.txt").write_text("another content\n")
    again = shell.run("rerun", str(job_id), "--wait")
    number = int(again.stdout.split()[0])
    found = record(running, number)
    assert (found.owner, found.description, found.settings) == ("ada", "a trial", record(running, job_id).settings)
    assert (folder(running, number).output / "result.txt").read_text() == "hello\nmine\n"
    assert again.stderr.strip().splitlines()[-1] == "the results are the same (1 files)"
    assert " → " not in again.stderr
    told = shell.run("record", str(number), "--compare", str(job_id)).stdout
    assert told == f"nothing that is known differs from job {job_id}; the results are the same (1 files)\n"


def test_what_differs_today_is_said_before_it_runs_and_what_came_out_after_it(
    shell: Shell, running: Controller, settings: Settings
) -> None:
    job_id = shell.submit()
    put(settings.apps, FIELDS.replace('name="text"', 'name="words"') + DICE, "echo copy 2.0")
    eventually(lambda: "dice" in running.catalog.texts()["copy_1"])
    again = shell.run("rerun", str(job_id), "--flavor", "m1.8xlarge", "--owner", "eve", "--wait", code=1)
    for words in (
        "XML of the app: ",
        "program: copy 1.0 → copy 2.0",
        "machine size: m1.4xlarge (1 CPUs, 1 GB) → m1.8xlarge (2 CPUs, 2 GB)",
        'setting text: "hello" → none',
        'setting words: none → "hello"',
        'setting dice: none → "x"',
        "of the results, 1 differ (result.txt)",
    ):
        assert words in again.stderr
    number = int(again.stdout.split()[0])
    assert record(running, number).owner == "eve"
    told = json.loads(shell.run("record", str(number), "--compare", str(job_id), "--json", code=1).stdout)
    assert told["results"]["verdict"] == "different"
    assert {"what": "program", "before": "copy 1.0", "now": "copy 2.0"} in told["differences"]


def test_a_shared_file_that_was_replaced_since_is_refused_and_the_same_content_is_taken(
    shell: Shell, running: Controller
) -> None:
    data = running.storage.data / "b.txt"
    data.write_bytes(b"first\n")
    job_id = shell.submit("--input", f"common={data}")
    remember(running, job_id, "b.txt", b"first\n")
    archive(running, job_id)
    data.write_bytes(b"other\n")
    refused = shell.run("rerun", str(job_id), code=1)
    assert "b.txt is not what job" in refused.stderr
    assert Job.select().count() == 1
    data.write_bytes(b"first\n")
    again = shell.run("rerun", str(job_id), "--wait")
    assert "the results are the same (1 files)" in again.stderr  # though the former ones are gone: their checksums are not
    number = int(again.stdout.split()[0])
    assert (folder(running, number).output / "result.txt").read_text() == "hello\nfirst\n"


def archive(controller: Controller, job_id: int) -> None:
    """Its content goes, as after data_max_age_days."""
    eventually(lambda: not living_workers())
    rules, later = Retention(controller.storage, 1), (Job.get_by_id(job_id).ended or 0) + 2 * DAY_S
    rules.remove(rules.plan(later).removals, later)
    assert state_of(job_id) is JobState.ARCHIVED
    if not (controller.storage.data / "b.txt").exists():
        (controller.storage.data / "b.txt").write_bytes(b"first\n")


@pytest.mark.parametrize(
    ("change", "words"),
    [("flavor", "the machine size m1.4xlarge is no longer offered: choose another"), ("app", "no longer offered")],
)
def test_what_is_no_longer_offered_is_named(
    shell: Shell, running: Controller, settings: Settings, change: str, words: str
) -> None:
    job_id = int(running.jobs.submit(*submission(app="copy_1", settings="{}")).id)
    if change == "flavor":
        settings.flavors.write_text(FLAVORS.replace("m1.4xlarge", "m2.small"))
    else:
        (settings.apps / "copy_1.xml").unlink()
    assert words in shell.run("rerun", str(job_id), code=1).stderr
    assert Job.select().count() == 1


def test_a_value_that_the_app_does_not_take_any_more_is_named_by_its_label(
    shell: Shell, running: Controller, settings: Settings
) -> None:
    job_id = int(running.jobs.submit(*submission(app="copy_1", settings='{"text": "long"}')).id)
    put(settings.apps, '<number name="text" label="How many" value="1"/>')
    refused = shell.run("rerun", str(job_id), code=1)
    assert "How many (text) is 'long'" in refused.stderr


def test_a_step_of_a_workflow_runs_alone_with_the_results_that_it_has_kept(shell: Shell, running: Controller) -> None:
    first = shell.submit("--workflow", "two")
    second = shell.submit("--workflow", "two", "--after", str(first), "--set", "own=%job_dir_0%/output/result.txt")
    (folder(running, first).output / "result.txt").unlink()
    (folder(running, first).output / "result.txt").write_text("another result\n")
    again = shell.run("rerun", str(second), "--wait")
    number = int(again.stdout.split()[0])
    assert (folder(running, number).output / "result.txt").read_text() == "hello\nhello\n"
    found = record(running, number)
    assert (found.start_after, found.settings["own"]) == (None, ["result.txt"])
    for path in folder(running, second).input.iterdir():
        path.unlink()
    assert f"a result of job {first}, is no longer kept" in shell.run("rerun", str(second), code=1).stderr
