"""``cumulus import-former``: jobs of the former server stand in the lists as they stood in its own, and nothing runs again."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from server.app import Controller, make_controller, rebuild_database
from server.cli.main import main
from server.db.models import Event, Job, open_database
from server.engine.records.storage_owner import StorageNotOurs, require_own_storage
from server.progress import Lines
from server.services.principal import Principal
from server.settings import Settings
from server.states import JobState
from server.storage.identity import identity_path, read_identity
from server.workers.clouds.local import LocalCloud
from tests.api.serving import listening
from tests.conftest import submission, turning
from tests.engine.former_site import CREATED, FormerSite

DAYS = 90


@pytest.fixture
def site(tmp_path: Path) -> FormerSite:
    return FormerSite(tmp_path / "former")


@pytest.fixture
def moved(settings: Settings, site: FormerSite, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a new installation that is to go on with the former's storage."""
    new = settings.model_copy(update={"storage": site.storage})
    values = {
        "HOME": new.home,
        "CLOUD": "local",
        "APPS": new.apps,
        "FLAVORS": new.flavors,
        "STORAGE": new.storage,
        "MIN_FREE_GB": 0,
    }
    for name, value in values.items():
        monkeypatch.setenv(f"CUMULUS_{name}", str(value))
    return new


def run(site: FormerSite, *options: str, database: Path | None = None) -> Result:
    arguments = ["import-former", str(site.storage), str(database or site.database), *options]
    return CliRunner().invoke(main, arguments, catch_exceptions=True)


def plan(site: FormerSite, *options: str) -> dict[str, Any]:
    told = run(site, "--json", *options)
    assert told.exit_code == 0, (told.output, told.exception)
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def refusal(site: FormerSite, *options: str, database: Path | None = None) -> str:
    told = run(site, *options, database=database)
    assert told.exit_code == 1
    assert "Traceback" not in told.stderr
    assert not told.stdout
    return told.stderr


@contextmanager
def controller_on(settings: Settings) -> Iterator[Controller]:
    """A controller of this installation whose loop turns, on a storage that it may have."""
    require_own_storage(settings)
    cloud = LocalCloud(settings, "test")
    cloud.start()
    made = make_controller(settings, cloud)
    try:
        with turning(made):
            yield made
    finally:
        made.database.close()
        cloud.stop()


def get(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as problem:
        return problem.code, problem.read()


def search(port: int, **form: str) -> list[dict[str, Any]]:
    body = urllib.parse.urlencode({"current_job_id": "0", "number": "-1", **form}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/search", data=body, timeout=30) as answer:
        found: list[dict[str, Any]] = json.loads(answer.read())
        return found


def test_lists_forms_logs_and_results_are_what_they_were(site: FormerSite, moved: Settings) -> None:
    site.shared("common.mzML")
    done = site.add(
        owner="O'Brien (lab)", results={"a.txt": "one", "deep/b c.tsv": "two"}, description="liver, 3rd run", workflow_name="both"
    )
    (site.folder(done) / "input" / "common.mzML").symlink_to("/cumulus/data/common.mzML")
    failed = site.add("FAILED", start_after_id=str(done))
    cancelled = site.add("CANCELLED", owner="eve", strategy="m9.gone", app_name="gone_3.1")
    archived = site.add("ARCHIVED_FAILED")
    run(site)
    with controller_on(moved) as controller, listening(controller) as port:
        rows = {row["id"]: row for row in json.loads(get(port, "/joblist/0/-1")[1])}
        assert {number: row["status"] for number, row in rows.items()} == {
            done: "DONE",
            failed: "FAILED",
            cancelled: "CANCELLED",
            archived: "ARCHIVED_FAILED",
        }
        assert rows[done] == {
            "id": done,
            "owner": "O'Brien (lab)",
            "app_name": "probe_1.0",
            "status": "DONE",
            "strategy": "m1.4xlarge",
            "host": "",
            "creation_date": CREATED,
            "end_date": CREATED + 3600,
            "start_after_id": None,
            "workflow_name": "both",
        }
        assert rows[failed]["start_after_id"] == done
        assert rows[cancelled]["strategy"] == ""  # a size that is gone would break the client's page
        shown = next(row for row in json.loads(get(port, f"/joblist/{done}/100")[1]) if row["id"] == done)
        assert shown["description"] == "liver, 3rd run"
        assert shown["start_date"] == CREATED + 60
        assert shown["settings"] == {str(done): {"text": "hello", "seconds": "0", "outcome": "ok"}}
        assert shown["files"] == [["a.txt", 3], ["deep/b c.tsv", 3]]
        assert "Creating the virtual machine..." in shown["log"]
        assert "CPU:12.3%" in shown["log"]
        owner = urllib.parse.quote("O'Brien (lab)", safe="")
        assert get(port, f"/getresults/{owner}/{done}/deep%2Fb%20c.tsv") == (200, b"two")
        assert get(port, f"/getresults/eve/{done}/a.txt")[0] == 404
        assert get(port, f"/log/{owner}/{done}")[1].startswith(b"[SERVER] 2026-09-21 14:13:20 UTC")
        assert [row["id"] for row in search(port, file="common")] == [done]
        assert [row["id"] for row in search(port, owner="brien", description="3rd")] == [done]
        assert [row["id"] for row in search(port, archived="on")] == [archived]
        apps = json.loads(get(port, "//apps")[1])
        assert apps["gone_3.1"].startswith("<tool")  # or the client draws no more of its list
        assert ["common.mzML", 4] in json.loads(get(port, "/storage")[1])
        assert get(port, "/getfile/ada/common.mzML") == (200, b"data")


def test_what_was_there_keeps_content_mode_and_time(site: FormerSite, moved: Settings) -> None:
    site.shared("common.mzML")
    numbers = [site.add(status) for status in ("DONE", "FAILED", "CANCELLED", "RUNNING", "ARCHIVED_DONE")]
    before = site.snapshot()
    assert run(site, "--dry-run").exit_code == 0
    assert site.snapshot() == before
    assert not moved.home.exists()  # a dry run makes no installation either
    assert run(site).exit_code == 0
    with controller_on(moved) as controller:
        controller.loop.wake()
    after = site.snapshot()
    top = {"cumulus", "cumulus/jobs"}  # of the storage's own folders only what lies in them counts
    assert {name: after[name] for name in before if name not in top} == {name: before[name] for name in before if name not in top}
    added = {name for name in set(after) - set(before) if name.startswith("cumulus/jobs/")}
    assert {Path(name).name for name in added} == {".cumulus.job", ".cumulus.form"}
    assert len(added) == 2 * len(numbers)


@pytest.mark.parametrize("status", ["PENDING", "PREPARING", "RUNNING", "PAUSED"])
def test_what_had_not_ended_is_cancelled_with_a_reason_and_never_runs(site: FormerSite, moved: Settings, status: str) -> None:
    number = site.add(status)
    (site.folder(number) / ".cumulus.stop").unlink()
    found = plan(site)
    assert found["unfinished"] == {str(number): status}
    with controller_on(moved) as controller:
        later = controller.jobs.submit(*submission())
        controller.jobs.folder(later).mark_arrived()
        deadline = time.monotonic() + 60
        while JobState(Job.get_by_id(later.id).state) is not JobState.DONE:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        job = Job.get_by_id(number)
        assert (job.state, job.reason) == (JobState.CANCELLED, "cancelled")
        assert f"It was {status} when the former Cumulus server was replaced" in job.message
        assert not list(site.folder(number).glob(".cumulus.attempt.*"))


def test_numbers_go_on_after_the_last_that_was_ever_given(site: FormerSite, moved: Settings) -> None:
    site.add()
    gone = site.add()
    with site.connected() as database:  # as the former deletes a job
        database.execute("DELETE FROM jobs WHERE id = ?", (gone,))
    shutil.rmtree(site.folder(gone))
    assert plan(site)["last"] == gone
    with controller_on(moved) as controller:
        assert controller.jobs.submit(*submission()).id == gone + 1


def test_once_more_changes_nothing_and_brings_nothing_back(site: FormerSite, moved: Settings) -> None:
    kept, gone = site.add(), site.add()
    plan(site)
    database = open_database(moved.database)
    Job.delete().where(Job.id == gone).execute()
    Job.update(description="changed since").where(Job.id == kept).execute()
    database.close()
    found = plan(site)
    assert (found["there_already"], found["deleted_since"], found["jobs"]) == (1, [gone], {})
    open_database(moved.database)
    assert [(job.id, job.description) for job in Job.select()] == [(kept, "changed since")]
    assert Event.select().where(Event.subject_id == kept).count() == 1


def test_what_was_deleted_here_is_not_brought_back_nor_are_numbers_given_again(site: FormerSite, moved: Settings) -> None:
    kept, gone, last = site.add(), site.add(), site.add()
    with site.connected() as database:  # as the former deletes a job
        database.execute("DELETE FROM jobs WHERE id = ?", (last,))
    shutil.rmtree(site.folder(last))
    plan(site)
    with controller_on(moved) as controller:
        controller.jobs.delete(Principal.desktop("ada"), gone)
    assert plan(site)["deleted_since"] == [gone]
    moved.database.unlink()
    rebuild_database(moved, time.time(), Lines(lambda _: None))
    with controller_on(moved) as controller:
        assert {job.id: job.state for job in Job.select()} == {kept: JobState.DONE, gone: JobState.DELETED}
        assert controller.jobs.submit(*submission()).id == last + 1


def test_after_a_kill_it_is_done_again_to_the_end(site: FormerSite, moved: Settings) -> None:
    numbers = [site.add(form={"text": str(number)}) for number in range(1200)]
    code = "from server.services.former_server import takeover; takeover.BATCH = 100; from server.entry import main; main()"
    command = [sys.executable, "-c", code, "import-former", str(site.storage), str(site.database)]
    child = subprocess.Popen(command, env={**os.environ}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not _rows(moved.database) and child.poll() is None:
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert 0 < _rows(moved.database) <= len(numbers)
    if read_identity(site.storage) is None:  # killed before its end
        with pytest.raises(StorageNotOurs, match="import-former"):
            require_own_storage(moved)
    plan(site)
    assert _rows(moved.database) == len(numbers)
    require_own_storage(moved)
    open_database(moved.database)
    assert [job.settings for job in Job.select().order_by(Job.id)] == [json.dumps({"text": str(n)}) for n in range(1200)]


def test_a_lost_database_is_made_again_from_what_was_written_beside(site: FormerSite, moved: Settings) -> None:
    done = site.add(owner="O'Brien", strategy="m9.gone", form={"text": "mine", "seconds": "1"}, description="kept")
    site.add("RUNNING")
    gone = site.add(folder=False)
    left = site.add()
    with site.connected() as database:
        database.execute("DELETE FROM jobs WHERE id = ?", (left,))
    plan(site)
    columns = list(Job._meta.fields)
    open_database(moved.database)
    before = list(Job.select(*(getattr(Job, name) for name in columns)).order_by(Job.id).tuples())
    events = list(Event.select().order_by(Event.id).tuples())
    assert Job._meta.database.execute_sql("SELECT count(*) FROM unwritten").fetchone() == (0,)
    Job._meta.database.close()
    moved.database.unlink()
    made = rebuild_database(moved, time.time(), Lines(lambda _: None))
    assert made.left_alone == (site.folder(left).name,)
    open_database(moved.database)
    after = list(Job.select(*(getattr(Job, name) for name in columns)).order_by(Job.id).tuples())
    assert after == before
    assert list(Event.select().order_by(Event.id).tuples()) == events
    assert json.loads(Job.get_by_id(done).settings) == {"text": "mine", "seconds": "1"}
    assert Job.get_by_id(gone).state == JobState.ARCHIVED


def test_rows_without_folder_and_folders_without_row_are_told_apart(site: FormerSite, moved: Settings) -> None:
    site.add()
    lost = site.add(folder=False)
    (site.storage / "jobs" / "Job_99_eve_probe_1.0_1700000000").mkdir()
    (site.storage / "jobs" / "backup").mkdir()
    found = plan(site)
    assert found["without_folder"] == {str(lost): "its folder is not there"}
    assert found["folders_without_job"] == ["Job_99_eve_probe_1.0_1700000000", "backup"]
    open_database(moved.database)
    job = Job.get_by_id(lost)
    assert (job.state, job.outcome) == (JobState.ARCHIVED, JobState.DONE)
    assert "its folder is not there" in job.message


@pytest.mark.parametrize(
    "job_dir",
    ["/cumulus/jobs/../../secret", "..", "", "/etc", "/cumulus/jobs/Job_1_ada_probe_1.0_1790000000", "Job_2_\0", "jobs/."],
)
def test_a_row_that_names_another_folder_gets_none(site: FormerSite, moved: Settings, job_dir: str) -> None:
    first = site.add()
    number = site.add(folder=False, job_dir=job_dir)
    (site.top / "secret").mkdir()
    found = plan(site)
    assert list(found["without_folder"]) == [str(number)]
    open_database(moved.database)
    assert Job.get_by_id(first).state == JobState.DONE
    assert Job.get_by_id(number).folder == f"imported-{number}"
    assert not list((site.top / "secret").iterdir())


def test_a_link_in_the_place_of_a_folder_is_not_followed(site: FormerSite, moved: Settings) -> None:
    site.add()
    number = site.add()
    path = site.folder(number)
    outside = path.rename(site.top / "outside")
    path.symlink_to(outside)
    before = site.snapshot()
    found = plan(site)
    assert "is not a folder but a link" in found["without_folder"][str(number)]
    assert {n: v for n, v in site.snapshot().items() if n.startswith("outside")} == {
        n: v for n, v in before.items() if n.startswith("outside")
    }
    with controller_on(moved) as controller, listening(controller) as port:
        assert get(port, f"/getresults/ada/{number}/result.txt")[0] == 404


def test_apps_sizes_and_forms_that_are_not_here_are_named(site: FormerSite, moved: Settings) -> None:
    site.add()
    misfit = site.add(form={"text": "hello", "no such field": "1"})
    site.add(app_name="gone_1.0", form={"spectra": "C:\\raw\\a.mzML"}, strategy="m9.gone")
    broken = site.add(app_name="gone_1.0", form="{not json")
    told = run(site, "--dry-run").output
    found = plan(site)
    assert found["apps"]["probe_1.0"]["first"] == misfit
    assert found["apps"]["probe_1.0"]["misfits"] == 1
    assert "no such field" in found["apps"]["probe_1.0"]["why"]
    assert (found["apps"]["gone_1.0"]["known"], found["apps"]["gone_1.0"]["jobs"]) == (False, 2)
    assert found["flavors"] == {"m1.4xlarge": {"jobs": 3, "known": True}, "m9.gone": {"jobs": 1, "known": False}}
    assert found["forms_unreadable"] == [broken]
    assert "app missing: gone_1.0 (2 jobs)" in told
    assert "machine size missing: m9.gone" in told


def test_what_a_client_would_take_for_markup_stays_out(site: FormerSite, moved: Settings) -> None:
    site.add()
    bad = site.add(owner="<img src=x onerror=alert(1)>", folder=False)
    odd = site.add("EXPLODED")
    found = plan(site)
    assert set(found["left_out"]) == {str(bad), str(odd)}
    open_database(moved.database)
    assert [job.id for job in Job.select()] == [1]


def test_logs_of_the_first_versions_are_taken_from_the_row(site: FormerSite, moved: Settings) -> None:
    number = site.add(stdout="first\nsecond", stderr="oh")
    (site.folder(number) / ".cumulus.log").unlink()
    plan(site)
    assert (site.folder(number) / ".cumulus.log").read_text() == "first\nsecond\n[STDERR] oh\n"


def test_a_database_of_the_first_versions_lacks_columns(site: FormerSite, moved: Settings) -> None:
    site.add()
    with site.connected() as database:
        for name in ("start_after_id", "workflow_name", "last_modified"):
            database.execute(f"ALTER TABLE jobs DROP COLUMN {name}")
    assert plan(site)["jobs"] == {"done": 1}


def test_shared_data_is_known_by_the_jobs_that_named_it(site: FormerSite, moved: Settings) -> None:
    for name in ("a.raw", "a.mzML", "nobody.raw"):
        site.shared(name)
    site.add(app_name="gone_1.0", form={"spectra": ["\\\\server\\share\\a.raw"], "other": "text"})
    assert plan(site)["data"] == {"known": 2, "unknown": 1}
    open_database(moved.database)
    assert Job.get_by_id(1).inputs == "a.raw\na.mzML"


def test_what_the_first_cleaning_would_remove_is_said_before(site: FormerSite, moved: Settings) -> None:
    site.add(creation_date=1_600_000_000, end_date=1_600_000_100)
    site.add(creation_date=int(time.time()), end_date=int(time.time()))
    assert plan(site, "--dry-run")["due"] == 1
    assert "data_max_age_days" in run(site, "--dry-run").output


@pytest.mark.parametrize("content", [b"", b"only text, as long as a header of SQLite", b"SQLite format 3\0garbage"])
def test_a_file_that_is_no_such_database_is_refused(site: FormerSite, moved: Settings, content: bytes, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.db"
    wrong.write_bytes(content)
    assert str(wrong) in refusal(site, database=wrong)
    assert not moved.database.exists()


def test_a_damaged_database_is_refused(site: FormerSite, moved: Settings) -> None:
    for _ in range(300):
        site.add(folder=False, form={"text": "x" * 2000})
    with site.database.open("r+b") as file:
        file.seek(4096 * 20)
        file.write(os.urandom(4096 * 10))
    assert str(site.database) in refusal(site)


def test_this_ones_own_database_is_refused(site: FormerSite, moved: Settings, tmp_path: Path) -> None:
    own = tmp_path / "own.sqlite"
    open_database(own).close()
    shutil.copy(own, tmp_path / "copy.sqlite")
    assert "`cumulus db` is for it" in refusal(site, database=tmp_path / "copy.sqlite")


@pytest.mark.parametrize("kind", ["folder", "fifo", "link", "missing"])
def test_what_is_no_file_is_refused_and_nothing_hangs(site: FormerSite, moved: Settings, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "odd.db"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(site.database)
    assert str(path) in refusal(site, database=path)


def test_a_former_server_that_writes_is_refused(site: FormerSite, moved: Settings) -> None:
    site.add()
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN IMMEDIATE');"
        "print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(site.database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout
        child.stdout.readline()
        assert f"process {child.pid} uses" in refusal(site, "--dry-run")
    finally:
        child.communicate()
    assert run(site, "--dry-run").exit_code == 0


def test_a_former_server_that_runs_in_its_folder_is_refused(site: FormerSite, moved: Settings) -> None:
    site.add()
    (site.top / "cumulus.py").write_text("print('up', flush=True)\ninput()\n")
    child = subprocess.Popen([sys.executable, "cumulus.py"], cwd=site.top, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout
        child.stdout.readline()
        assert f"process {child.pid} uses" in refusal(site)
    finally:
        child.communicate(b"\n")
    assert not moved.database.exists()


def test_one_that_was_killed_while_it_wrote_is_refused(site: FormerSite, moved: Settings) -> None:
    site.add()
    (site.top / "cumulus.db-journal").write_bytes(b"\xd9\xd5\x05\xf9 rest of a transaction")
    assert "Start it once more" in refusal(site)


def test_a_machine_that_still_works_is_waited_for(site: FormerSite, moved: Settings) -> None:
    number = site.add("RUNNING")
    (site.folder(number) / ".cumulus.alive").touch()
    assert f"folders of jobs {number}" in refusal(site)
    assert plan(site, "--dry-run")["at_work"] == [number]
    assert not identity_path(site.storage).exists()


def test_another_storage_is_refused(site: FormerSite, moved: Settings) -> None:
    site.add(folder=False)
    site.add(folder=False)
    assert "none of the jobs' folders" in refusal(site)


def test_numbers_of_other_jobs_are_refused_before_anything_is_written(site: FormerSite, moved: Settings) -> None:
    database = open_database(moved.database)
    now = time.time()
    Job.create(
        id=1,
        owner="ada",
        app="probe_1.0",
        flavor="x",
        weight=1,
        settings="{}",
        folder="own",
        state="done",
        state_since=now,
        created=now,
    )
    database.close()
    site.add()
    assert "under numbers of the former's (1)" in refusal(site)
    assert not list(site.folder(1).glob(".cumulus.job"))


def test_the_storage_has_to_be_this_installations(
    site: FormerSite, moved: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site.add()
    monkeypatch.setenv("CUMULUS_STORAGE", str(tmp_path / "elsewhere"))
    assert f"set `storage` (CUMULUS_STORAGE) to {site.storage}" in refusal(site)
    assert run(site, "--dry-run").exit_code == 0


def test_a_storage_that_was_imported_is_nobody_elses(
    site: FormerSite, moved: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site.add()
    plan(site)
    monkeypatch.setenv("CUMULUS_HOME", str(tmp_path / "another"))
    assert "belongs to the installation" in refusal(site)
    assert "belongs to the installation" in refusal(site, "--dry-run")


def _rows(database: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
            return int(connection.execute("SELECT count(*) FROM job").fetchone()[0])
    except sqlite3.Error:
        return 0
