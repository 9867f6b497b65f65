"""A database that is erased comes back as it was: every column of every row, every answer of the REST API."""

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from server.app import Controller, make_controller, rebuild_database
from server.application import create_app
from server.db.account_models import ACCOUNT_TABLES
from server.db.job_numbers import never_again
from server.db.models import Conversion, Event, Job, StoredSetting, Worker
from server.db.settings_store import drain
from server.db.transitions import Change, create, record_event, transition
from server.engine.duties.timekeeping import MARK
from server.engine.records.manifest_format import SIGNING_KEY, KeptConversion, KeptEvent, KeptSetting, KeptWorker, Manifest
from server.engine.records.manifests import Manifests
from server.engine.records.recovery import recover
from server.home.installation import installation_id
from server.progress import Lines
from server.reasons import Reason
from server.services.principal import Principal
from server.settings import Settings
from server.states import JobState, WorkerState
from server.storage.folders import StorageUnusable
from server.workers.clouds.local import LocalCloud
from tests.conftest import eventually, state_of, submission, turning

J, W = JobState, WorkerState
OWNERS = ("ada", "o_neill-2", "jo+x@lab.org")
NOW = 1_900_000_000.0
# What no job's folder and no ledger can know, each with its reason:
LOST = {
    "migration": "when which step of the schema was run on this very file",
    "unwritten": "which folders are behind; none is",
    "look": "what was seen to be old: it is looked at twice once more, a day apart",
    "submission_key": "which job a key has made: for a day, to clients that had no answer",
    "batch": "it comes back from its jobs' manifests: tests/services/batches/test_rebuilt.py",
    "preset": "named forms are in the database alone: a backup has them",
    "upload": "what is on its way by HTTP: its sender is told that it is not there, and begins again",
    "job_bytes": "what folders take: they are measured again",
    "sqlite_sequence": "compared below for the jobs; numbers of rows that nobody sees may be given again",
}
ACCOUNTS = {table._meta.table_name for table in ACCOUNT_TABLES}  # tests/engine/test_account_roster.py
TABLES = ("job", "worker", "event", "conversion", "switch")


def rows_of(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every column of every row, read by no code of ours; a machine that no job ever had is in no job's folder."""
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {name for name in names if not name.startswith("job_text")} == {*TABLES, *LOST, *ACCOUNTS}
        found = {name: [dict(row) for row in connection.execute(f"SELECT * FROM {name} ORDER BY 1")] for name in TABLES}
        # How time stands is counted anew: an old mark beside a rebuilt database would move limits by what has passed since.
        found["switch"] = [row for row in found["switch"] if row["name"] not in (MARK, SIGNING_KEY)]
        connection.execute("INSERT INTO job_text (job_text) VALUES ('integrity-check')")
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("SELECT count(*) FROM unwritten").fetchone()[0] == 0
        found["last number"] = [dict(connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'job'").fetchone())]
    return found


def of_jobs(rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Without machines that waited for a job and had none, which a rebuild removes."""
    of_none = {row["id"] for row in rows["worker"] if row["job_id"] is None}
    return rows | {
        "worker": [row for row in rows["worker"] if row["id"] not in of_none],
        "event": [row for row in rows["event"] if row["subject"] == "job" or row["subject_id"] not in of_none],
    }


def answers(client: FlaskClient, jobs: list[int]) -> dict[str, tuple[int, dict[str, str], bytes]]:
    """What every route says that changes nothing, for every job and owner; of the disk only its size."""
    paths = ["/config", "/info", "/apps", "/storage", "/healthz"]
    paths += [f"/joblist/{shown}/{number}" for shown in (0, *jobs) for number in (1, 5, 100, -1)]
    paths += [f"/log/{quote(owner)}/{number}" for owner in OWNERS for number in jobs]
    paths += [f"/getresults/{quote(owner)}/{number}/result.txt" for owner in OWNERS for number in jobs]
    paths += ["/getfile/ada/shared.dat", "/getfile/ada/none.dat"]
    forms: list[tuple[str, dict[str, str]]] = [
        ("/search", {"number": "-1", "current_job_id": str(jobs[0])}),
        *(("/search", {"owner": owner}) for owner in OWNERS),
        *(("/search", {"description": text}) for text in ("secret", "se", "kept", "%")),
        ("/search", {"app": "probe_1.0", "file": "shared.dat"}),
        *(("/search", {state: "on"}) for state in ["pending", "preparing", "running", "done", "failed", "cancelled", "archived"]),
        *(("/search", {"date": date, "from": "2000-01-01", "to": "2100-01-01"}) for date in ("creation_date", "end_date")),
        ("/getfilecontent", {"username": "ada", "names": '["shared.dat"]'}),
    ]
    said = {path: client.get(path) for path in paths}
    said |= {f"{path} {form}": client.post(path, data=form) for path, form in forms}
    usage = json.loads(client.get("/diskusage").data)
    metrics = [line for line in client.get("/metrics").data.split(b"\n") if b"loop_turn" not in line]
    told = {name: (one.status_code, {**one.headers, "Date": "", "X-Request-Id": ""}, one.data) for name, one in said.items()}
    return told | {"/diskusage": (200, {}, b"%d" % usage[0]), "/metrics": (200, {}, b"\n".join(metrics))}


def lived(controller: Controller) -> None:
    """Jobs that end by themselves, on real machines of the local cloud."""
    (controller.storage.data / "shared.dat").write_bytes(b"shared by two")
    file = {"inputs": ["/home/ada/shared.dat"]}
    with turning(controller):
        for outcome, owner in (("ok", "ada"), ("ok", OWNERS[1]), ("fail", OWNERS[2]), ("ok", "ada")):
            form = json.dumps({"text": "hello", "seconds": "0", "outcome": outcome, **file})
            job = controller.jobs.submit(*submission(owner=owner, settings=form, description=f"kept by {owner}"))
            controller.storage.folder(job.folder).mark_arrived()
        controller.loop.wake()
        eventually(lambda: all(state_of(number).is_final for number in (1, 2, 3, 4)))
        eventually(lambda: Worker.select().where(Worker.state != W.DELETED).count() == 0)
    assert [state_of(number) for number in (1, 2, 3, 4)] == [J.DONE, J.DONE, J.FAILED, J.DONE]


def machine(job: Job, attempt: int, state: WorkerState, name: str = "", **fields: Any) -> Worker:
    named = name or (f"job-{job.id}" if attempt == 1 else f"job-{job.id}-{attempt}")
    common = {"flavor": job.flavor, "weight": job.weight, "boot": "warm", "address": "10.0.0.7", "port": 22}
    made: Worker = create(Worker, Change(50.0), name=named, job_id=job.id, attempt=attempt, state=state, **common, **fields)
    record_event(Worker, made.id, Change(51.0, who="ada", text="a word about it"))
    return made


def at(controller: Controller, state: JobState, **fields: Any) -> Job:
    """A job that stands there, whatever it would be doing, with its inputs sent."""
    job = controller.jobs.submit(*submission(description=f"kept {state}"))
    columns = {"state": state, "state_since": 60.25, "attempt": 1, "started": 55.5, **fields}
    Job.update(columns).where(Job.id == job.id).execute()
    record_event(Job, job.id, Change(60.0, text=f"it is {state} <now>"))
    return Job.get_by_id(job.id)


def stood(controller: Controller) -> None:
    """Jobs in every other state, and all else that rows tell."""
    jobs = controller.jobs
    uploading = jobs.submit(*submission(workflow="w", description="kept first step"))
    jobs.submit(*submission(workflow="w", start_after=str(uploading.id), owner="ada"))
    never_again(uploading.id + 4)  # a gap
    queued = at(controller, J.QUEUED, attempt=2, spared=1, not_before=2e9, message="Waiting: <b>", priority=7)
    machine(queued, 1, W.DELETED, ended=58.0, failures=2, message="gone")
    machine(queued, 2, W.DELETING, not_before=70.0)
    at(controller, J.QUEUED, attempt=0, priority=-3, state_since=10.0)
    for state, worker in (
        (J.PROVISIONING, W.CREATING),
        (J.STARTING, W.BOOTING),
        (J.RUNNING, W.BUSY),
        (J.LOST, W.BUSY),
        (J.FINISHING, W.BUSY),
    ):
        machine(at(controller, state), 1, worker)
    machine(at(controller, J.RUNNING), 1, W.BUSY, name="pool-3", held_until=2e9)
    held = at(controller, J.FAILED, ended=61.0, outcome=J.FAILED, reason=Reason.APP_FAILED, message="It broke")
    machine(held, 1, W.HELD, held_until=2e9, message="for inspection")
    figures = json.dumps([{"name": "proteins", "value": 7}])
    at(controller, J.DONE, ended=62.0, outcome=J.DONE, warning="one\ntwo", figures=figures)
    cancelled = jobs.submit(*submission(description="kept too"))
    jobs.cancel(Principal.desktop("ada"), cancelled.id)
    archived = at(controller, J.FAILED, ended=61.0, outcome=J.FAILED)
    transition(Job, archived.id, J.FAILED, J.ARCHIVED, Change(63.0, text="it ended 90 days ago"))
    for number, job in enumerate((uploading, queued)):
        Conversion.insert(job_id=job.id, number=number, name="a.raw", key="c" * 64).execute()
    drain("the roof leaks", Change(64.0, who="root"))


def deleted(controller: Controller) -> None:
    """One in the middle, a whole workflow, and the newest of all."""
    jobs = controller.jobs
    jobs.delete(Principal.desktop(OWNERS[1]), 2)
    steps = [jobs.submit(*submission(workflow="gone", description="secret")) for _ in range(1)]
    steps.append(jobs.submit(*submission(workflow="gone", start_after=str(steps[0].id), description="secret")))
    newest = jobs.submit(*submission(description="secret"))
    for job in (*steps, newest):
        jobs.cancel(Principal.desktop("ada"), job.id) if not state_of(job.id).is_final else None
    jobs.delete(Principal.desktop("ada"), steps[1].id)
    jobs.delete(Principal.desktop("ada"), newest.id)


def erase(controller: Controller) -> None:
    controller.database.close()
    for path in controller.settings.home.glob("cumulus.sqlite*"):
        path.unlink()


def successor(settings: Settings) -> Controller:
    made = make_controller(settings, LocalCloud(settings, installation_id(settings.home)))
    made.jobs.finish_interrupted()
    return made


def test_an_erased_database_comes_back_as_it_was(controller: Controller, settings: Settings) -> None:
    lived(controller)
    before_deletion = answers(create_app(controller).test_client(), [1, 2])
    stood(controller)
    deleted(controller)
    Manifests(controller.storage).keep_up()
    numbers = [row.id for row in Job.select(Job.id).order_by(Job.id)]
    said = answers(create_app(controller).test_client(), numbers)
    create(Worker, Change(65.0), name="pool-9", job_id=None, flavor="m1.4xlarge", weight=1, state=W.READY)
    database = settings.database
    controller.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    rows = rows_of(database)
    erase(controller)
    rebuild_database(settings, NOW, Lines(print))
    after = rows_of(database)
    for table, expected in of_jobs(rows).items():
        assert after[table] == expected, table
    assert {row["state"] for row in rows["job"]} == set(J), "a state is missing in this test"
    again = successor(settings)
    assert answers(create_app(again).test_client(), numbers) == said
    assert said != before_deletion
    assert again.jobs.submit(*submission()).id == numbers[-1] + 1
    again.loop.stop(1)
    again.database.close()


def test_nothing_of_a_deleted_job_comes_back_but_its_number(controller: Controller, settings: Settings) -> None:
    kept, gone = controller.jobs.submit(*submission()), controller.jobs.submit(*submission(description="secret"))
    for job in (kept, gone):
        controller.jobs.cancel(Principal.desktop("ada"), job.id)
    copy = settings.storage / "jobs" / f"{gone.folder}0"
    copied = {path.name: path.read_bytes() for path in controller.storage.folder(gone.folder).path.glob(".cumulus.*")}
    controller.jobs.delete(Principal.desktop("ada"), gone.id)
    for folder in (copy, copy.with_name(gone.folder)):  # somebody puts it back
        folder.mkdir()
        for name, content in copied.items():
            (folder / name).write_bytes(content)
    erase(controller)
    assert set(rebuild_database(settings, NOW, Lines(print)).left_alone) == {copy.name}
    again = successor(settings)
    assert (state_of(gone.id), Job.get_by_id(gone.id).description) == (J.DELETED, "")
    assert [event.new for event in Event.select().where(Event.subject_id == gone.id)] == ["uploading", "cancelled", "deleted"]
    assert b"secret" not in settings.database.read_bytes()
    assert again.jobs.submit(*submission()).id == gone.id + 1
    again.database.close()


def test_where_only_deleted_jobs_are_known_the_numbers_go_on(controller: Controller, settings: Settings) -> None:
    job = controller.jobs.submit(*submission())
    controller.jobs.cancel(Principal.desktop("ada"), job.id)
    controller.jobs.delete(Principal.desktop("ada"), job.id)
    erase(controller)
    rebuild_database(settings, NOW, Lines(print))
    again = successor(settings)
    assert again.jobs.submit(*submission()).id == job.id + 1
    again.database.close()


def test_an_older_copy_of_the_database_gives_no_number_again_and_brings_no_deleted_job_back(
    controller: Controller, settings: Settings
) -> None:
    job = controller.jobs.submit(*submission())
    controller.jobs.cancel(Principal.desktop("ada"), job.id)
    controller.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    old = settings.database.read_bytes()
    later = controller.jobs.submit(*submission())
    controller.jobs.delete(Principal.desktop("ada"), job.id)
    erase(controller)
    settings.database.write_bytes(old)
    again = successor(settings)
    assert state_of(job.id) is J.DELETED
    assert again.jobs.submit(*submission()).id == later.id + 1
    again.database.close()


def test_a_running_job_goes_on_where_the_database_is_erased_beneath_it(controller: Controller, settings: Settings) -> None:
    with turning(controller):
        job = controller.jobs.submit(*submission(settings='{"text": "hello", "seconds": "5", "outcome": "ok"}'))
        folder = controller.storage.folder(job.folder)
        folder.mark_arrived()
        controller.loop.wake()
        eventually(lambda: state_of(job.id) is J.RUNNING and "probe started" in folder.log.text())
    rows = rows_of(settings.database)
    erase(controller)
    rebuild_database(settings, NOW, Lines(print))
    assert rows_of(settings.database) == rows
    again = successor(settings)
    with turning(again):
        eventually(lambda: state_of(job.id) is J.DONE)
        eventually(lambda: Worker.select().where(Worker.state != W.DELETED).count() == 0)
    assert Job.get_by_id(job.id).attempt == 1
    assert folder.log.text().count("probe started") == 1
    assert again.cloud.resources() == []
    again.database.close()


def test_a_change_of_any_row_of_a_job_reaches_its_manifest(controller: Controller) -> None:
    """Whoever makes it: the loop writes what the rows say, and nothing where nothing has changed."""
    job = controller.jobs.submit(*submission())
    manifests, path = Manifests(controller.storage), controller.storage.folder(job.folder).documents.manifest_path
    worker = machine(job, 1, W.BUSY)
    manifests.keep_up()
    assert not manifests.is_behind()
    changes: list[Callable[[], object]] = [
        lambda: Job.update(message="<waits>").where(Job.id == job.id).execute(),
        lambda: Job.update(priority=3).where(Job.id == job.id).execute(),
        lambda: Worker.update(held_until=7.0).where(Worker.id == worker.id).execute(),
        lambda: Worker.update(job_id=None).where(Worker.id == worker.id).execute(),
        lambda: record_event(Job, job.id, Change(1.0, text="said")),
        lambda: Conversion.insert(job_id=job.id, number=0, name="a.raw", key="k").execute(),
        lambda: Conversion.delete().where(Conversion.job_id == job.id).execute(),
        lambda: create(Worker, Change(1.0), name="pool-1", job_id=job.id, flavor="m1", weight=1, state=W.READY),
    ]
    for change in changes:
        before = path.read_text()
        change()
        assert manifests.is_behind()
        manifests.keep_up()
        assert path.read_text() != before
        assert not manifests.is_behind()


def test_a_folder_that_takes_no_manifest_keeps_none_of_the_others_behind(controller: Controller) -> None:
    steady = [0.0]
    manifests = Manifests(controller.storage, lambda: steady[0])
    bad, good = controller.jobs.submit(*submission()), controller.jobs.submit(*submission())
    blocked = controller.storage.folder(bad.folder).documents.manifest_path
    blocked.unlink()
    blocked.mkdir()
    for job in (bad, good):
        record_event(Job, job.id, Change(1.0, text="something new"))
    manifests.keep_up()
    assert "something new" in controller.storage.folder(good.folder).documents.manifest_path.read_text()
    assert not manifests.is_behind()
    blocked.rmdir()
    steady[0] = 61.0
    assert manifests.is_behind()
    manifests.keep_up()
    assert "something new" in controller.storage.folder(bad.folder).documents.manifest_path.read_text()


def test_a_storage_that_is_away_gets_nothing_and_is_caught_up_with_later(controller: Controller) -> None:
    """What lies below the place of a mount is another disk."""
    steady = [0.0]
    manifests = Manifests(controller.storage, lambda: steady[0])
    job = controller.jobs.submit(*submission())
    controller.jobs.cancel(Principal.desktop("ada"), job.id)
    away = controller.storage.root.with_name("away")
    controller.storage.root.rename(away)
    controller.storage.root.mkdir()
    record_event(Job, job.id, Change(1.0, text="something new"))
    drain("the roof leaks", Change(2.0))
    manifests.keep_up()
    assert not manifests.is_behind()
    with pytest.raises(StorageUnusable):
        controller.jobs.delete(Principal.desktop("ada"), job.id)
    with pytest.raises(StorageUnusable):
        controller.jobs.submit(*submission())
    assert list(controller.storage.root.iterdir()) == []
    assert Job.select().count() == 1
    controller.storage.root.rmdir()
    away.rename(controller.storage.root)
    steady[0] = 61.0
    assert manifests.is_behind()
    manifests.keep_up()
    assert "something new" in controller.storage.folder(job.folder).documents.manifest_path.read_text()
    assert "the roof leaks" in controller.storage.ledger.switches_text()


@pytest.mark.parametrize("kind", ["gone", "fifo", "file", "folder", "link"])
@pytest.mark.parametrize("name", ["", "last-number", "deleted", "submitting", "switches"])
def test_what_the_ledger_has_lost_is_written_again(
    controller: Controller, settings: Settings, name: str, kind: str, tmp_path: Path
) -> None:
    deleted, last = controller.jobs.submit(*submission()), controller.jobs.submit(*submission())
    transition(Job, deleted.id, J.UPLOADING, J.FAILED, Change(NOW), {"reason": "other", "message": "x", "outcome": "failed"})
    controller.jobs.delete(Principal.desktop("ada"), deleted.id)
    drain("the roof leaks", Change(NOW))
    Manifests(controller.storage).keep_up()
    path = controller.storage.root / ".cumulus.ledger" / name
    path.rename(tmp_path / "former")
    make = {"fifo": os.mkfifo, "file": Path.touch, "folder": Path.mkdir, "link": lambda one: one.symlink_to(tmp_path / "former")}
    if kind != "gone":
        make[kind](path)
    controller.storage.prepare()
    controller.jobs.finish_interrupted()
    Manifests(controller.storage).keep_up()
    ledger = controller.storage.ledger
    assert (ledger.last_number(), ledger.deleted(), "the roof leaks" in ledger.switches_text()) == (
        last.id,
        [deleted.folder],
        True,
    )
    again = controller.jobs.submit(*submission())
    transition(Job, again.id, J.UPLOADING, J.FAILED, Change(NOW), {"reason": "other", "message": "x", "outcome": "failed"})
    controller.jobs.delete(Principal.desktop("ada"), again.id)
    assert (ledger.last_number(), ledger.deleted()) == (again.id, [deleted.folder, again.folder])


@pytest.mark.parametrize(
    ("table", "kept", "apart"),
    [
        (Job, Manifest, {"settings"}),  # a file of its own
        (Worker, KeptWorker, {"job_id"}),  # the job's, whose manifest it is
        (Event, KeptEvent, set[str]()),
        (Conversion, KeptConversion, {"job_id"}),
        (StoredSetting, KeptSetting, set[str]()),
    ],
)
def test_no_column_is_forgotten(table: Any, kept: Any, apart: set[str]) -> None:
    assert {name for name in table._meta.fields if name not in kept.model_fields} == apart


def test_a_folder_of_a_failed_submission_of_2_3_never_wins_over_the_job(controller: Controller, settings: Settings) -> None:
    """Both are whole and claim one number; the job's was made later, or something has happened with it."""
    real = controller.jobs.submit(*submission())
    folder = controller.storage.folder(real.folder)
    manifest = json.loads(folder.documents.manifest_path.read_text())
    first = {name: manifest[name] for name in ("id", "owner", "app", "flavor", "weight", "created", "state")}
    for owner, offset in (("ada", -5), ("bob", -60), ("zed", 60)):
        other = folder.path.with_name(f"Job_{real.id}_{owner}_probe_1.0_{int(real.created) + offset}")
        (other / "input").mkdir(parents=True)
        (other / "output").mkdir()
        (other / ".cumulus.settings").write_text("{}")
        (other / ".cumulus.job").write_text(json.dumps({**first, "owner": owner, "created": real.created + offset}))
    (folder.input / "arrived.dat").write_text("x")
    for kept in (manifest, first):
        folder.documents.manifest_path.write_text(json.dumps(kept))
        jobs, left = recover(controller.storage, controller.flavors, "m1.4xlarge")
        assert [one.folder for one in jobs] == [real.folder]
        assert len(left) == 3


@pytest.mark.parametrize("name", ["Job_9_ada_probe_1.0_7", "Job_999999999999999_ada_probe_1.0_7", "Job_9_x", "mine"])
def test_a_folder_made_by_hand_is_no_job_and_takes_no_number(controller: Controller, settings: Settings, name: str) -> None:
    job = controller.jobs.submit(*submission())
    made = settings.storage / "jobs" / name
    (made / "input").mkdir(parents=True)
    (made / ".cumulus.settings").write_text("{}")
    erase(controller)
    assert rebuild_database(settings, NOW, Lines(print)).left_alone == (name,)
    again = successor(settings)
    assert again.jobs.submit(*submission()).id == job.id + 1
    again.database.close()


def test_forged_rows_in_a_manifest_harm_no_other_job(controller: Controller, settings: Settings) -> None:
    mine, other = controller.jobs.submit(*submission()), controller.jobs.submit(*submission(owner="bob"))
    machine(other, 1, W.BUSY)
    Manifests(controller.storage).keep_up()
    path = controller.storage.folder(mine.folder).documents.manifest_path
    told = json.loads(path.read_text())
    row = json.loads(controller.storage.folder(other.folder).documents.manifest_path.read_text())["workers"][0]
    told["workers"] = [row, {**row, "name": "../../x"}, {**row, "name": "job-99"}]
    told["events"] = [{**event, "subject_id": other.id} for event in told["events"]]
    told["events"].append({**told["events"][0], "subject": "worker", "subject_id": row["id"]})
    path.write_text(json.dumps(told))
    erase(controller)
    assert rebuild_database(settings, NOW, Lines(print)).left_alone == ()
    again = successor(settings)
    assert [(worker.name, worker.job_id) for worker in Worker.select()] == [(f"job-{other.id}", other.id)]
    assert [event.who for event in Event.select().where(Event.subject == "job", Event.subject_id == other.id)] == ["bob"]
    again.database.close()
