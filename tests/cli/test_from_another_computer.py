"""Commands of a computer that shares no folder with the controller: files come by uploads, over lines that break, too."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cumulus_client import Cumulus, Refused
from cumulus_client.uploads import Uploader
from server.app import Controller
from server.cli.main import main
from server.db.models import Batch, Event, Job, Upload
from server.services.accounts.groups import GroupService
from server.services.accounts.tokens import TokenService
from server.services.accounts.users import NewUser, UserChanges, UserService
from server.services.principal import Principal
from server.settings import Settings
from server.states import JobState, UploadState
from server.storage.inputs.arrivals import read_sent
from tests.api.serving import listening
from tests.conftest import TEST_APPS, eventually, state_of, turning
from tests.services.uploads.lines import line_to

pytestmark = pytest.mark.system

ROOT = Principal.local_admin("root")
MB = 1 << 20
FORM = json.dumps({"text": "hello", "seconds": "0", "outcome": "ok"})
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


def token_of(name: str) -> str:
    return TokenService(time.time).create(ROOT, "laptop", ["read", "submit"], owner=name).text


@pytest.fixture
def url(controller: Controller, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A controller that ada has logged in to. Her computer has another storage, with files that must not be taken."""
    for name in ("ada", "eve"):
        UserService(time.time).create(ROOT, NewUser(name))
    own = tmp_path / "laptop"
    (own / "storage" / "data").mkdir(parents=True)
    (own / "storage" / "jobs").mkdir()
    (own / "storage" / "data" / "only-here.dat").write_text("of this computer")
    for name, value in {"HOME": own, "STORAGE": own / "storage", "APPS": own / "none", "FLAVORS": own / "none.tsv"}.items():
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CUMULUS_TOKEN", token_of("ada"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    with turning(controller), listening(controller) as port:
        monkeypatch.setenv("CUMULUS_URL", f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"


def cumulus(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == code, done.output
    return done


def submit(*arguments: str, code: int = 0) -> Result:
    return cumulus("submit", "probe_1.0", "--flavor", "m1.4xlarge", *arguments, code=code)


def job_of(done: Result) -> Job:
    return Job.get_by_id(int(done.stdout.split()[-1]))


def read(controller: Controller, job: Job) -> str:
    """What the job read, once it is done."""
    eventually(lambda: state_of(job.id).is_final)
    assert state_of(job.id) is JobState.DONE, Job.get_by_id(job.id).message
    folder = controller.storage.folder(job.folder)
    plan = json.loads((folder.path / ".cumulus.plan").read_text())
    return " ".join((folder.input / one["name"]).read_text() for one in plan["inputs"])


def made(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


def test_a_job_with_a_file_of_another_computer_is_the_token_s_user_s(controller: Controller, url: str) -> None:
    job = job_of(submit("--input", f"inputs={made('a.dat', 'first')}"))
    assert job.owner == "ada"
    assert read(controller, job) == "first"
    assert (controller.storage.data / "a.dat").read_text() == "first"
    sent = read_sent(controller.storage.folder(job.folder))
    assert sent is not None
    assert [one.path for one in sent.files] == ["data/a.dat"]
    assert sent.files[0].checksum.startswith("sha256:")


def test_another_file_of_the_same_name_is_kept_apart_and_that_is_said(controller: Controller, url: str) -> None:
    (controller.storage.data / "a.dat").write_text("stored")
    done = submit("--input", f"inputs={made('a.dat', 'my own')}")
    assert read(controller, job_of(done)) == "my own"
    assert "a.dat: the storage has another file of this name" in done.stderr
    assert (controller.storage.data / "a.dat").read_text() == "stored"


def test_what_the_storage_has_is_used_and_what_only_this_computer_has_is_not(controller: Controller, url: str) -> None:
    (controller.storage.data / "s.dat").write_text("stored")
    job = job_of(submit("--input", f"inputs={made('a.dat', 'first')}", "--shared", "inputs=s.dat"))
    assert sorted(read(controller, job).split()) == ["first", "stored"]
    told = [row.text for row in Event.select().where(Event.subject == "job", Event.subject_id == job.id)]
    assert any(text.startswith("s.dat: not sent, the storage's file is used (sha256:") for text in told)
    only_stored = job_of(submit("--shared", "inputs=s.dat"))
    assert read(controller, only_stored) == "stored"
    refused = submit("--shared", "inputs=only-here.dat", code=1)
    assert "the storage has no shared file 'only-here.dat'" in refused.stderr
    assert Job.select().count() == 2


def test_a_job_without_files_starts_at_once(controller: Controller, url: str) -> None:
    assert read(controller, job_of(submit("--set", "text=hello"))) == ""


def test_a_file_over_a_line_that_breaks_arrives_whole(controller: Controller, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(256)) * (20 * MB // 256)
    Path("long.dat").write_bytes(content)
    with line_to(url, 6 * MB) as line:
        monkeypatch.setenv("CUMULUS_URL", f"http://127.0.0.1:{line.own_port}")
        job = job_of(submit("--input", "inputs=long.dat"))
        assert line.cuts >= 3
    eventually(lambda: state_of(job.id).is_final)
    assert state_of(job.id) is JobState.DONE
    assert (controller.storage.data / "long.dat").read_bytes() == content


def test_a_file_that_cannot_be_read_or_an_interruption_cancels_the_job(
    controller: Controller, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made("a.dat", "first")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Uploader, "send", interrupted)
    done = CliRunner().invoke(main, ["submit", "probe_1.0", "--flavor", "m1.4xlarge", "--input", "inputs=a.dat"])
    assert done.exit_code != 0
    (job,) = Job.select()
    assert f"job {job.id} is cancelled: its files were not sent" in done.stderr
    eventually(lambda: state_of(job.id) is JobState.CANCELLED)
    assert not list(controller.storage.data.iterdir())


def test_what_the_quota_does_not_allow_cancels_the_job_and_says_so(controller: Controller, url: str) -> None:
    UserService(time.time).change(ROOT, "ada", UserChanges(quota_gb=0.000001))  # 1,000 bytes
    refused = submit("--input", f"inputs={made('a.dat', 'x' * 2000)}", code=1)
    assert "ada may store" in refused.stderr
    (job,) = Job.select()
    eventually(lambda: state_of(job.id) is JobState.CANCELLED)
    assert "ada: 0.00 GB of 0.00 GB" in cumulus("storage", "quota").stdout
    found = json.loads(cumulus("storage", "quota", "--json").stdout)
    assert (found["limit_bytes"], found["left_bytes"], found["groups"]) == (1000, 1000, [])


def test_the_quota_of_a_group_is_said(controller: Controller, url: str) -> None:
    groups = GroupService(time.time)
    groups.create(ROOT, "mass", quota_gb=1.0)
    groups.add_member(ROOT, "mass", "ada")
    cumulus("storage", "put", made("a.dat", "x" * 10))
    found = json.loads(cumulus("storage", "quota", "--json").stdout)
    assert found["groups"] == [{"group": "mass", "used_bytes": 10, "limit_bytes": 10**9}]
    assert (found["used_bytes"], found["limit_bytes"], found["left_bytes"]) == (10, None, 10**9 - 10)


def test_a_folder_is_refused_before_anything_is_submitted(controller: Controller, url: str) -> None:
    Path("run.d").mkdir()
    done = CliRunner().invoke(main, ["storage", "put", "run.d"])
    assert done.exit_code == 1
    assert "run.d is a folder, which cannot be sent over the network yet" in done.stderr
    assert Upload.select().count() == 0


def test_a_folder_of_the_storage_is_used_where_nothing_is_sent(controller: Controller, url: str) -> None:
    text = (TEST_APPS / "probe_1.0.xml").read_text().replace("probe_1.0", "folder_1.0")
    flags = 'multiple="false" is_folder="true" is_raw_input="true" repeated_command="true;"'
    field = f'<filelist name="run" label="Run" {flags}/>'
    (controller.settings.apps / "folder_1.0.xml").write_text(text.replace("<number", f"{field}\n    <number", 1))
    folder = controller.storage.data / "run.x"
    folder.mkdir()
    (folder / "analysis").write_text("spectra")
    options = ("--flavor", "m1.4xlarge", "--shared", "run=run.x")
    job = job_of(cumulus("submit", "folder_1.0", *options))
    eventually(lambda: state_of(job.id).is_final)
    assert state_of(job.id) is JobState.DONE, Job.get_by_id(job.id).message
    refused = cumulus("submit", "folder_1.0", *options, "--input", f"inputs={made('a.dat', 'x')}", code=1)
    assert "run.x is a folder of the storage, which cannot be used together" in refused.stderr
    Path("mine.x").mkdir()
    assert "mine.x is a folder" in cumulus("submit", "folder_1.0", "--input", "run=mine.x", code=1).stderr
    assert Job.select().count() == 1


def test_the_steps_of_a_workflow_get_their_files(controller: Controller, url: str) -> None:
    made("a.dat", "first")
    made("b.dat", "second")
    inputs = ("--input", "0:inputs=a.dat", "--input", "1:inputs=b.dat")
    done = cumulus("workflow", "run", "twice_1.0", "--flavor", "m1.4xlarge", *inputs)
    assert [read(controller, Job.get_by_id(int(line))) for line in done.stdout.split()] == ["first", "second"]


def test_a_batch_sends_what_all_jobs_use_once(controller: Controller, url: str) -> None:
    for number in range(3):
        made(f"{number}.dat", f"run {number}")
    made("all.dat", "shared")
    text = (TEST_APPS / "probe_1.0.xml").read_text().replace("probe_1.0", "two_1.0")
    flags = 'multiple="false" is_folder="false" is_raw_input="true" repeated_command="true;"'
    field = f'<filelist name="database" label="Database" {flags}/>'
    (controller.settings.apps / "two_1.0.xml").write_text(text.replace("<number", f"{field}\n    <number", 1))
    options = ("--flavor", "m1.4xlarge", "--each", "inputs", "--input", "database=all.dat")
    cumulus("batch", "submit", "two_1.0", "0.dat", "1.dat", "2.dat", *options)
    found = [sorted(read(controller, job).split()) for job in list(Job.select())]
    assert sorted(found) == [sorted(["shared", "run", str(number)]) for number in range(3)]
    assert Batch.select().count() == 1
    assert Upload.select().where(Upload.name == "all.dat", ~Upload.stored).count() == 1
    assert Upload.select().where(Upload.name == "all.dat", Upload.stored).count() == 2


def test_submit_each_makes_a_batch_of_the_files_of_one_field(controller: Controller, url: str) -> None:
    for number in range(2):
        made(f"{number}.dat", f"run {number}")
    done = submit("0.dat", "--input", "inputs=1.dat", "--each", "inputs")
    (batch,) = Batch.select()
    assert done.stdout.split() == [str(batch.id)]
    assert batch.owner == "ada"
    assert sorted(read(controller, job) for job in list(Job.select())) == ["run 0", "run 1"]
    assert "say which field it is for" in submit("0.dat", code=1).stderr
    assert "no files are given" in submit("--each", "inputs", code=1).stderr
    assert "starts after no job" in submit("0.dat", "--each", "inputs", "--after", "1", code=1).stderr


def test_a_preset_begins_a_job_and_its_files_are_the_storage_s(controller: Controller, url: str) -> None:
    (controller.storage.data / "s.dat").write_text("stored")
    save = ("preset", "save", "plasma", "probe_1.0", "--set", "text=of the preset", "--shared", "inputs=s.dat")
    cumulus(*save, "--flavor", "m1.4xlarge")
    job = job_of(cumulus("submit", "probe_1.0", "--preset", "plasma", "--set", "text=mine"))
    assert read(controller, job) == "stored"
    assert (json.loads(job.settings)["text"], job.flavor) == ("mine", "m1.4xlarge")
    other = job_of(cumulus("submit", "probe_1.0", "--preset", "plasma"))
    assert json.loads(other.settings)["text"] == "of the preset"
    assert "no preset" in submit("--preset", "unknown", code=1).stderr


def test_a_job_runs_once_more_with_the_files_that_it_has_read(controller: Controller, url: str) -> None:
    job = job_of(submit("--input", f"inputs={made('a.dat', 'first')}"))
    assert read(controller, job) == "first"
    again = job_of(cumulus("rerun", str(job.id)))
    assert again.id != job.id
    assert read(controller, again) == "first"


def test_another_user_s_job_is_not_run_again(controller: Controller, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(submit("--input", f"inputs={made('a.dat', 'first')}"))
    read(controller, job)
    monkeypatch.setenv("CUMULUS_TOKEN", token_of("eve"))
    cumulus("rerun", str(job.id), code=1)
    with pytest.raises(Refused):
        Cumulus.at(url, token_of("eve")).submissions.rerun(job.id)
    assert Job.select().count() == 1


def test_files_are_put_listed_fetched_and_removed(controller: Controller, url: str) -> None:
    (controller.storage.data / "of-the-lab.dat").write_text("lab")
    assert cumulus("storage", "put", made("a.dat", "mine")).stdout == "a.dat\n"
    listed = {one["path"]: one for one in json.loads(cumulus("storage", "ls", "--json").stdout)}
    assert {name: (one["size"], one["owner"], one["kind"]) for name, one in listed.items()} == {
        "a.dat": (4, "ada", "file"),
        "of-the-lab.dat": (3, "", "file"),
    }
    assert cumulus("storage", "get", "of-the-lab.dat", "--to", "here").stdout == "here/of-the-lab.dat\n"
    assert Path("here/of-the-lab.dat").read_text() == "lab"
    assert "a.dat is removed" in cumulus("storage", "rm", "a.dat").stdout
    assert not (controller.storage.data / "a.dat").exists()
    assert Upload.get().state == UploadState.GONE
    assert json.loads(cumulus("storage", "quota", "--json").stdout)["used_bytes"] == 0
    assert "a.dat" in CliRunner().invoke(main, ["storage", "rm", "a.dat"]).stderr
    assert "nobody has sent of-the-lab.dat by HTTP" in cumulus("storage", "rm", "of-the-lab.dat", code=1).stderr


def test_a_name_that_is_taken_is_not_replaced_and_a_broken_line_is_continued(
    controller: Controller, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (controller.storage.data / "a.dat").write_text("stored")
    made("a.dat", "another")
    Path("long.dat").write_bytes(b"x" * 20 * MB)
    with line_to(url, 6 * MB) as line:
        monkeypatch.setenv("CUMULUS_URL", f"http://127.0.0.1:{line.own_port}")
        done = cumulus("storage", "put", "a.dat", "long.dat", code=1)
        assert line.cuts >= 3
    assert done.stdout == "long.dat\n"
    assert "the storage has another file called a.dat" in done.stderr
    assert (controller.storage.data / "a.dat").read_text() == "stored"
    assert (controller.storage.data / "long.dat").stat().st_size == 20 * MB


def test_another_user_s_file_and_one_that_a_job_wants_stay(
    controller: Controller, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cumulus("storage", "put", made("a.dat", "mine"))
    monkeypatch.setenv("CUMULUS_TOKEN", token_of("eve"))
    assert "a.dat was sent by ada" in cumulus("storage", "rm", "a.dat", code=1).stderr
    monkeypatch.setenv("CUMULUS_TOKEN", token_of("ada"))
    slow = job_of(submit("--shared", "inputs=a.dat", "--set", "seconds=600"))
    assert "a.dat is wanted by a job" in cumulus("storage", "rm", "a.dat", code=1).stderr
    cumulus("cancel", str(slow.id))
    eventually(lambda: state_of(slow.id).is_final)
    assert "a.dat is removed" in cumulus("storage", "rm", "a.dat").stdout


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", ".", "..", "no-such", ".hidden", "x/../../y", ".cumulus.ledger"])
def test_wrong_names_are_refused_and_nothing_is_changed(controller: Controller, url: str, name: str) -> None:
    (controller.storage.data / ".hidden").write_text("x")
    for command in ("get", "rm", "ls"):
        done = cumulus("storage", command, "--", name, code=1)
        assert "Traceback" not in done.output
    assert [path.name for path in controller.storage.data.iterdir()] == [".hidden"]


def test_a_folder_is_listed_and_fetched_with_all_in_it(controller: Controller, url: str) -> None:
    deep = controller.storage.data / "run.d" / "100%20" / "deep"
    deep.mkdir(parents=True)
    (deep / "analysis.tdf").write_text("spectra")
    (controller.storage.data / "run.d" / "meta").write_text("m")
    assert [one["path"] for one in json.loads(cumulus("storage", "ls", "run.d", "--json").stdout)] == [
        "run.d/100%20",
        "run.d/meta",
    ]
    done = cumulus("storage", "get", "run.d")
    assert sorted(done.stdout.split()) == ["run.d/100%20/deep/analysis.tdf", "run.d/meta"]
    assert Path("run.d/100%20/deep/analysis.tdf").read_text() == "spectra"
    assert "is a folder" in cumulus("storage", "put", "run.d", code=1).stderr


def test_the_client_goes_through_pages_and_sends_files_for_a_job(controller: Controller, url: str) -> None:
    from cumulus_client.storage import FILES, FilesQuery

    client = Cumulus.at(url, token_of("ada"))
    for number in range(7):
        (controller.storage.data / f"{number}.dat").write_text("x" * number)
    names, cursor = list[str](), ""
    while True:
        page = client.caller.call(FILES, FilesQuery(limit=3, cursor=cursor))
        names += [one.path for one in page.files]
        if not (cursor := page.next):
            break
    assert names == [f"{number}.dat" for number in range(7)]
    form = {"text": "hello", "seconds": "0", "outcome": "ok", "inputs": ["a.dat", "3.dat"]}
    job = client.submissions.submit("probe_1.0", form, flavor="m1.4xlarge")
    made("a.dat", "first")
    assert client.uploads.stored(job.id, "3.dat").place == "data/3.dat"
    assert client.uploads.send(Path("a.dat"), job.id).place == "data/a.dat"
    assert {one.filename for one in client.uploads.list(job.id)} == {"a.dat", "3.dat"}
    assert sorted(read(controller, Job.get_by_id(job.id)).split()) == ["first", "xxx"]
