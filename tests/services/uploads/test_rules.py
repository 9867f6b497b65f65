"""The rules of the way into the storage, for what comes by HTTP: names, contents, jobs, owners."""

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from server.app import Controller
from server.application import create_app
from server.db.models import Event, Job, Upload
from server.services.principal import Principal
from server.services.uploads.service import UploadService
from server.states import JobState, UploadState
from server.storage.data import entries
from server.storage.inputs import landing
from server.storage.inputs.arrivals import read_sent
from server.storage.inputs.partials import FOLDER
from server.storage.inputs.pins import APART
from tests.conftest import eventually, state_of, turning
from tests.services.uploads.conftest import waiting_job
from tests.services.uploads.tus import PATH, Tus
from tests.storage.killing import killed_at


def paths(controller: Controller, job: Job) -> list[str]:
    """Where the files are that the job uses."""
    sent = read_sent(controller.storage.folder(job.folder))
    assert sent is not None
    return [one.path for one in sent.files]


def job_of(controller: Controller) -> Callable[..., Job]:
    return lambda *names, **more: waiting_job(controller, *names, **more)


def test_a_job_runs_with_the_files_that_were_sent_for_it(tus: Tus, controller: Controller) -> None:
    job = waiting_job(controller, "a.txt", "b.txt")
    with turning(controller):
        assert tus.sent(b"12345", filename="a.txt", job=str(job.id)).status_code == 204
        assert state_of(job.id) == JobState.UPLOADING
        assert tus.sent(b"123", filename="b.txt", job=str(job.id)).status_code == 204
        eventually(lambda: state_of(job.id).is_final)
    assert state_of(job.id) == JobState.DONE, Job.get_by_id(job.id).message
    assert paths(controller, job) == ["data/a.txt", "data/b.txt"]
    result = (controller.storage.folder(job.folder).output / "result.txt").read_text()
    assert result.split() == ["hello", "5", "3"]


def test_a_checksum_comes_with_what_was_sent(tus: Tus, controller: Controller) -> None:
    job = waiting_job(controller, "a.txt")
    tus.sent(b"hello", filename="a.txt", job=str(job.id))
    sent = read_sent(controller.storage.folder(job.folder))
    assert sent is not None
    assert [(one.size, one.checksum) for one in sent.files] == [
        (5, "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
    ]


def test_the_same_content_is_shared_and_stored_once(tus: Tus, controller: Controller) -> None:
    shared = controller.storage.data / "a.txt"
    shared.write_bytes(b"same")
    inode = shared.stat().st_ino
    job = waiting_job(controller, "a.txt")
    assert tus.sent(b"same", filename="a.txt", job=str(job.id)).status_code == 204
    assert tus.sent(b"same", filename="a.txt").status_code == 204
    assert (shared.stat().st_ino, paths(controller, job)) == (inode, ["data/a.txt"])
    assert not any((controller.storage.root / FOLDER).iterdir())


def test_another_content_is_kept_with_its_job_whose_events_say_so(tus: Tus, controller: Controller) -> None:
    (controller.storage.data / "a.txt").write_bytes(b"old")
    job = waiting_job(controller, "a.txt")
    with turning(controller):
        assert tus.sent(b"new", filename="a.txt", job=str(job.id)).status_code == 204
        eventually(lambda: state_of(job.id).is_final)
    folder = controller.storage.folder(job.folder)
    assert paths(controller, job) == [f"jobs/{job.folder}/input/a.txt"]
    assert (folder.input / "a.txt").read_bytes() == b"new"
    assert (controller.storage.data / "a.txt").read_bytes() == b"old"
    assert f"a.txt: {APART}" in [event.text for event in Event.select().where(Event.subject_id == job.id)]


@pytest.mark.parametrize("content", [b"new", b"longer"])
def test_another_content_without_a_job_is_refused(tus: Tus, controller: Controller, content: bytes) -> None:
    (controller.storage.data / "a.txt").write_bytes(b"old")
    begun = tus.post(len(content), filename="a.txt")
    answer = tus.patch(begun.headers["Location"], content) if begun.status_code == 201 else begun
    assert (begun.status_code == 201) == (len(content) == 3)  # one of another length is refused before the first byte
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (409, "name_taken", "filename")
    assert (controller.storage.data / "a.txt").read_bytes() == b"old"


def test_a_link_and_a_folder_in_the_shared_data_are_other_files(tus: Tus, controller: Controller, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"same")
    (controller.storage.data / "link.txt").symlink_to(secret)
    (controller.storage.data / "run.d").mkdir()
    assert tus.post(4, filename="link.txt").status_code == 409
    assert tus.post(4, filename="run.d").status_code == 409
    job = waiting_job(controller, "link.txt")
    assert tus.sent(b"same", filename="link.txt", job=str(job.id)).status_code == 204
    assert paths(controller, job) == [f"jobs/{job.folder}/input/link.txt"]


def test_a_name_in_another_unicode_form_is_the_same(tus: Tus, controller: Controller) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Prüfung.txt") for form in ("NFC", "NFD"))
    (controller.storage.data / decomposed).write_bytes(b"same")
    job = waiting_job(controller, composed)
    assert tus.sent(b"same", filename=decomposed, job=str(job.id)).status_code == 204
    assert paths(controller, job) == [f"data/{decomposed}"]
    assert [path.name for path in controller.storage.data.iterdir()] == [decomposed]


def test_two_jobs_send_different_files_of_one_name_at_once(tus: Tus, controller: Controller) -> None:
    jobs = [waiting_job(controller, "a.txt") for _ in range(2)]
    urls = [tus.begun(4, filename="a.txt", job=str(job.id)) for job in jobs]
    for url, part in zip(urls, (b"on", b"tw"), strict=True):
        tus.patch(url, part)
    for url, part in zip(urls, (b"e1", b"o2"), strict=True):
        assert tus.patch(url, part, 2).status_code == 204
    assert paths(controller, jobs[0]) == ["data/a.txt"]
    assert paths(controller, jobs[1]) == [f"jobs/{jobs[1].folder}/input/a.txt"]
    assert (controller.storage.folder(jobs[1].folder).input / "a.txt").read_bytes() == b"two2"


def test_what_is_on_its_way_is_in_no_listing(tus: Tus, controller: Controller) -> None:
    url = tus.begun(10, filename="a.txt")
    tus.patch(url, b"12345")
    assert list(entries(controller.storage.data)) == []
    assert create_app(controller).test_client().get("/storage").get_json() == []
    assert controller.storage.job_folders() == {}


def test_another_users_job_is_not_there(tus: Tus, url: str, controller: Controller) -> None:
    job = waiting_job(controller, "a.txt")
    answer = Tus(url, "eve").post(3, filename="a.txt", job=str(job.id))
    assert (answer.status_code, answer.json()["field"]) == (404, "job")
    assert not Upload.select().exists()


def test_a_file_that_the_form_does_not_name_is_refused_with_those_that_it_does(tus: Tus, controller: Controller) -> None:
    job = waiting_job(controller, "a.txt")
    answer = tus.post(3, filename="b.txt", job=str(job.id))
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (409, "not_awaited", "filename")
    assert "it names a.txt" in answer.json()["detail"]


def test_one_file_comes_to_one_job_once_at_a_time(tus: Tus, controller: Controller) -> None:
    job = str(waiting_job(controller, "a.txt").id)
    first = tus.begun(3, filename="a.txt", job=job)
    answer = tus.post(3, filename="a.txt", job=job)
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_exists")
    assert first.rpartition("/")[2] in answer.json()["detail"]
    tus.http.delete(first, headers={"Tus-Resumable": "1.0.0"})
    assert tus.sent(b"abc", filename="a.txt", job=job).status_code == 204


def test_a_job_whose_files_are_all_there_takes_no_more(tus: Tus, controller: Controller) -> None:
    job = str(waiting_job(controller, "a.txt").id)
    tus.sent(b"abc", filename="a.txt", job=job)
    assert tus.post(3, filename="a.txt", job=job).json()["code"] == "not_awaited"


def test_a_job_that_was_cancelled_meanwhile_gets_nothing(tus: Tus, controller: Controller) -> None:
    job = waiting_job(controller, "a.txt")
    url = tus.begun(3, filename="a.txt", job=str(job.id))
    controller.jobs.cancel(Principal.desktop("ada"), job.id)
    answer = tus.patch(url, b"abc")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_awaited")
    assert not any(controller.storage.data.iterdir())
    assert tus.head(url).status_code == 410


def test_a_job_does_not_start_with_a_file_that_is_not_what_was_announced(tus: Tus, controller: Controller) -> None:
    job = waiting_job(controller, "a.txt")
    answer = tus.sent(b"abc", filename="a.txt", job=str(job.id), sha256="0" * 64)
    assert answer.status_code == 422
    folder = controller.storage.folder(job.folder)
    assert (folder.has_arrived(), any(folder.input.iterdir()), any(controller.storage.data.iterdir())) == (False, False, False)
    assert tus.sent(b"abc", filename="a.txt", job=str(job.id)).status_code == 204
    assert folder.has_arrived()


def test_a_job_uses_a_file_that_the_storage_has(tus: Tus, controller: Controller) -> None:
    (controller.storage.data / "human.fasta").write_bytes(b">P1\nPEPTIDE")
    job = waiting_job(controller, "human.fasta", "a.txt")
    answer = tus.http.post(f"{PATH}/stored", json={"job": job.id, "filename": "human.fasta"})
    assert (answer.status_code, answer.json()["place"]) == (201, "data/human.fasta")
    tus.sent(b"abc", filename="a.txt", job=str(job.id))
    sent = read_sent(controller.storage.folder(job.folder))
    assert sent is not None
    assert (sent.stored, len(sent.files)) == (("human.fasta",), 2)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"job": 1, "filename": "nowhere.txt"}, 409),
        ({"job": 1, "filename": "a.txt"}, 400),
        ({"job": 1, "filename": "../a.txt"}, 400),
        ({"job": 99, "filename": "a.txt"}, 404),
        ({"job": True, "filename": "a.txt"}, 400),
        ({"job": "1", "filename": "a.txt"}, 400),
        ({"job": 1}, 400),
        ([], 400),
    ],
)
def test_a_stored_file_that_cannot_be_used_is_refused(tus: Tus, controller: Controller, given: object, status: int) -> None:
    waiting_job(controller, "a.txt")
    answer = tus.http.post(f"{PATH}/stored", json=given)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert not Upload.select().exists()


def test_a_folder_of_another_file_system_gets_a_copy(tus: Tus, controller: Controller, tmp_path: Path) -> None:
    if Path("/dev/shm").stat().st_dev == controller.storage.root.stat().st_dev:
        pytest.skip("this computer has one file system only")
    elsewhere = Path("/dev/shm") / f"cumulus-test-{os.getpid()}"
    elsewhere.mkdir()
    try:
        controller.storage.data.rmdir()
        controller.storage.data.symlink_to(elsewhere)
        assert tus.sent(b"hello", filename="a.txt").status_code == 204
        assert [(path.name, path.read_bytes()) for path in elsewhere.iterdir()] == [("a.txt", b"hello")]
        assert not any((controller.storage.root / FOLDER).iterdir())
    finally:
        shutil.rmtree(elsewhere)


def test_an_upload_lands_once_however_it_is_killed(tmp_path: Path, controller: Controller) -> None:
    storage = controller.storage
    whole = landing.Whole(tmp_path / "made", 5, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
    job = waiting_job(controller, "a.txt")
    folder = storage.folder(job.folder)
    for work in (lambda: landing.share(storage, whole, "a.txt"), lambda: landing.keep(folder, whole, "a.txt")):
        for point in range(100):
            whole.path.write_bytes(b"hello")
            is_whole = killed_at(point, work)
            arrival = work()
            assert arrival is not None
            assert (storage.root / arrival.path).read_bytes() == b"hello"
            assert not whole.path.exists()
            (storage.root / arrival.path).unlink()
            if is_whole:
                break
        assert point >= 2


def test_an_upload_whose_last_step_was_killed_is_finished_by_the_next_controller(
    tus: Tus, service: UploadService, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = waiting_job(controller, "a.txt")
    url = tus.begun(5, filename="a.txt", job=str(job.id))

    def fail(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(service._landing, "_place", fail)
        with pytest.raises(SystemExit):
            service.append(Principal.desktop("ada"), url.rpartition("/")[2], 0, _Bytes(b"hello"))
    assert Upload.get().state == UploadState.COMPLETE
    service.finish_interrupted()
    assert paths(controller, job) == ["data/a.txt"]
    assert tus.http.get(url).json()["state"] == "done"


def test_who_asks_for_the_offset_finishes_it_too(
    tus: Tus, service: UploadService, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = tus.begun(5, filename="a.txt")
    tus.patch(url, b"hell")
    Upload.update(state=UploadState.COMPLETE, received=5, digest="0").execute()
    (controller.storage.root / FOLDER / url.rpartition("/")[2]).write_bytes(b"hello")
    assert tus.offset(url) == 5
    assert (controller.storage.data / "a.txt").read_bytes() == b"hello"


def test_a_job_whose_last_file_came_when_a_controller_was_killed_starts(
    tus: Tus, service: UploadService, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = waiting_job(controller, "a.txt")
    with monkeypatch.context() as patched:
        patched.setattr(service._jobs, "conclude", lambda _job: False)
        tus.sent(b"abc", filename="a.txt", job=str(job.id))
    assert not controller.storage.folder(job.folder).has_arrived()
    service.finish_interrupted()
    assert controller.storage.folder(job.folder).has_arrived()


def test_a_full_storage_takes_no_upload_before_the_first_byte(
    tus: Tus, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    tus.begun(600, filename="other.txt")
    monkeypatch.setattr(type(controller.storage), "free_bytes", lambda _self: 1000)
    assert tus.post(400, filename="a.txt").status_code == 201
    answer = tus.post(1, filename="b.txt")
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (507, "storage_full", "Upload-Length")


def test_a_disk_that_becomes_full_keeps_what_came(tus: Tus, controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    url = tus.begun(10, filename="a.txt")
    tus.patch(url, b"12345")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("server.storage.inputs.partials.Partial.write", full)
        answer = tus.patch(url, b"67890", 5)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (507, "5")
    assert tus.patch(url, b"67890", 5).status_code == 204


class _Bytes:
    """A body that is there."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def left(self) -> int:
        return len(self._content)

    def readinto(self, buffer: memoryview) -> int:
        got = self._content[: len(buffer)]
        buffer[: len(got)] = got
        self._content = self._content[len(got) :]
        return len(got)

    def quiet_s(self) -> float:
        return 0.0

    def interrupt(self) -> None:
        pass
