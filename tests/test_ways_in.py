"""Each way in (the desktop client with its agent, the command line, plain REST): a job reads what its submitter chose."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from agent.queue.models import Job as AgentJob
from agent.queue.models import database_of
from agent.serve import Agent, make_agent
from agent.settings import RootSetting
from agent.settings import Settings as AgentSettings
from server.app import Controller
from server.cli.main import main
from server.db.models import Event, Job
from server.db.settings_store import drain, resume
from server.db.transitions import Change
from server.home.presence import announced
from server.settings import Settings
from server.states import JobState
from server.storage.inputs.pins import APART
from tests.agent.conftest import settle
from tests.api.serving import listening
from tests.api.v1.local import at_the_socket
from tests.conftest import eventually, state_of, turning

pytestmark = pytest.mark.system

APP = """\
<tool id="cat_1" name="Cat" version="1" command="true" end_tag="">
  <section name="s" title="S" expanded="true">
    <filelist name="files" label="Files" multiple="true" is_folder="false" is_raw_input="true"
              repeated_command="; cat '%value%' &gt;&gt; read.txt"/>
    <filelist name="folders" label="Folders" multiple="true" is_folder="true" is_raw_input="true"
              repeated_command="; (cd '%value%' &amp;&amp; find . -type f | sort | xargs cat) &gt;&gt; read.txt"/>
  </section>
</tool>
"""
LONG_AGO_S = 3600


class Laboratory:
    """A controller that answers, and an agent beside it; what a person does with either."""

    def __init__(self, controller: Controller, agent: Agent, url: str, source: Path) -> None:
        self.controller = controller
        self.agent = agent
        self.url = url
        self.source = source

    def write(self, name: str, text: str) -> Path:
        """A file of the person's computer, written long ago."""
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (time.time() - LONG_AGO_S,) * 2)
        return path

    def start(self, path: Path) -> tuple[int, str]:
        """What the desktop client asks first; the job's number and folder."""
        form = json.dumps({"folders" if path.is_dir() else "files": [str(path)], "app_id": "cat_1"})
        fields = {"username": "ada", "app_name": "cat_1", "strategy": "m1.4xlarge", "settings": form, "description": ""}
        number, folder = httpx.post(f"{self.url}/start", data={**fields, "workflow_name": "", "start_after_id": ""}).json()
        assert isinstance(number, int), number
        return number, folder

    def by_agent(self, path: Path) -> int:
        """The desktop client with its agent."""
        number, folder = self.start(path)
        order = {"job_id": str(number), "job_dir": folder, "owner": "ada", "files": json.dumps([str(path)]), "local_files": "[]"}
        self.agent.app.test_client().post("/send-rsync", data=order, base_url="http://127.0.0.1")
        settle(self.agent)
        return number

    def by_command(self, path: Path) -> int:
        """The command line."""
        field = "folders" if path.is_dir() else "files"
        words = ["submit", "cat_1", "--input", f"{field}={path}", "--owner", "ada", "--flavor", "m1.4xlarge"]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        return int(done.stdout)

    def by_hand(self, path: Path) -> int:
        """REST, and whatever copies files: into the job's own folder, then the marker."""
        number, folder = self.start(path)
        place = self.controller.storage.folder(folder)
        (shutil.copytree if path.is_dir() else shutil.copy)(path, place.input / path.name)
        place.mark_arrived()
        return number

    def read(self, number: int) -> str:
        """What the job has read, once it is done."""
        self.controller.loop.wake()
        eventually(lambda: state_of(number).is_final)
        job = Job.get_by_id(number)
        assert job.state == JobState.DONE, job.message
        return self.controller.storage.folder(job.folder).results.file("read.txt").read_text()

    def told(self, number: int) -> list[str]:
        """What the submitter was told of the input."""
        rows = Event.select().where(Event.subject == "job", Event.subject_id == number, Event.new == "", Event.text != "")
        return [row.text for row in rows]

    def is_queued(self, number: int) -> None:
        """Return when the job waits for a machine."""
        self.controller.loop.wake()
        eventually(lambda: state_of(number) is JobState.QUEUED)


WAYS: dict[str, Callable[[Laboratory, Path], int]] = {
    "agent": Laboratory.by_agent,
    "command": Laboratory.by_command,
    "hand": Laboratory.by_hand,
}
Send = Callable[[Laboratory, Path], int]


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    apps = tmp_path / "apps"
    apps.mkdir()
    (apps / "cat.xml").write_text(APP)
    return settings.model_copy(update={"apps": apps})


@pytest.fixture
def laboratory(
    controller: Controller, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Laboratory]:
    for name in ("home", "apps", "flavors"):
        monkeypatch.setenv(f"CUMULUS_{name.upper()}", str(getattr(settings, name)))
    source = tmp_path / "instrument"
    source.mkdir()
    root = RootSetting(path=str(source))
    agent = make_agent(
        AgentSettings(home=tmp_path / "agent", target=str(controller.storage.root), roots=(root,), stable_s=0.1, fsync=False)
    )
    with turning(controller), listening(controller) as port, at_the_socket(controller):
        url = f"http://127.0.0.1:{port}"
        with announced(settings.home, url):
            yield Laboratory(controller, agent, url, source)
    agent.loop.stop()
    database_of(AgentJob).close()


@pytest.fixture(params=WAYS)
def send(request: pytest.FixtureRequest) -> Send:
    return WAYS[request.param]


@pytest.fixture
def held(laboratory: Laboratory) -> Callable[[], None]:
    """Jobs wait for their machines until it is called."""
    drain("a test", Change(time.time()))
    return lambda: resume(Change(time.time()))


@pytest.mark.parametrize("first", WAYS)
def test_another_file_of_the_same_name_and_size_is_read_by_its_own_job_alone(
    laboratory: Laboratory, send: Send, first: str, held: Callable[[], None]
) -> None:
    """Whoever sent the first; it waits meanwhile."""
    before = WAYS[first](laboratory, laboratory.write("one/db.txt", "chosen"))
    after = send(laboratory, laboratory.write("two/db.txt", "other_"))
    held()
    assert (laboratory.read(before), laboratory.read(after)) == ("chosen", "other_")
    assert laboratory.told(after) == ([] if first == "hand" else [f"db.txt: {APART}"])


def test_the_same_file_is_stored_once(laboratory: Laboratory, send: Send) -> None:
    if send is Laboratory.by_hand:
        pytest.skip("nobody compares what is copied by hand")
    jobs = [send(laboratory, laboratory.write(f"{place}/a.txt", "same")) for place in ("one", "two")]
    assert [laboratory.read(job) for job in jobs] == ["same", "same"]
    assert (laboratory.controller.storage.data / "a.txt").stat().st_nlink == 3
    assert laboratory.told(jobs[1]) == []


@pytest.mark.parametrize("how", ["replaced", "removed", "the source is edited"])
def test_what_happens_to_a_file_later_is_nothing_to_its_job(
    laboratory: Laboratory, send: Send, held: Callable[[], None], how: str
) -> None:
    path, shared = laboratory.write("a.txt", "chosen"), laboratory.controller.storage.data / "a.txt"
    job = send(laboratory, path)
    laboratory.is_queued(job)
    if how == "the source is edited":
        path.write_text("edited")
    elif send is not Laboratory.by_hand:
        shared.unlink()
    if how == "replaced":
        shared.write_text("edited")
    held()
    assert laboratory.read(job) == "chosen"


def test_a_file_that_was_edited_to_the_same_size_is_sent_as_it_is_now(laboratory: Laboratory, send: Send) -> None:
    before = laboratory.read(send(laboratory, laboratory.write("db.txt", "before")))
    assert (before, laboratory.read(send(laboratory, laboratory.write("db.txt", "after_")))) == ("before", "after_")


def test_a_folder_that_is_sent_again_has_no_leftovers(laboratory: Laboratory, send: Send) -> None:
    laboratory.write("x.d/1", "one ")
    folder = laboratory.write("x.d/2", "two ").parent
    assert laboratory.read(send(laboratory, folder)) == "one two "
    assert laboratory.read(send(laboratory, folder)) == "one two "
    (folder / "1").unlink()
    laboratory.write("x.d/3", "three")
    assert laboratory.read(send(laboratory, folder)) == "two three"
    for place in (laboratory.controller.storage.data, *laboratory.controller.storage.jobs.glob("*/input")):
        assert [path.name for path in place.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["a", "ä" * 125 + ".txt", "it's R&D [1] %41.txt"])
def test_any_name_gets_in(laboratory: Laboratory, send: Send, name: str) -> None:
    assert laboratory.read(send(laboratory, laboratory.write(name, "chosen"))) == "chosen"
