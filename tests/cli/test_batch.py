"""`cumulus batch`, `preset` and `usage` beside a controller and without one: what is typed, sent and printed."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from programs.errors import login
from server.app import Controller
from server.cli.main import main
from server.db.models import Batch, Job
from server.home.running import announce, withdraw
from server.settings import Settings
from server.states import JobState
from server.storage.inputs.arrivals import read_sent
from tests.api.v1.local import at_the_socket
from tests.conftest import eventually, turning

pytestmark = pytest.mark.system


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """With apps that a test may add to."""
    return settings.model_copy(update={"apps": shutil.copytree(settings.apps, tmp_path / "apps")})


@pytest.fixture
def place(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where somebody works: some files, and settings that name the installation."""
    for name in ("home", "apps", "flavors", "cloud", "min_free_gb", "default_flavor"):
        monkeypatch.setenv(f"CUMULUS_{name.upper()}", str(getattr(settings, name)))
    folder = tmp_path / "work"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.dat").write_text(name * 5)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def running(controller: Controller, place: Path) -> Iterator[Controller]:
    """A controller whose loop turns and that commands find."""
    assert place.is_dir()
    with turning(controller), at_the_socket(controller):
        announce(controller.settings.home, "http://127.0.0.1:9")
        try:
            yield controller
        finally:
            withdraw(controller.settings.home)


def cumulus(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == code, (done.output, done.exception)
    return done


def jobs(batch: int) -> list[Job]:
    return list(Job.select().where(Job.batch_id == batch).order_by(Job.id))


def read(controller: Controller, job: Job) -> str:
    """What the job has read."""
    return " ".join(path.read_text() for path in sorted(controller.storage.folder(job.folder).input.iterdir()))


def test_a_job_for_each_file_runs_with_what_was_sent(running: Controller) -> None:
    done = cumulus("batch", "submit", "probe_1.0", "a.dat", "b.dat", "--set", "text=hi", "--name", "Two", "--wait")
    assert done.stdout == "1\n"
    assert "2 jobs: 1 to 2" in done.stderr
    assert [(job.state, job.batch_label, read(running, job)) for job in jobs(1)] == [
        ("done", "a.dat", "aaaaa"),
        ("done", "b.dat", "bbbbb"),
    ]
    assert {job.owner for job in jobs(1)} == {login()}
    shown = cumulus("batch", "show", "1").stdout
    assert "batch 1 of" in shown
    assert "2 done" in shown
    assert "Two" in cumulus("batch", "list").stdout


def test_a_pattern_in_quotes_is_resolved(running: Controller) -> None:
    cumulus("batch", "submit", "probe_1.0", "*.dat")
    assert [job.batch_label for job in jobs(1)] == ["a.dat", "b.dat", "c.dat"]


def test_the_files_of_a_sheet_are_found_beside_it_and_in_the_storage(running: Controller, place: Path) -> None:
    (place / "far").mkdir()
    (place / "far" / "own.dat").write_text("own")
    (place / "far" / "sheet.csv").write_text("inputs,label\nown.dat,here\nold.dat,there\n")
    (running.storage.data / "old.dat").write_text("old")
    planned = json.loads(cumulus("batch", "submit", "probe_1.0", "--sheet", "far/sheet.csv", "--check", "--json").stdout)
    assert [(job["label"], [file["is_stored"] for file in job["files"]]) for job in planned["jobs"]] == [
        ("here", [False]),
        ("there", [True]),
    ]
    assert Batch.select().count() == 0
    cumulus("batch", "submit", "probe_1.0", "--sheet", "far/sheet.csv", "--wait")
    assert [(job.batch_label, read(running, job)) for job in jobs(1)] == [("here", "own"), ("there", "old")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gone.dat",), "there is no file gone.dat"),
        (("a.dat", "--set", "text"), "--set text: a field is set by NAME=VALUE"),
        (("a.dat", "--set", "nothing=1"), "Probe has no field 'nothing'"),
        (("a.dat", "--flavor", "none"), "there is no machine size 'none'"),
        (("a.dat", "--preset", "none"), "there is no preset none"),
        (("a.dat", "--column", "x"), "--column x: a column's field is said by COLUMN=NAME"),
        (("a.dat", "--name", "x" * 201), "name: String should have at most 200 characters"),
        (("--sheet", "bad.csv"), "row 3, column 'outcome': How to end is 'maybe', not one of ok, fail, hang"),
        (("--sheet", "missing.csv"), "row 2, inputs: there is no file gone.dat here, and the storage has none of that name"),
        (("--sheet", "latin.csv"), 'the sheet is no text in UTF-8: save it as "CSV UTF-8"'),
        ((), "a batch has either files or a sample sheet, this has neither"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_sent(
    running: Controller, place: Path, words: tuple[str, ...], message: str
) -> None:
    (place / "bad.csv").write_text("inputs,outcome\na.dat,ok\nb.dat,maybe\n")
    (place / "missing.csv").write_text("inputs\ngone.dat\n")
    (place / "latin.csv").write_bytes("inputs,text\na.dat,grün\n".encode("latin-1"))
    assert message in cumulus("batch", "submit", "probe_1.0", *words, code=1).stderr
    assert (Job.select().count(), list(running.storage.data.iterdir())) == (0, [])


def test_a_file_that_all_jobs_use_is_read_once(running: Controller, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from server.storage.inputs.copying import Source

    text = (running.settings.apps / "probe_1.0.xml").read_text()
    apps = running.settings.apps
    field = '<filelist name="database" label="Database" multiple="false" is_folder="false" is_raw_input="{}" {}/>'
    unused = 'repeated_command="true;"'
    for name, shared in (("shared", "true"), ("own", "false")):
        whole = text.replace("probe_1.0", f"{name}_1.0").replace("<number", f"{field.format(shared, unused)}\n    <number")
        (apps / f"{name}_1.0.xml").write_text(whole)
    (place / "all.fasta").write_text(">x")
    reads: list[str] = []
    kinds: tuple[str, ...] = ("read", "copy", "compare")
    for kind in kinds:
        original: Callable[..., Any] = getattr(Source, kind)

        def counted(source: Source, *given: Any, original: Callable[..., Any] = original) -> Any:
            reads.append(source.path.name)
            return original(source, *given)

        monkeypatch.setattr(Source, kind, counted)
    cumulus("batch", "submit", "shared_1.0", "a.dat", "b.dat", "c.dat", "--each", "inputs", "--input", "database=all.fasta")
    assert reads.count("all.fasta") <= 2  # compared with nothing, copied
    reads.clear()
    cumulus("batch", "submit", "own_1.0", "a.dat", "b.dat", "c.dat", "--each", "inputs", "--input", "database=all.fasta")
    assert reads.count("all.fasta") <= 2
    for batch in (1, 2):
        for job in jobs(batch):
            sent = read_sent(running.storage.folder(job.folder))
            assert sent is not None
            assert sorted(Path(one.path).name for one in sent.files) == sorted(["all.fasta", job.batch_label])
            assert (running.storage.folder(job.folder).input / "all.fasta").exists() or batch == 1
    own = [running.storage.folder(job.folder).input / "all.fasta" for job in jobs(2)]
    assert len({path.stat().st_ino for path in own}) == 1


def test_only_the_failed_jobs_are_retried(running: Controller, place: Path) -> None:
    (place / "s.csv").write_text("inputs,outcome\na.dat,ok\nb.dat,fail\n")
    assert "1 done, 1 failed" in cumulus("batch", "submit", "probe_1.0", "--sheet", "s.csv", "--wait", code=3).stderr
    assert cumulus("batch", "retry", "1", "--wait", code=3).stdout == "3\n"
    assert "3 (try 2)" in cumulus("batch", "show", "1", "--state", "failed").stdout
    assert [(job.batch_label, job.state) for job in jobs(1)] == [("a.dat", "done"), ("b.dat", "failed"), ("b.dat", "failed")]
    assert read(running, jobs(1)[2]) == "bbbbb"


def test_a_batch_is_cancelled_and_deleted(running: Controller) -> None:
    cumulus("batch", "submit", "probe_1.0", "a.dat", "b.dat", "--set", "outcome=hang")
    eventually(lambda: any(job.state == JobState.RUNNING for job in jobs(1)))
    assert cumulus("batch", "cancel", "1").stdout == "2 jobs of batch 1 are cancelled\n"
    assert "had already ended" in cumulus("batch", "cancel", "1", code=1).stderr
    assert cumulus("batch", "delete", "1").stdout == "Batch 1 is deleted, with 2 jobs\n"
    assert "there is no batch 1" in cumulus("batch", "show", "1", code=1).stderr
    assert cumulus("batch", "list").stdout == "there is no batch yet\n"


def test_where_the_files_cannot_be_sent_the_batch_is_cancelled(running: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    from server.cli.batch import sending
    from server.errors import InvalidInput

    def fails(*_: object, **__: object) -> None:
        raise InvalidInput("the storage takes nothing")

    monkeypatch.setattr(sending, "deliver", fails)
    assert (
        "batch 1 is cancelled: its files were not sent"
        in cumulus("batch", "submit", "probe_1.0", "a.dat", "b.dat", code=1).stderr
    )
    assert {job.state for job in jobs(1)} == {"cancelled"}


def test_without_a_controller_no_batch_is_made(controller: Controller, place: Path) -> None:
    assert place.is_dir()
    refused = cumulus("batch", "submit", "probe_1.0", "a.dat", "b.dat", code=1)
    assert "no controller runs on this installation" in refused.stderr
    assert "b.dat" in cumulus("batch", "submit", "probe_1.0", "a.dat", "b.dat", "--check").stdout
    assert not Job.select().exists()


def test_a_preset_begins_a_batch(running: Controller) -> None:
    assert cumulus("preset", "save", "quick", "probe_1.0", "--set", "text=preset", "--description", "for tests").exit_code == 0
    assert "quick" in cumulus("preset", "list", "--app", "probe_1.0").stdout
    assert "preset" in cumulus("preset", "show", "quick").stdout
    cumulus("batch", "submit", "probe_1.0", "a.dat", "--preset", "quick", "--set", "seconds=0")
    assert json.loads(jobs(1)[0].settings)["text"] == "preset"
    assert cumulus("preset", "delete", "quick").stdout == "Preset quick is deleted\n"
    assert "there is no preset quick" in cumulus("preset", "show", "quick", code=1).stderr
    assert running.database is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("save", "a/b", "probe_1.0"), "name: String should match pattern"),
        (("save", "x", "none_1"), "none_1"),
        (("save", "x", "probe_1.0", "--set", "seconds=soon"), "Seconds to wait"),
        (("save", "x", "probe_1.0", "--group", "none"), "there is no group none"),
        (("delete", "none"), "there is no preset none"),
    ],
)
def test_what_no_preset_can_be_is_refused(running: Controller, words: tuple[str, ...], message: str) -> None:
    assert message in cumulus("preset", *words, code=1).stderr
    assert running.database is not None


def test_usage_is_a_table_json_and_csv(running: Controller) -> None:
    cumulus("batch", "submit", "probe_1.0", "a.dat", "b.dat", "--wait")
    table = cumulus("usage", "--by", "user", "--by", "app")
    assert [line.split()[:4] for line in table.stdout.splitlines()][1] == [login(), "probe_1.0", "2", "0.0"]
    found = json.loads(cumulus("usage", "--by", "app", "--json").stdout)
    assert [(row["app"], row["jobs"]) for row in found["rows"]] == [("probe_1.0", 2)]
    assert found["rows"][0]["weight_hours"] > 0
    (line,) = csv.DictReader(io.StringIO(cumulus("usage", "--by", "month", "--csv").stdout))
    assert line["jobs"] == "2"
    assert "is not a day as YYYY-MM-DD" in cumulus("usage", "--from", "2026-02-30", code=1).stderr
    assert "first: String should match pattern" in cumulus("usage", "--from", "yesterday", code=1).stderr
    assert running.database is not None
