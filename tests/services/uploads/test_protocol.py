"""The tus protocol, request by request, over a real socket."""

import base64
import hashlib
import socket
import zlib

import httpx
import pytest

from server.app import Controller
from server.db.models import Upload
from server.states import UploadState
from server.storage.inputs.partials import FOLDER
from tests.conftest import eventually
from tests.services.uploads.tus import PATH, STREAM, TUS, Tus, encoded


def digest_of(content: bytes, algorithm: str) -> str:
    if algorithm == "crc32":
        return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()
    return base64.b64encode(hashlib.new(algorithm, content).digest()).decode()


def test_a_file_in_parts_arrives_whole(tus: Tus, controller: Controller) -> None:
    url = tus.begun(11, filename="run.txt")
    assert tus.patch(url, b"hello ").headers["Upload-Offset"] == "6"
    assert tus.offset(url) == 6
    answer = tus.patch(url, b"world", 6)
    assert (answer.status_code, answer.headers["Upload-Offset"], answer.headers["Tus-Resumable"]) == (204, "11", "1.0.0")
    made = controller.storage.data / "run.txt"
    assert made.read_bytes() == b"hello world"
    assert made.stat().st_mode & 0o777 == 0o644
    assert not any((controller.storage.root / FOLDER).iterdir())
    shown = tus.http.get(url).json()
    assert (shown["state"], shown["place"], shown["filename"]) == ("done", "data/run.txt", "run.txt")
    assert shown["sha256"] == hashlib.sha256(b"hello world").hexdigest()


def test_parts_come_on_one_connection(tus: Tus) -> None:
    url = tus.begun(3, filename="run.txt")
    for number in range(3):
        assert "connection" not in tus.patch(url, b"x", number).headers


def test_options_say_what_the_server_can(tus: Tus) -> None:
    for path in (PATH, f"{PATH}/any"):
        answer = tus.http.options(path)
        assert answer.status_code == 204
        assert answer.headers["Tus-Version"] == "1.0.0"
        assert answer.headers["Tus-Extension"] == "creation,expiration,checksum,termination"
        assert answer.headers["Tus-Checksum-Algorithm"] == "sha256,sha1,crc32"
        assert int(answer.headers["Tus-Max-Size"]) > 1 << 40


def test_a_beginning_tells_where_to_send_and_until_when(tus: Tus) -> None:
    answer = tus.post(7, filename="a.txt")
    assert answer.headers["Location"] == f"{PATH}/{answer.json()['id']}"
    assert answer.headers["Upload-Offset"] == "0"
    assert answer.headers["Upload-Expires"].endswith("GMT")
    head = tus.head(answer.headers["Location"])
    assert (head.status_code, head.headers["Upload-Length"], head.headers["Cache-Control"]) == (200, "7", "no-store")
    assert head.headers["Upload-Metadata"] == encoded(filename="a.txt")


def test_an_empty_file_is_there_at_once(tus: Tus, controller: Controller) -> None:
    answer = tus.post(0, filename="empty.txt")
    assert answer.json()["state"] == "done"
    assert (controller.storage.data / "empty.txt").read_bytes() == b""
    assert tus.head(answer.headers["Location"]).headers["Upload-Offset"] == "0"
    assert tus.patch(answer.headers["Location"], b"").status_code == 204


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "crc32"])
def test_a_part_with_its_checksum_is_taken_and_with_another_is_not(tus: Tus, controller: Controller, algorithm: str) -> None:
    url = tus.begun(8, filename="a.txt")
    wrong = tus.patch(url, b"fort", **{"Upload-Checksum": f"{algorithm} {digest_of(b'four', algorithm)}"})
    assert (wrong.status_code, wrong.reason_phrase, wrong.json()["code"]) == (460, "Checksum Mismatch", "checksum_mismatch")
    assert tus.offset(url) == 0
    for offset, part in ((0, b"four"), (4, b"five")):
        told = {"Upload-Checksum": f"{algorithm} {digest_of(part, algorithm)}"}
        assert tus.patch(url, part, offset, **told).status_code == 204
    assert (controller.storage.data / "a.txt").read_bytes() == b"fourfive"


@pytest.mark.parametrize("told", ["md5 xxxx", "sha256", "sha256 !", "sha256 AAAA", ""])
def test_a_checksum_that_is_none_is_refused(tus: Tus, told: str) -> None:
    url = tus.begun(4, filename="a.txt")
    answer = tus.patch(url, b"four", **{"Upload-Checksum": told})
    assert (answer.status_code, answer.json()["field"]) == (400, "Upload-Checksum")
    assert tus.offset(url) == 0


def test_the_checksum_of_the_whole_is_verified_and_another_file_is_not_kept(tus: Tus, controller: Controller) -> None:
    good = hashlib.sha256(b"good").hexdigest()
    assert tus.sent(b"good", filename="good.txt", sha256=good.upper()).status_code == 204
    url = tus.begun(4, filename="bad.txt", sha256=good)
    answer = tus.patch(url, b"evil")
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "content_mismatch", "sha256")
    assert sorted(path.name for path in controller.storage.data.iterdir()) == ["good.txt"]
    assert not any((controller.storage.root / FOLDER).iterdir())
    assert tus.head(url).status_code == 410
    assert good in tus.http.get(url).json()["message"]


def test_an_offset_that_is_not_the_uploads_changes_nothing(tus: Tus) -> None:
    url = tus.begun(10, filename="a.txt")
    tus.patch(url, b"12345")
    for offset in (0, 4, 6, 10, 10**15):
        answer = tus.patch(url, b"x", offset)
        assert (answer.status_code, answer.headers["Upload-Offset"], answer.json()["code"]) == (409, "5", "wrong_offset")
    assert tus.offset(url) == 5


def test_more_than_the_length_is_refused_before_it_is_read(tus: Tus, controller: Controller) -> None:
    url = tus.begun(10, filename="a.txt")
    answer = tus.patch(url, b"x" * 3_000_000)
    assert (answer.status_code, answer.json()["code"], answer.headers["Connection"]) == (413, "too_long", "close")
    assert tus.offset(url) == 0
    assert tus.patch(url, b"x" * 10).status_code == 204


def test_an_upload_ends_when_its_owner_says_so(tus: Tus, controller: Controller) -> None:
    url = tus.begun(10, filename="a.txt")
    tus.patch(url, b"12345")
    assert tus.http.delete(url, headers=TUS).status_code == 204
    assert tus.head(url).status_code == 404
    assert tus.patch(url, b"x", 5).status_code == 404
    assert not any((controller.storage.root / FOLDER).iterdir())


def test_a_file_in_its_place_stays_when_its_upload_is_deleted(tus: Tus, controller: Controller) -> None:
    url = tus.begun(3, filename="a.txt")
    tus.patch(url, b"abc")
    assert tus.http.delete(url, headers=TUS).status_code == 204
    assert (controller.storage.data / "a.txt").read_bytes() == b"abc"


def test_another_users_upload_is_not_there(tus: Tus, url: str) -> None:
    own = tus.begun(5, filename="a.txt")
    other = Tus(url, "eve")
    answers = [other.head(own), other.http.get(own), other.patch(own, b"x"), other.http.delete(own, headers=TUS)]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert other.http.get(PATH).json() == {"uploads": []}
    assert [one["filename"] for one in tus.http.get(PATH).json()["uploads"]] == ["a.txt"]
    assert tus.offset(own) == 0


def test_what_can_only_be_posted_is_taken_too(tus: Tus, controller: Controller) -> None:
    url = tus.begun(3, filename="a.txt")
    told = {**TUS, "X-HTTP-Method-Override": "PATCH", "Upload-Offset": "0", "Content-Type": STREAM}
    assert tus.http.post(url, content=b"abc", headers=told).status_code == 204
    assert (controller.storage.data / "a.txt").read_bytes() == b"abc"


def test_a_part_in_chunks_is_taken(tus: Tus, controller: Controller) -> None:
    url = tus.begun(6, filename="a.txt")
    told = {**TUS, "Upload-Offset": "0", "Content-Type": STREAM}
    assert tus.http.patch(url, content=iter([b"abc", b"def"]), headers=told).status_code == 204
    assert (controller.storage.data / "a.txt").read_bytes() == b"abcdef"


def test_who_waits_to_be_asked_for_the_body_is_asked(url: str, tus: Tus) -> None:
    own = tus.begun(5, filename="a.txt")
    with _connected(url, own, length=5, more="Expect: 100-continue\r\n") as connection:
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hello")
        assert connection.recv(1000).startswith(b"HTTP/1.1 204")


def test_who_waits_to_be_asked_is_told_no_without_sending(url: str, tus: Tus) -> None:
    own = tus.begun(5, filename="a.txt")
    with _connected(url, own, length=4, offset=1, more="Expect: 100-continue\r\n") as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 409")


def test_what_came_of_a_part_that_breaks_off_is_kept(url: str, tus: Tus, controller: Controller) -> None:
    own = tus.begun(1_000_000, filename="a.txt")
    with _connected(url, own, length=1_000_000) as connection:
        connection.sendall(b"x" * 300_000)
    eventually(lambda: tus.offset(own) == 300_000)
    assert tus.patch(own, b"y" * 700_000, 300_000).status_code == 204
    assert (controller.storage.data / "a.txt").read_bytes() == b"x" * 300_000 + b"y" * 700_000


def test_of_a_broken_part_with_a_checksum_nothing_is_kept(url: str, tus: Tus) -> None:
    own = tus.begun(1000, filename="a.txt")
    told = f"Upload-Checksum: sha256 {digest_of(b'x' * 1000, 'sha256')}\r\n"
    with _connected(url, own, length=1000, more=told) as connection:
        connection.sendall(b"x" * 600)
    assert tus.offset(own) == 0
    assert _once_free(tus, own, b"x" * 1000).status_code == 204


def test_two_requests_cannot_write_at_once(url: str, tus: Tus, controller: Controller) -> None:
    own = tus.begun(10, filename="a.txt")
    with _connected(url, own, length=10) as connection:
        connection.sendall(b"12345")
        eventually(lambda: tus.patch(own, b"").status_code == 423)
        answer = tus.patch(own, b"abcdefghij")
        assert (answer.json()["code"], answer.headers["Retry-After"]) == ("upload_locked", "1")
        connection.sendall(b"67890")
        assert connection.recv(1000).startswith(b"HTTP/1.1 204")
    assert (controller.storage.data / "a.txt").read_bytes() == b"1234567890"


def test_a_sender_from_whom_nothing_comes_gives_way(
    url: str, tus: Tus, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.services.uploads.receiving.QUIET_S", 0.1)
    own = tus.begun(10, filename="a.txt")
    with _connected(url, own, length=10) as connection:
        connection.sendall(b"12345")
        eventually(lambda: tus.offset(own) == 5)
        assert tus.patch(own, b"67890", 5).status_code == 204
        assert connection.recv(1000).startswith(b"HTTP/1.1 503")
    assert (controller.storage.data / "a.txt").read_bytes() == b"1234567890"


def test_an_upload_of_which_less_is_there_than_came_is_gone(tus: Tus, controller: Controller) -> None:
    own = tus.begun(10, filename="a.txt")
    tus.patch(own, b"12345")
    (controller.storage.root / FOLDER / own.rpartition("/")[2]).write_bytes(b"12")
    assert tus.patch(own, b"67890", 5).status_code == 410
    assert tus.head(own).status_code == 410
    assert not (controller.storage.data / "a.txt").exists()


def test_bytes_behind_what_counts_are_cut_off(tus: Tus, controller: Controller) -> None:
    own = tus.begun(10, filename="a.txt")
    tus.patch(own, b"12345")
    with (controller.storage.root / FOLDER / own.rpartition("/")[2]).open("ab") as file:
        file.write(b"garbage after a power cut")
    assert tus.patch(own, b"67890", 5).status_code == 204
    assert (controller.storage.data / "a.txt").read_bytes() == b"1234567890"


BAD = {
    "no version": ({"Tus-Resumable": ""}, {}, 412, "Tus-Resumable"),
    "another version": ({"Tus-Resumable": "0.2.2"}, {}, 412, "Tus-Resumable"),
    "a length that is none": ({"Upload-Length": "ten"}, {}, 400, "Upload-Length"),
    "a length below 0": ({"Upload-Length": "-1"}, {}, 400, "Upload-Length"),
    "a length beyond all": ({"Upload-Length": "9" * 16}, {}, 400, "Upload-Length"),
    "a length of 5000 digits": ({"Upload-Length": "9" * 5000}, {}, 400, "Upload-Length"),
    "a length in other digits": ({"Upload-Length": "²"}, {}, 400, "Upload-Length"),
    "a length that comes later": ({"Upload-Defer-Length": "1"}, {}, 400, "Upload-Length"),
    "metadata that are none": ({"Upload-Metadata": "filename a b"}, {}, 400, "Upload-Metadata"),
    "metadata not in Base64": ({"Upload-Metadata": "filename YQ="}, {}, 400, "Upload-Metadata"),
    "metadata that are no text": ({"Upload-Metadata": "filename /w=="}, {}, 400, "Upload-Metadata"),
    "a key twice": ({"Upload-Metadata": "filename YQ==,filename YQ=="}, {}, 400, "Upload-Metadata"),
    "no name": ({"Upload-Metadata": "x"}, {}, 400, "filename"),
    "a path": ({}, {"filename": "../a"}, 400, "filename"),
    "an absolute path": ({}, {"filename": "/etc/passwd"}, 400, "filename"),
    "a path down": ({}, {"filename": "a/b"}, 400, "filename"),
    "a NUL": ({}, {"filename": "a\0b"}, 400, "filename"),
    "a name of ours": ({}, {"filename": ".cumulus.x"}, 400, "filename"),
    "a name of what is on its way": ({}, {"filename": ".upload.abcdef"}, 400, "filename"),
    "a hidden name": ({}, {"filename": ".hidden"}, 400, "filename"),
    "a name too long": ({}, {"filename": "ö" * 128}, 400, "filename"),
    "a name of two lines": ({}, {"filename": "a\nb"}, 400, "filename"),
    "a name that is markup": ({}, {"filename": "<img src=x>"}, 400, "filename"),
    "a dot": ({}, {"filename": "."}, 400, "filename"),
    "a checksum that is none": ({}, {"filename": "a", "sha256": "x" * 64}, 400, "sha256"),
    "a short checksum": ({}, {"filename": "a", "sha256": "0" * 63}, 400, "sha256"),
    "a job that is no number": ({}, {"filename": "a", "job": "seven"}, 400, "job"),
    "a job that is not there": ({}, {"filename": "a", "job": "7"}, 404, "job"),
    "content with the beginning": ({"Content-Length": "3"}, {"filename": "a"}, 400, None),
}


@pytest.mark.parametrize("case", BAD)
def test_a_beginning_that_is_wrong_names_its_fault_and_leaves_nothing(tus: Tus, controller: Controller, case: str) -> None:
    headers, values, status, field = BAD[case]
    told = {"Upload-Length": "5", "Upload-Metadata": encoded(**{"filename": "a.txt", **values}), **TUS, **headers}
    content = b"abc" if "Content-Length" in headers else b""
    answer = tus.http.post(PATH, content=content, headers={name: value.encode() for name, value in told.items() if value})
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    told_problem = answer.json()
    assert {"type", "title", "status", "detail", "code"} <= told_problem.keys()
    assert (told_problem["status"], told_problem.get("field")) == (status, field)
    assert not Upload.select().exists()
    assert not any(controller.storage.data.iterdir())


@pytest.mark.parametrize(
    ("headers", "status", "field"),
    [
        ({"Tus-Resumable": "2"}, 412, "Tus-Resumable"),
        ({"Content-Type": "text/plain"}, 415, "Content-Type"),
        ({"Upload-Offset": "-1"}, 400, "Upload-Offset"),
        ({"Upload-Offset": "1e3"}, 400, "Upload-Offset"),
        ({"X-HTTP-Method-Override": "PUT"}, 400, "X-HTTP-Method-Override"),
    ],
)
def test_a_part_that_is_wrong_names_its_fault(tus: Tus, headers: dict[str, str], status: int, field: str) -> None:
    url = tus.begun(4, filename="a.txt")
    answer = tus.patch(url, b"four", **headers)
    assert (answer.status_code, answer.json()["field"]) == (status, field)
    assert tus.offset(url) == 0


def test_other_methods_and_places_are_problems_too(tus: Tus) -> None:
    answers = [tus.http.put(PATH), tus.http.put(f"{PATH}/x"), tus.http.get(f"{PATH}/x"), tus.patch(f"{PATH}/x", b"abc")]
    assert [answer.status_code for answer in answers[2:]] == [404, 404]
    assert [answer.status_code for answer in answers[:2]] == [405, 405]


def test_ten_thousand_uploads_are_open_at_a_time(tus: Tus, controller: Controller) -> None:
    whole = {"owner": "ada", "shared": True, "length": 9, "state": UploadState.RECEIVING, "created": 1.0, "expires": 4e9}
    rest = dict.fromkeys(("sha256", "digest", "place", "message"), "")
    numbers = {"stored": False, "received": 0, "modified_ns": 0}
    rows = [{"id": f"u{number}", "name": f"f{number}", **whole, **rest, **numbers} for number in range(10_000)]
    with controller.database.atomic():
        for begin in range(0, 10_000, 1000):
            Upload.insert_many(rows[begin : begin + 1000]).execute()
    url = tus.begun(5, filename="a.txt")
    assert tus.patch(url, b"hello").elapsed.total_seconds() < 2
    assert tus.patch(f"{PATH}/u77", b"123456789").status_code == 204
    assert len(tus.http.get(PATH).json()["uploads"]) == 1000


def _connected(url: str, own: str, length: int, offset: int = 0, more: str = "") -> socket.socket:
    """A connection on which the header of a part was sent."""
    port = httpx.URL(url).port
    assert port is not None
    made = socket.create_connection(("127.0.0.1", port), 20)
    head = f"PATCH {own} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-User: ada\r\nTus-Resumable: 1.0.0\r\nContent-Type: {STREAM}\r\n"
    made.sendall(f"{head}Upload-Offset: {offset}\r\nContent-Length: {length}\r\n{more}\r\n".encode())
    return made


def _once_free(tus: Tus, url: str, content: bytes) -> httpx.Response:
    """The answer to a part, once the one before has ended."""
    answers: list[httpx.Response] = []
    eventually(lambda: answers.append(tus.patch(url, content)) is not None or answers[-1].status_code != 423)
    return answers[-1]
