"""Files to a Cumulus server over lines that break, by the tus protocol 1.0.0.

Owns how an upload is continued, and the small file that a second run of the same command continues from.
"""

import base64
import builtins
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cumulus_client.calling import Caller
from cumulus_client.errors import Unreachable
from cumulus_client.http import HttpCaller
from cumulus_client.operations import Response
from cumulus_client.upload_parts import Notes, Patience, Source, UploadFailed

__all__ = ["Notes", "Sent", "Upload", "UploadFailed", "Uploader", "Uploads"]

PATH = "/api/v1/uploads"
TUS = {"Tus-Resumable": "1.0.0"}
STREAM = "application/offset+octet-stream"
MIB = 1 << 20
FIRST_PART_BYTES = 8 * MIB
LAST_PART_BYTES = 8 * MIB  # is in memory, since the checksum of the whole file comes with it
LEAST_PART_BYTES = 256 * 1024
LARGEST_PART_BYTES = 1024 * MIB
QUICK_S, SLOW_S = 2.0, 30.0  # a part that takes less is followed by a larger one, one that takes more by a smaller one
PATIENCE_S = 600.0  # without any progress
TIMEOUT = httpx.Timeout(30, read=900)  # the last answer comes when the file was compared with the storage's
AGAIN = frozenset({408, 409, 423, 425, 429, 500, 502, 503, 504})
TOO_LARGE = 413
LIVING = ("receiving", "complete", "done")
Advance = Callable[[int, int], None]  # bytes that are there, bytes in all


@dataclass(frozen=True)
class Sent:
    """A file that is there. ``place``: where, relative to the server's storage."""

    id: str
    place: str
    sha256: str
    length: int


class Upload(Response):
    """An upload as the server knows it. ``length``, ``offset``: bytes; ``place``: relative to the storage, "" until it is there.

    ``shared``: it is for everybody's use, else for its job's; ``state``: receiving, complete, done, refused, expired or gone.
    """

    id: str
    owner: str
    filename: str
    job: int | None
    shared: bool
    length: int
    offset: int
    sha256: str
    state: str
    created: float
    expires: float | None
    place: str
    message: str


@dataclass(frozen=True)
class Uploader:
    """Sends files by a client that has the server's address and the user's token.

    ``patience_s``: for how long nothing may come through before it gives up; ``clock``, ``sleep``: in seconds.
    """

    client: httpx.Client
    notes: Notes | None = None
    patience_s: float = PATIENCE_S
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def send(self, path: Path, job: int | None = None, name: str = "", advance: Advance = lambda _done, _total: None) -> Sent:
        """Send a file: to the shared data, or for a job that waits for it. ``advance`` is called as it proceeds.

        Raises UploadFailed, OSError where the file cannot be read.
        """
        with Source(path) as source:
            return _Sending(self, source, job, name or path.name, advance).whole()


class Uploads:
    """Files that come into the storage by HTTP. Each method raises Unreachable where no controller runs."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def send(self, path: Path, job: int | None = None, *, name: str = "", advance: Advance = lambda _done, _total: None) -> Sent:
        """Send a file over a line that may break: to the shared data, or for a job that waits for it.

        ``advance``: is told how many bytes are there, and how many there are in all. Raises UploadFailed, and OSError where the
        file cannot be read.
        """
        return Uploader(self._http().uploading()).send(path, job, name, advance)

    def stored(self, job: int, name: str) -> Upload:
        """Have a job that waits for files use the one that the storage has under this name. Raises Refused."""
        return Upload.model_validate(self._http().send("POST", "/uploads/stored", json={"job": job, "filename": name}))

    def list(self, job: int | None = None) -> "builtins.list[Upload]":
        """One's newest uploads; ``job``: those for that job."""
        told = self._http().send("GET", "/uploads", params={} if job is None else {"job": job})
        return [Upload.model_validate(one) for one in told["uploads"]]

    def _http(self) -> HttpCaller:
        if not isinstance(self._caller, HttpCaller):
            raise Unreachable("no controller runs that could take files: start one with `cumulus serve`")
        return self._caller


class _Sending:
    """One file on its way."""

    def __init__(self, by: Uploader, source: Source, job: int | None, name: str, advance: Advance) -> None:
        self._client, self._notes, self._source = by.client, by.notes or Notes(), source
        self._patience = Patience(by.patience_s, by.clock, by.sleep)
        self._job, self._name, self._advance = job, name, advance
        self._key = f"{by.client.base_url}\n{job}\n{name}\n{source.key}"
        self._part, self._largest = FIRST_PART_BYTES, LARGEST_PART_BYTES
        self._url = ""
        self._offset = 0

    def whole(self) -> Sent:
        """Send until it is there. What an earlier run has begun with another content is begun again, once."""
        self._url = self._notes.read(self._key)
        if self._url:
            try:
                return self._sent()
            except UploadFailed as problem:
                if problem.status not in (httpx.codes.NOT_FOUND, httpx.codes.GONE, httpx.codes.UNPROCESSABLE_ENTITY):
                    raise
            self._notes.forget(self._key)
        self._begin()
        return self._sent()

    def _begin(self) -> None:
        values = {"filename": self._name, **({} if self._job is None else {"job": str(self._job)})}
        metadata = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())
        answer = self._answer("POST", PATH, {"Upload-Length": str(self._source.size), "Upload-Metadata": metadata})
        if answer.status_code == httpx.codes.CREATED:
            self._url = answer.headers["Location"]
        elif (found := self._own_on_its_way()) and _code(answer) == "upload_exists":
            self._url = found
        else:
            raise _failure(answer)
        self._notes.keep(self._key, self._url)

    def _own_on_its_way(self) -> str:
        """An upload of the same file for the same job, whose beginning was answered into a line that broke; "" for none."""
        if self._job is None:
            return ""
        listed = self._answer("GET", f"{PATH}?job={self._job}")
        for one in listed.json()["uploads"] if listed.status_code == httpx.codes.OK else ():
            if (one["filename"], one["length"], one["state"]) == (self._name, self._source.size, "receiving"):
                return f"{PATH}/{one['id']}"
        return ""

    def _sent(self) -> Sent:
        self._find_offset()
        while True:
            self._advance(self._offset, self._source.size)
            if self._offset == self._source.size and (found := self._landed()):
                self._notes.forget(self._key)
                return found
            self._send_part()

    def _landed(self) -> Sent | None:
        """The file, if it has its place. Raises UploadFailed where it was refused."""
        answer = self._answer("GET", self._url)
        if answer.status_code != httpx.codes.OK:
            raise _failure(answer)
        found = answer.json()
        if found["state"] not in LIVING:
            raise UploadFailed(str(found["message"]), f"upload_{found['state']}", httpx.codes.GONE)
        return Sent(found["id"], found["place"], found["sha256"], found["length"]) if found["state"] == "done" else None

    def _find_offset(self) -> None:
        answer = self._answer("HEAD", self._url)
        if answer.status_code != httpx.codes.OK:
            raise _failure(self._answer("GET", self._url), answer.status_code)
        offset = int(answer.headers["Upload-Offset"])
        if offset > self._offset:
            self._patience.progressed()
        self._offset = offset

    def _send_part(self) -> None:
        """Send the next part, and find out how far it came."""
        began = self._patience.clock()
        begin, rest = self._offset, self._source.size - self._offset
        try:
            if rest <= LAST_PART_BYTES:
                content = b"".join(self._source.pieces(begin, begin + rest))
                answer = self._patch(begin, rest, content, {"Upload-Sha256": self._source.sha256()})
            else:
                size = min(self._part, rest - LAST_PART_BYTES)
                answer = self._patch(begin, size, self._source.pieces(begin, begin + size), {})
        except httpx.TransportError as problem:
            self._shrink()
            self._patience.pause(problem)
            return self._find_offset()
        self._heed(answer, begin, self._patience.clock() - began)

    def _patch(self, offset: int, size: int, content: Any, more: Mapping[str, str]) -> httpx.Response:
        headers = {**TUS, "Content-Type": STREAM, "Upload-Offset": str(offset), "Content-Length": str(size), **more}
        return self._client.patch(self._url, content=content, headers=headers, timeout=TIMEOUT)

    def _heed(self, answer: httpx.Response, begin: int, took_s: float) -> None:
        if answer.status_code == httpx.codes.NO_CONTENT:
            self._offset = int(answer.headers["Upload-Offset"])
            self._patience.progressed()
            if took_s < QUICK_S:
                self._part = min(2 * self._part, self._largest)
            elif took_s > SLOW_S:
                self._shrink()
        elif answer.status_code == TOO_LARGE and not _code(answer):  # of a proxy
            if self._part <= LEAST_PART_BYTES:
                raise _failure(answer)
            self._largest = self._part = max(min(self._part, self._source.size - begin) // 2, LEAST_PART_BYTES)
        elif answer.status_code in AGAIN and _code(answer) not in FINAL:
            self._patience.pause(_failure(answer).message)
            self._find_offset()
        else:
            raise _failure(answer)

    def _shrink(self) -> None:
        self._part = max(self._part // 2, min(FIRST_PART_BYTES, self._largest))

    def _answer(self, method: str, url: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """The answer to a request without content, however often the line breaks. Raises UploadFailed in the end."""
        while True:
            try:
                answer = self._client.request(method, url, headers={**TUS, **(headers or {})}, timeout=TIMEOUT)
            except httpx.TransportError as problem:
                self._patience.pause(problem)
                continue
            if answer.status_code not in AGAIN or answer.status_code == httpx.codes.CONFLICT:
                return answer
            self._patience.pause(_failure(answer).message)


FINAL = frozenset({"not_awaited", "name_taken", "upload_exists"})  # of those that come with a status of AGAIN


def _code(answer: httpx.Response) -> str:
    with suppress(ValueError, AttributeError):
        return str(answer.json().get("code") or "")
    return ""


def _failure(answer: httpx.Response, status: int = 0) -> UploadFailed:
    """What the server said, as an error."""
    message = ""
    with suppress(ValueError, AttributeError):
        found = answer.json()
        message = str(found.get("detail") or found.get("message") or "")
    text = message or f"the server answered {status or answer.status_code} {answer.reason_phrase}"
    return UploadFailed(text, _code(answer), status or answer.status_code)
