"""How much an owner may store, and upkeep: what is given up, forgotten, counted."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.app import Controller
from server.db.models import Job, JobBytes, Upload
from server.engine.duties.uploads import MEASURED_AGAIN_S, REMEMBERED_S, UploadUpkeep
from server.services.accounts.groups import GroupService
from server.services.accounts.users import NewUser, UserService
from server.services.principal import Principal
from server.services.uploads.errors import QuotaExceeded
from server.services.uploads.quotas import GB, StoredQuotas, usage
from server.services.uploads.service import UploadService
from server.states import JobState, UploadState
from server.storage.inputs.partials import FOLDER
from tests.conftest import submission
from tests.services.uploads.conftest import waiting_job
from tests.services.uploads.serving import service_of, taking_uploads
from tests.services.uploads.tus import PATH, TUS, Tus

ADA = Principal.desktop("ada")


class Clock:
    def __init__(self) -> None:
        self.now = 1_900_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limited(controller: Controller, clock: Clock) -> UploadService:
    """Everybody may store a thousand bytes."""
    return service_of(controller, StoredQuotas(1000 / GB), clock)


@pytest.fixture
def upkeep(controller: Controller, clock: Clock) -> UploadUpkeep:
    return UploadUpkeep(controller.storage, clock)


@pytest.fixture
def tus(controller: Controller, limited: UploadService) -> Iterator[Tus]:
    with taking_uploads(controller, limited) as url:
        yield Tus(url)


def test_more_than_the_quota_is_refused_before_the_first_byte(tus: Tus, limited: UploadService) -> None:
    assert tus.post(1001, filename="a.txt").status_code == 413
    tus.begun(600, filename="a.txt")
    answer = tus.post(401, filename="b.txt")
    told = answer.json()
    assert (answer.status_code, told["code"], told["field"]) == (413, "quota_exceeded", "Upload-Length")
    assert told["hint"]
    assert tus.post(400, filename="b.txt").status_code == 201
    assert Tus(str(tus.http.base_url), "eve").post(1000, filename="c.txt").status_code == 201


def test_what_ends_gives_its_room_back(tus: Tus) -> None:
    url = tus.begun(1000, filename="a.txt")
    assert tus.post(1, filename="b.txt").status_code == 413
    tus.http.delete(url, headers=TUS)
    assert tus.post(1000, filename="b.txt").status_code == 201


def test_a_shared_file_counts_for_who_sent_it_as_long_as_it_is_there(
    tus: Tus, controller: Controller, upkeep: UploadUpkeep
) -> None:
    tus.sent(b"x" * 700, filename="a.txt")
    upkeep.keep_up()
    assert usage(["ada"]) == 700
    (controller.storage.data / "a.txt").unlink()
    upkeep.keep_up()
    assert usage(["ada"]) == 0
    assert tus.http.get(PATH).json()["uploads"][0]["state"] == "gone"


class Hesitant(StoredQuotas):
    """Long enough between the question and its use that others ask meanwhile, if they can."""

    def room(self, owner: str) -> int | None:
        found = super().room(owner)
        time.sleep(0.02)
        return found


def test_two_that_begin_at_once_cannot_both_take_the_last_room(controller: Controller) -> None:
    limited = service_of(controller, Hesitant(1000 / GB))
    outcomes: list[str] = []
    together = threading.Barrier(8)

    def begin(number: int) -> None:
        together.wait()
        try:
            limited.create(ADA, f"{number}.txt", 300)
        except QuotaExceeded:
            outcomes.append("refused")
        else:
            outcomes.append("begun")

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["begun"] * 3 + ["refused"] * 5


def test_job_folders_count_once_and_pinned_files_for_who_has_sent_them(
    tus: Tus, controller: Controller, upkeep: UploadUpkeep, clock: Clock
) -> None:
    (controller.storage.data / "a.txt").write_bytes(b"old")
    job = waiting_job(controller, "a.txt", "b.txt")
    folder = controller.storage.folder(job.folder)
    tus.sent(b"x" * 100, filename="a.txt", job=str(job.id))
    tus.sent(b"y" * 50, filename="b.txt", job=str(job.id))
    assert usage(["ada"]) == 150
    clock.now += 1
    (folder.input / "b.txt").hardlink_to(controller.storage.data / "b.txt")  # as when it is pinned
    upkeep.keep_up()
    own = sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file() and path.stat().st_nlink == 1)
    assert own > 100
    assert usage(["ada"]) == own + 50
    (folder.output / "result.txt").write_bytes(b"z" * 70)
    clock.now += MEASURED_AGAIN_S + 1
    upkeep.keep_up()
    assert usage(["ada"]) == own + 50 + 70
    Job.update(state=JobState.DELETED).execute()
    assert usage(["ada"]) == 50
    upkeep.keep_up()
    assert usage(["ada"]) == 50
    assert not JobBytes.select().exists()


def test_the_folder_of_a_job_that_ended_is_measured_once_more_and_no_more(
    controller: Controller, upkeep: UploadUpkeep, clock: Clock
) -> None:
    job = controller.jobs.submit(*submission())
    upkeep.keep_up()
    Job.update(state=JobState.DONE, ended=clock.now + 10).execute()
    result = controller.storage.folder(job.folder).output / "result.txt"
    result.write_bytes(b"z" * 70)
    before = usage(["ada"])
    clock.now += 20
    upkeep.keep_up()
    assert usage(["ada"]) == before + 70
    result.write_bytes(b"z" * 700)
    clock.now += 10 * MEASURED_AGAIN_S
    upkeep.keep_up()
    assert usage(["ada"]) == before + 70


def test_a_user_and_each_group_have_limits_of_their_own(controller: Controller) -> None:
    root = Principal.local_admin("root")
    users, groups = UserService(time.time), GroupService(time.time)
    for name, quota in (("ada", 5.0), ("bob", None), ("eve", 0.0)):
        users.create(root, NewUser(name, quota_gb=quota))
    groups.create(root, "lab", quota_gb=4.0)
    groups.create(root, "free")
    for group, name in (("lab", "ada"), ("lab", "bob"), ("free", "bob")):
        groups.add_member(root, group, name)
    service = service_of(controller)
    quotas = StoredQuotas(2)
    rooms = {name: quotas.room(name) for name in ("ada", "bob", "eve", "zoe")}
    assert rooms == {"ada": 4 * GB, "bob": 2 * GB, "eve": 0, "zoe": 2 * GB}
    service.create(Principal.desktop("bob"), "b.raw", 3 * GB)  # by somebody who limits nobody
    assert (quotas.room("ada"), quotas.room("bob"), quotas.room("zoe")) == (GB, -GB, 2 * GB)


def test_there_is_no_limit_where_none_is_set(controller: Controller) -> None:
    assert StoredQuotas(0).room("ada") is None


def test_an_upload_that_nobody_continues_expires_and_says_so(
    tus: Tus, controller: Controller, upkeep: UploadUpkeep, clock: Clock
) -> None:
    url = tus.begun(10, filename="a.txt")
    clock.now += controller.settings.upload_keep_s - 10
    tus.patch(url, b"12345")
    clock.now += 100
    upkeep.keep_up()
    assert tus.offset(url) == 5
    clock.now += controller.settings.upload_keep_s
    upkeep.keep_up()
    answer = tus.patch(url, b"67890", 5)
    assert (answer.status_code, answer.json()["code"]) == (410, "upload_gone")
    assert "nobody has continued it" in answer.json()["detail"]
    assert not any((controller.storage.root / FOLDER).iterdir())
    assert usage(["ada"]) == 0
    clock.now += REMEMBERED_S + 1
    upkeep.keep_up()
    assert tus.head(url).status_code == 404


def test_an_upload_for_a_job_that_ended_is_given_up(tus: Tus, controller: Controller, upkeep: UploadUpkeep) -> None:
    job = waiting_job(controller, "a.txt")
    url = tus.begun(10, filename="a.txt", job=str(job.id))
    tus.patch(url, b"12345")
    upkeep.keep_up()
    assert tus.offset(url) == 5
    controller.jobs.cancel(ADA, job.id)
    upkeep.keep_up()
    assert Upload.get().state == UploadState.EXPIRED
    assert not any((controller.storage.root / FOLDER).iterdir())


def test_files_that_no_row_knows_are_removed_after_a_day(
    tus: Tus, controller: Controller, upkeep: UploadUpkeep, clock: Clock
) -> None:
    url = tus.begun(10, filename="a.txt")
    tus.patch(url, b"12345")
    stray = controller.storage.root / FOLDER / "stray"
    stray.write_bytes(b"x")
    upkeep.keep_up()  # by this clock, all of them are old
    assert [path.name for path in stray.parent.iterdir()] == [url.rpartition("/")[2]]


def test_a_storage_that_is_away_changes_nothing(tus: Tus, controller: Controller, upkeep: UploadUpkeep, tmp_path: Path) -> None:
    tus.sent(b"x" * 700, filename="a.txt")
    controller.storage.root.rename(tmp_path / "away")
    upkeep.keep_up()
    (tmp_path / "away").rename(controller.storage.root)
    assert Upload.get().state == UploadState.DONE
