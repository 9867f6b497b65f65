"""`cumulus submit` and `workflow run` with a controller: a job reads what was typed, and what becomes of it is told."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.app import Controller
from server.cli.main import main
from server.db.models import Event, Job
from server.home.presence import announced
from server.settings import Settings
from server.states import JobState
from server.storage.inputs.arrivals import read_sent
from server.storage.inputs.pins import APART
from tests.api.v1.local import at_the_socket
from tests.conftest import TEST_APPS, eventually, state_of, turning

pytestmark = pytest.mark.system

STEPS = """\
<workflow id="twice_1.0" name="Twice" version="1.0" description="Two steps with a file each" category="Tests">
  <tool id="probe_1.0"/>
  <tool id="probe_1.0"/>
</workflow>
"""


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    apps = tmp_path / "apps"
    apps.mkdir()
    (apps / "probe_1.0.xml").write_text((TEST_APPS / "probe_1.0.xml").read_text())
    (apps / "twice_1.0.xml").write_text(STEPS)
    return settings.model_copy(update={"apps": apps})


@pytest.fixture
def running(controller: Controller, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Controller]:
    """A controller that the commands find, in a folder with two files of one name."""
    for name in ("home", "apps", "flavors"):
        monkeypatch.setenv(f"CUMULUS_{name.upper()}", str(getattr(settings, name)))
    monkeypatch.chdir(tmp_path)
    for folder, text in (("one", "first"), ("two", "2nd__")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.dat").write_text(text)
    with turning(controller), at_the_socket(controller), announced(settings.home, "http://127.0.0.1:1"):
        yield controller


def cumulus(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--owner", "ada", "--flavor", "m1.4xlarge"])


def jobs(done: Result) -> list[Job]:
    assert done.exit_code == 0, done.stderr
    return [Job.get_by_id(int(line)) for line in done.stdout.split()]


def read(controller: Controller, job: Job) -> str:
    """What the job read, by the plan of its machine."""
    eventually(lambda: state_of(job.id).is_final)
    assert state_of(job.id) is JobState.DONE, Job.get_by_id(job.id).message
    folder = controller.storage.folder(job.folder)
    plan = json.loads((folder.path / ".cumulus.plan").read_text())
    return " ".join((folder.input / one["name"]).read_text() for one in plan["inputs"])


def told(job: Job) -> list[str]:
    rows = Event.select().where(Event.subject == "job", Event.subject_id == job.id, Event.new == "", Event.text != "")
    return [row.text for row in rows]


def test_another_file_of_the_same_name_is_kept_apart_and_that_is_said(running: Controller) -> None:
    first = cumulus("submit", "probe_1.0", "--input", "inputs=one/a.dat")
    second = cumulus("submit", "probe_1.0", "--input", "inputs=two/a.dat")
    again = cumulus("submit", "probe_1.0", "--input", "inputs=one/a.dat")
    assert (first.stderr, second.stderr, again.stderr) == ("", f"a.dat: {APART}\n", "")
    assert [read(running, *jobs(done)) for done in (first, second, again)] == ["first", "2nd__", "first"]
    assert told(jobs(second)[0]) == [f"a.dat: {APART}"]


def test_a_file_of_the_storage_is_used_if_that_is_said_and_its_checksum_is_kept(running: Controller) -> None:
    (running.storage.data / "a.dat").write_text("stored")
    form = Path("form.json")
    form.write_text(json.dumps({"inputs": ["C:/far/a.dat"]}))
    refused = cumulus("submit", "probe_1.0", "--settings", str(form))
    assert refused.exit_code == 1
    assert "'a.dat' is not sent; send it: --input inputs=PATH, or use the storage's: --shared inputs=a.dat" in refused.stderr
    for option in (["--shared", "inputs=a.dat"], ["--settings", str(form), "--shared", "a.dat"]):
        (job,) = jobs(cumulus("submit", "probe_1.0", *option))
        assert read(running, job) == "stored"
        sent = read_sent(running.storage.folder(job.folder))
        assert sent is not None
        (arrival,) = sent.files
        assert arrival.checksum.startswith("sha256:")
        assert told(job) == [f"a.dat: not sent, the storage's file is used ({arrival.checksum})"]


def test_two_files_of_one_name_are_refused_before_anything_is_sent(running: Controller) -> None:
    refused = cumulus("submit", "probe_1.0", "--input", "inputs=one/a.dat", "--input", "inputs=two/a.dat")
    assert refused.exit_code == 1
    assert "have the same name: rename one of them" in refused.stderr
    assert (Job.select().count(), list(running.storage.data.iterdir())) == (0, [])


def test_the_steps_of_a_workflow_have_two_files_of_one_name(running: Controller) -> None:
    done = cumulus("workflow", "run", "twice_1.0", "--input", "0:inputs=one/a.dat", "--input", "1:inputs=two/a.dat")
    assert [read(running, job) for job in jobs(done)] == ["first", "2nd__"]
    assert done.stderr == f"a.dat: {APART}\n"


def test_a_step_of_a_workflow_uses_a_file_of_the_storage(running: Controller) -> None:
    (running.storage.data / "b.dat").write_text("stored")
    done = cumulus("workflow", "run", "twice_1.0", "--input", "0:inputs=one/a.dat", "--shared", "1:inputs=b.dat")
    assert [read(running, job) for job in jobs(done)] == ["first", "stored"]
