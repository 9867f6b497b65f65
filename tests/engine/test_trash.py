"""What was removed waits in the trash, gives way where room is short, and can be had back."""

import os
import stat
from pathlib import Path

import pytest

from server.app import Controller, make_controller, rebuild_database
from server.db.models import Event, Job
from server.db.transitions import Change
from server.engine.duties.restoring import NotRestorable, Restorer
from server.engine.duties.retention import DAY_S, Retention
from server.engine.duties.sightings import trash_bytes
from server.engine.duties.trashcan import Trashcan
from server.engine.records.job_store import StorageFull
from server.engine.records.manifest_format import read_manifest
from server.engine.records.manifests import Manifests
from server.engine.records.recovery import recover
from server.errors import NotFound
from server.home.installation import installation_id
from server.progress import Lines
from server.services.principal import Principal
from server.settings import Settings
from server.states import JobState
from server.storage.folders import Storage
from server.workers.clouds.local import LocalCloud
from tests.conftest import state_of, submission
from tests.engine.test_two_looks import Elapsed

AGE = 90
CHANGE = Change(4e9, who="root", text="restored")


@pytest.fixture
def elapsed() -> Elapsed:
    return Elapsed()


@pytest.fixture
def trashcan(controller: Controller, elapsed: Elapsed) -> Trashcan:
    return Trashcan(controller.storage, 7, elapsed)


@pytest.fixture
def rules(controller: Controller, trashcan: Trashcan, elapsed: Elapsed) -> Retention:
    return Retention(controller.storage, AGE, trashcan, elapsed)


def ended(controller: Controller, state: JobState = JobState.DONE, name: str = "") -> Job:
    """A job that has ended, with a result; ``name``: of a shared file that it has read."""
    inputs = f', "inputs": ["/far/{name}"]' if name else ""
    job = controller.jobs.submit(*submission(settings=f'{{"text": "x", "seconds": "0", "outcome": "ok"{inputs}}}'))
    Job.update(state=state, outcome=state, ended=job.created).where(Job.id == job.id).execute()
    folder = controller.storage.folder(job.folder)
    (folder.output / "deep").mkdir()
    (folder.output / "deep" / "result.txt").write_text("12345")
    return Job.get_by_id(job.id)


def clean(rules: Retention, job: Job) -> None:
    now = job.created + (AGE + 1) * DAY_S
    rules.remove(rules.plan(now).removals, now)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("state", [JobState.DONE, JobState.FAILED, JobState.CANCELLED])
def test_an_archived_job_comes_back_as_it_was(
    controller: Controller, rules: Retention, trashcan: Trashcan, state: JobState
) -> None:
    job = ended(controller, state)
    folder = controller.storage.folder(job.folder)
    folder.log.path.write_bytes(b"begin\n" + b"x" * 3_000_000 + b"\nend\n")
    rest = ("job", "job.json")  # written again
    before = {name: content for name, content in tree(folder.path).items() if not name.endswith(rest)}
    clean(rules, job)
    assert (state_of(job.id), folder.output.exists()) == (JobState.ARCHIVED, False)
    assert folder.log.path.stat().st_size < 1_200_000
    assert "again, with what it had" in Restorer(controller.storage).restore(str(job.id), CHANGE)
    assert state_of(job.id) is state
    assert {name: content for name, content in tree(folder.path).items() if not name.endswith(rest)} == before
    assert read_manifest(folder).state is state  # type: ignore[union-attr]
    event = Event.select().order_by(Event.id.desc()).first()
    assert (event.old, event.new, event.who) == ("archived", state, "root")
    assert trashcan.listed() == []
    with pytest.raises(NotFound):
        Restorer(controller.storage).restore(str(job.id), CHANGE)


def test_an_archived_job_comes_back_also_after_its_database_was_lost(
    controller: Controller, settings: Settings, rules: Retention
) -> None:
    job, gone = ended(controller), ended(controller)
    controller.jobs.delete(Principal.desktop("ada"), gone.id)
    clean(rules, job)
    Manifests(controller.storage).keep_up()
    size = trash_bytes()
    controller.database.close()
    for path in settings.home.glob("cumulus.sqlite*"):
        path.unlink()
    rebuild_database(settings, 4e9, Lines(lambda _: None))
    again = make_controller(settings, LocalCloud(settings, installation_id(settings.home)))
    again.jobs.finish_interrupted()
    assert trash_bytes() == size > 0
    assert "again, with what it had" in Restorer(again.storage).restore(str(job.id), CHANGE)
    assert (again.storage.folder(job.folder).output / "deep" / "result.txt").read_text() == "12345"
    with pytest.raises(NotRestorable, match="deleted by its owner"):
        Restorer(again.storage).restore(str(gone.id), CHANGE)
    assert {row.id: row.state for row in Job.select()} == {job.id: JobState.DONE, gone.id: JobState.DELETED}
    again.loop.stop(1)
    again.database.close()


def test_shared_data_comes_back_and_replaces_nothing(controller: Controller, rules: Retention, trashcan: Trashcan) -> None:
    data = controller.storage.data
    for name in ("a.dat", "b.dat"):
        (data / name).write_text(name)
    (data / "run.d").mkdir()
    (data / "run.d" / "part").write_text("1")
    for name in ("a.dat", "b.dat", "run.d"):
        job = ended(controller, name=name)
    clean(rules, job)
    assert not list(data.glob("*"))
    (data / "b.dat").write_text("another")
    assert "a.dat is in the shared data" in Restorer(controller.storage).restore("a.dat", CHANGE)
    Restorer(controller.storage).restore("run.d", CHANGE)
    with pytest.raises(NotRestorable, match=r"another b\.dat"):
        Restorer(controller.storage).restore("b.dat", CHANGE)
    assert tree(data) == {"a.dat": b"a.dat", "b.dat": b"another", "run.d/part": b"1"}
    (data / "b.dat").unlink()
    Restorer(controller.storage).restore("b.dat", CHANGE)
    assert (data / "b.dat").read_text() == "b.dat"


def test_what_was_had_back_counts_as_used_then(controller: Controller, rules: Retention, trashcan: Trashcan) -> None:
    (controller.storage.data / "a.dat").write_text("a")
    job = ended(controller, name="a.dat")
    clean(rules, job)
    later = Change(job.created + (AGE + 2) * DAY_S)
    Restorer(controller.storage).restore("a.dat", later)
    Restorer(controller.storage).restore(str(job.id), later)
    (controller.storage.data / "a.dat").chmod(0o444)  # as one that a job has pinned: only its own time counts
    os.utime(controller.storage.data / "a.dat", (1, 1))
    assert rules.plan(later.at + (AGE - 1) * DAY_S).removals == ()
    assert {one.kind for one in rules.plan(later.at + (AGE + 1) * DAY_S).removals} == {"job", "data"}


def test_of_a_job_that_was_archived_and_then_deleted_all_places_are_named(
    controller: Controller, rules: Retention, trashcan: Trashcan
) -> None:
    job = ended(controller)
    clean(rules, job)
    controller.jobs.delete(Principal.desktop("ada"), job.id)
    contents = [str(entry.content) for entry, _ in trashcan.listed()]
    assert len(contents) == 2
    for name in (str(job.id), job.folder, *(entry.name for entry, _ in trashcan.listed())):
        with pytest.raises(NotRestorable) as refused:
            Restorer(controller.storage).restore(name, CHANGE)
        assert all(content in refused.value.message for content in contents)


@pytest.mark.parametrize("name", ["../data", "/etc", "a/b", "..", ".", ""])
def test_a_record_that_names_another_place_counts_for_none(
    controller: Controller, rules: Retention, trashcan: Trashcan, name: str
) -> None:
    job = ended(controller)
    clean(rules, job)
    ((entry, _),) = trashcan.listed()
    record = entry.path / "entry.json"
    record.write_text(record.read_text().replace(job.folder, name))
    assert trashcan.listed() == []
    with pytest.raises(NotFound):
        Restorer(controller.storage).restore(entry.name, CHANGE)


def test_what_its_owner_deletes_waits_in_the_trash_and_does_not_come_back_by_itself(controller: Controller) -> None:
    job = ended(controller)
    controller.jobs.delete(Principal.desktop("ada"), job.id)
    assert not controller.storage.folder(job.folder).path.exists()
    trashcan = Trashcan(controller.storage, controller.settings.trash_days)
    ((entry, left_s),) = trashcan.listed()
    assert entry.record is not None
    assert (entry.record.kind, entry.record.job_id, entry.record.owner) == ("deleted", job.id, "ada")
    assert left_s == 7 * DAY_S
    with pytest.raises(NotRestorable, match=str(entry.content)):
        Restorer(controller.storage).restore(str(job.id), CHANGE)
    assert (entry.content / job.folder / "output" / "deep" / "result.txt").read_text() == "12345"
    assert state_of(job.id) is JobState.DELETED


def test_nobody_but_the_controllers_user_may_look_into_it_and_no_worker_is_shown_it(
    controller: Controller, rules: Retention
) -> None:
    clean(rules, ended(controller))
    place = controller.storage.root / ".cumulus.trash"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(entry.stat().st_mode) == 0o700 for entry in place.iterdir())
    for shown in (controller.storage.data, controller.storage.jobs):  # what workers mount
        assert not place.is_relative_to(shown)


def test_the_trash_is_no_job_and_no_data(controller: Controller, rules: Retention, trashcan: Trashcan) -> None:
    """Also where it lies beside them, since they are file systems of their own."""
    job = ended(controller)
    clean(rules, job)
    for place in (controller.storage.jobs, controller.storage.data):
        (controller.storage.root / ".cumulus.trash").rename(place / ".cumulus.trash")
        assert len(trashcan.listed()) == 1
        assert rules.plan(4e9).unknown == ()
        assert [one.folder for one in recover(controller.storage, controller.flavors, "m1.4xlarge")[0]] == [job.folder]
        (place / ".cumulus.trash").rename(controller.storage.root / ".cumulus.trash")


def test_it_is_emptied_after_its_days_have_really_passed(
    controller: Controller, rules: Retention, trashcan: Trashcan, elapsed: Elapsed
) -> None:
    job = ended(controller)
    clean(rules, job)
    far = job.created + 1000 * DAY_S
    elapsed.seconds += 7 * DAY_S - 1
    trashcan.expire(far)
    assert [left_s for _, left_s in trashcan.listed()] == [1]
    elapsed.seconds += 1
    trashcan.expire(far)
    assert trashcan.listed() == []
    assert list((controller.storage.root / ".cumulus.trash").iterdir()) == []


def test_after_a_new_database_everything_in_it_stays_its_days_once_more(
    controller: Controller, rules: Retention, trashcan: Trashcan, elapsed: Elapsed
) -> None:
    elapsed.seconds = 50 * DAY_S
    clean(rules, ended(controller))
    elapsed.seconds = 0.0
    trashcan.expire(4e9)
    elapsed.seconds = 6.9 * DAY_S
    trashcan.expire(4e9)
    assert len(trashcan.listed()) == 1
    elapsed.seconds = 7 * DAY_S
    trashcan.expire(4e9)
    assert trashcan.listed() == []


class Disk:
    """A storage whose free room is what a test says, less what lies in the trash."""

    def __init__(self, storage: Storage, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        trash = storage.root / ".cumulus.trash"

        def free(_: Storage) -> int:
            return room - sum(path.stat().st_size for path in trash.rglob("large.bin"))

        monkeypatch.setattr(Storage, "free_bytes", free)


def large(controller: Controller, rules: Retention, elapsed: Elapsed, number: int) -> list[str]:
    """Jobs of 100 MB each that go into the trash one after the other; their folders."""
    folders = []
    for _ in range(number):
        job = ended(controller)
        with (controller.storage.folder(job.folder).output / "large.bin").open("wb") as file:
            file.truncate(100_000_000)
        clean(rules, job)
        elapsed.seconds += 60
        folders.append(job.folder)
    return folders


def in_the_trash(trashcan: Trashcan) -> list[str]:
    return sorted(entry.record.name for entry, _ in trashcan.listed() if entry.record)


def test_where_room_is_short_the_oldest_goes_first_and_no_more_than_is_needed(
    controller: Controller, rules: Retention, trashcan: Trashcan, elapsed: Elapsed, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = large(controller, rules, elapsed, 4)
    Disk(controller.storage, monkeypatch, 1_000_000_000)
    rules.relieve(600_000_000)
    assert in_the_trash(trashcan) == sorted(folders)
    rules.relieve(750_000_000)
    assert in_the_trash(trashcan) == sorted(folders[2:])
    rules.relieve(2_000_000_000)
    assert in_the_trash(trashcan) == []


def test_the_trash_counts_against_no_new_job(
    controller: Controller, rules: Retention, trashcan: Trashcan, elapsed: Elapsed, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = large(controller, rules, elapsed, 3)
    Disk(controller.storage, monkeypatch, 1_000_000_000)
    controller.jobs._store._min_free = 850_000_000
    controller.jobs.submit(*submission())
    assert in_the_trash(trashcan) == sorted(folders[2:])
    controller.jobs._store._min_free = 1_500_000_000
    with pytest.raises(StorageFull):
        controller.jobs.submit(*submission())


def test_without_trash_days_everything_goes_at_once(controller: Controller) -> None:
    rules = Retention(controller.storage, AGE, Trashcan(controller.storage, 0))
    clean(rules, ended(controller))
    assert not (controller.storage.root / ".cumulus.trash").exists()


def test_a_link_in_the_trashs_place_leads_nothing_elsewhere(
    controller: Controller, rules: Retention, trashcan: Trashcan, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (controller.storage.root / ".cumulus.trash").symlink_to(tmp_path / "elsewhere")
    job = ended(controller)
    clean(rules, job)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (controller.storage.folder(job.folder).output / "deep" / "result.txt").exists()
    with pytest.raises(NotADirectoryError):
        trashcan.listed()


def test_an_entry_whose_record_is_garbage_is_offered_to_nobody_and_goes_in_time(
    controller: Controller, rules: Retention, trashcan: Trashcan, elapsed: Elapsed
) -> None:
    clean(rules, ended(controller))
    (entry,) = (controller.storage.root / ".cumulus.trash").iterdir()
    (entry / "entry.json").write_text("{")
    assert trashcan.listed() == []
    with pytest.raises(NotFound):
        Restorer(controller.storage).restore(entry.name, CHANGE)
    elapsed.seconds += 8 * DAY_S
    trashcan.expire(4e9)
    assert not entry.exists()


def test_what_was_interrupted_half_way_into_the_trash_comes_back_whole(
    controller: Controller, rules: Retention, trashcan: Trashcan
) -> None:
    """Killed after the results had gone, before the input did: the next look takes the rest."""
    job = ended(controller)
    folder = controller.storage.folder(job.folder)
    (folder.input / "mine.txt").write_text("mine")
    clean(rules, job)
    trash = controller.storage.root / ".cumulus.trash"
    (entry,) = trash.iterdir()
    (entry / "content" / "input").rename(folder.input)
    clean(rules, job)
    assert len(trashcan.listed()) == 2
    Restorer(controller.storage).restore(str(job.id), CHANGE)
    assert ((folder.input / "mine.txt").read_text(), folder.output.is_dir()) == ("mine", True)
    assert trashcan.listed() == []


def test_a_restoring_that_was_interrupted_is_ended_by_the_next_one(
    controller: Controller, rules: Retention, trashcan: Trashcan
) -> None:
    """Killed when the files were back and the row was not."""
    job = ended(controller)
    clean(rules, job)
    trash = controller.storage.root / ".cumulus.trash"
    (entry,) = trash.iterdir()
    for path in (entry / "content").iterdir():
        path.rename(controller.storage.folder(job.folder).path / path.name)
    for path in (entry / "entry.json", entry / "content"):
        path.unlink() if path.is_file() else path.rmdir()
    entry.rmdir()
    assert "done again" in Restorer(controller.storage).restore(str(job.id), CHANGE)
    assert state_of(job.id) is JobState.DONE


def test_a_job_whose_results_have_left_the_trash_is_not_done_again(
    controller: Controller, rules: Retention, trashcan: Trashcan
) -> None:
    job = ended(controller)
    clean(rules, job)
    (entry,) = (controller.storage.root / ".cumulus.trash").iterdir()
    (entry / "content" / "output").rename(controller.storage.root / "gone")
    with pytest.raises(NotRestorable, match="lost its results for good"):
        Restorer(controller.storage).restore(str(job.id), CHANGE)
    assert state_of(job.id) is JobState.ARCHIVED
