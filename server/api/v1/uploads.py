"""Uploads by the tus protocol 1.0.0 (https://tus.io/protocols/resumable-upload), under ``/api/v1/uploads``.

Extensions: creation, expiration, checksum, termination. Owns the protocol's headers and the shape of its errors (RFC 9457); what
they mean is decided by :mod:`server.services.uploads`.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, BinaryIO

import structlog
from flask import Blueprint, Request, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.http import http_date

from programs.errors import explained
from server.errors import CumulusError, InvalidInput
from server.services.principal import Principal
from server.services.uploads.creation import MAX_BYTES
from server.services.uploads.errors import BrokenOff, UploadLocked
from server.services.uploads.receiving import ALGORITHMS, Body, Checksum
from server.services.uploads.service import UploadService
from server.services.uploads.views import UploadView, upload_json

VERSION = "1.0.0"
PATH = "/api/v1/uploads"
EXTENSIONS = "creation,expiration,checksum,termination"
OFFSET_STREAM = "application/offset+octet-stream"
WHOLE_SHA256 = "Upload-Sha256"  # our own: who computes it while sending knows it only with the last part
OVERRIDE = "X-HTTP-Method-Override"
_NUMBER = re.compile(r"[0-9]{1,16}")
_METADATA = re.compile(r"[^\s,]+( [A-Za-z0-9+/]*={0,2})?")
Identify = Callable[[Request], Principal]
log = structlog.get_logger()


class WrongVersion(CumulusError):
    """The client speaks another version of the protocol."""

    code = "wrong_version"
    http_status = 412


class WrongMediaType(CumulusError):
    """The body is not said to be a part of a file."""

    code = "wrong_media_type"
    http_status = 415


class GatheredBody:
    """A body that came in chunks of unknown number, and was gathered before."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file = file
        self.left = length

    def readinto(self, buffer: memoryview) -> int:
        """The next bytes of it."""
        got = self._file.read(min(len(buffer), self.left))
        buffer[: len(got)] = got
        self.left -= len(got)
        return len(got)

    def quiet_s(self) -> float:
        """It is there."""
        return 0.0

    def interrupt(self) -> None:
        """It is there."""


class UploadRoutes:
    """The protocol's requests."""

    def __init__(self, service: UploadService, identify: Identify) -> None:
        self._service = service
        self._identify = identify

    def options(self, **_path: str) -> Response:
        """What this server can."""
        abilities = {
            "Tus-Version": VERSION,
            "Tus-Extension": EXTENSIONS,
            "Tus-Max-Size": str(MAX_BYTES),
            "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
        }
        return _empty(HTTPStatus.NO_CONTENT, abilities)

    def listed(self) -> Response:
        """The newest uploads of who asks; with ``job``: those for that job."""
        job = request.args.get("job")
        views = self._service.listed(self._identify(request), None if job is None else _number(job, "job"))
        return _json({"uploads": [upload_json(view) for view in views]})

    def create(self) -> Response:
        """A new upload."""
        who = self._identify(request)
        _require_version()
        if request.content_length:
            raise InvalidInput("send the content by PATCH: this server does not take it with the request that begins an upload")
        if "Upload-Defer-Length" in request.headers:
            raise InvalidInput("the length has to be known: give Upload-Length", field="Upload-Length")
        length = _number(_header("Upload-Length"), "Upload-Length")
        given = metadata(_header("Upload-Metadata"))
        name = given.get("filename") or given.get("name") or ""
        if not name:
            raise InvalidInput("Upload-Metadata has to have a filename", field="filename")
        job = _number(given["job"], "job") if given.get("job") else None
        view = self._service.create(who, name, length, job, given.get("sha256", ""))
        response = _json(upload_json(view), HTTPStatus.CREATED)
        response.headers.extend({"Location": f"{PATH}/{view.id}", **_progress(view)})
        return response

    def use_stored(self) -> Response:
        """A job uses a file that the storage has: ``{"job": 7, "filename": "human.fasta"}``."""
        who = self._identify(request)
        given = request.get_json(silent=True)
        if not isinstance(given, dict) or not isinstance(given.get("filename"), str) or type(given.get("job")) is not int:
            raise InvalidInput('the body has to be JSON such as {"job": 7, "filename": "human.fasta"}')
        view = self._service.use_stored(who, _number(str(given["job"]), "job"), given["filename"])
        return _json(upload_json(view), HTTPStatus.CREATED)

    def status(self, upload: str) -> Response:
        """One upload as JSON; by HEAD, how far it is."""
        who = self._identify(request)
        if request.method != "HEAD":
            return _json(upload_json(self._service.get(who, upload)))
        return self._head(who, upload)

    def change(self, upload: str) -> Response:
        """A part of an upload, or its end; also by POST from where nothing else passes."""
        who = self._identify(request)
        _require_version()
        match request.headers.get(OVERRIDE, request.method):
            case "PATCH":
                return self._append(who, upload)
            case "DELETE":
                self._service.terminate(who, upload)
                return _empty(HTTPStatus.NO_CONTENT)
            case "HEAD":
                return self._head(who, upload)
        raise InvalidInput("an upload takes GET, HEAD, PATCH and DELETE", field=OVERRIDE)

    def _head(self, who: Principal, upload: str) -> Response:
        _require_version()
        view = self._service.offset(who, upload)
        given = {"Upload-Length": str(view.length), "Upload-Metadata": _encoded({"filename": view.filename})}
        return _empty(HTTPStatus.OK, {**_progress(view), **given})

    def _append(self, who: Principal, upload: str) -> Response:
        if request.mimetype != OFFSET_STREAM:
            raise WrongMediaType(f"a part has the Content-Type {OFFSET_STREAM}", field="Content-Type")
        offset = _number(_header("Upload-Offset"), "Upload-Offset")
        checksum, whole = _checksum(request.headers.get("Upload-Checksum")), request.headers.get(WHOLE_SHA256, "")
        view = self._service.append(who, upload, offset, _body(), checksum, whole)
        return _empty(HTTPStatus.NO_CONTENT, _progress(view))


def uploads_blueprint(service: UploadService, identify: Identify) -> Blueprint:
    """The routes. ``identify`` says who asks, or raises."""
    routes, views = Blueprint("uploads", __name__), UploadRoutes(service, identify)
    rules: tuple[tuple[str, str, Callable[..., Response], tuple[str, ...]], ...] = (
        (PATH, "options", views.options, ("OPTIONS",)),
        (PATH, "create", views.create, ("POST",)),
        (PATH, "list", views.listed, ("GET",)),
        (f"{PATH}/stored", "use_stored", views.use_stored, ("POST",)),
        (f"{PATH}/<upload>", "options_of_one", views.options, ("OPTIONS",)),
        (f"{PATH}/<upload>", "status", views.status, ("GET", "HEAD")),
        (f"{PATH}/<upload>", "change", views.change, ("PATCH", "DELETE", "POST")),
    )
    for rule, name, view, methods in rules:
        routes.add_url_rule(rule, name, view, methods=methods, provide_automatic_options=False)
    routes.register_error_handler(CumulusError, _refused)
    routes.register_error_handler(HTTPException, _http_problem)
    routes.register_error_handler(OSError, _storage_failed)
    return routes


def metadata(text: str) -> dict[str, str]:
    """``Upload-Metadata``: keys with values in Base64, between commas. Raises InvalidInput."""
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        if not _METADATA.fullmatch(pair):
            raise InvalidInput(f"{pair[:60]!r} is no key with a value in Base64", field="Upload-Metadata")
        key, _, value = pair.partition(" ")
        if key in found:
            raise InvalidInput(f"the key {key[:60]} is there twice", field="Upload-Metadata")
        try:
            found[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise InvalidInput(f"the value of {key[:60]} is no text in Base64", field="Upload-Metadata") from None
    return found


def _encoded(values: Mapping[str, str]) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())


def _checksum(text: str | None) -> Checksum | None:
    """``Upload-Checksum``: the algorithm, and the digest in Base64. Raises InvalidInput."""
    if text is None:
        return None
    algorithm, _, value = text.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise InvalidInput(f"{algorithm[:40]!r} is none of {', '.join(ALGORITHMS)}", field="Upload-Checksum")
    with suppress(binascii.Error):
        digest = base64.b64decode(value, validate=True)
        if len(digest) == len(ALGORITHMS[algorithm]().digest()):
            return Checksum(algorithm, digest)
    raise InvalidInput(f"what follows {algorithm} is no digest of it in Base64", field="Upload-Checksum")


def _body() -> Body:
    """What the request brings: as it comes, where the door leaves it to us."""
    stream = request.environ["wsgi.input"]
    if hasattr(stream, "quiet_s"):
        return stream  # type: ignore[no-any-return]
    return GatheredBody(stream, request.content_length or 0)


def _require_version() -> None:
    given = request.headers.get("Tus-Resumable")
    if given != VERSION:
        text = f"this server speaks tus {VERSION}: send Tus-Resumable: {VERSION}"
        raise WrongVersion(text, field="Tus-Resumable")


def _header(name: str) -> str:
    given = request.headers.get(name)
    if given is None:
        raise InvalidInput(f"the header {name} is missing", field=name)
    return given


def _number(text: str, field: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise InvalidInput(f"{text[:40]!r} is no whole number from 0 on", field=field)
    return int(text)


def _progress(view: UploadView) -> dict[str, str]:
    given = {"Upload-Offset": str(view.offset)}
    return given if view.expires is None else {**given, "Upload-Expires": http_date(view.expires)}


def _json(value: object, status: int = HTTPStatus.OK) -> Response:
    response = Response(json.dumps(value) + "\n", status=status, mimetype="application/json")
    return _marked(response)


def _empty(status: int, headers: Mapping[str, str] | None = None) -> Response:
    response = Response(status=status)
    response.headers.extend(headers or {})
    return _marked(response)


def _marked(response: Response) -> Response:
    response.headers["Tus-Resumable"] = VERSION
    response.headers["Cache-Control"] = "no-store"
    return response


def _refused(error: CumulusError) -> Response:
    log.info("an upload was refused", route=request.path[:200], code=error.code, field=error.field, detail=error.message)
    response = _problem(error.http_status, error.code, error.message, error.field, getattr(error, "hint", ""))
    if isinstance(error, WrongVersion):
        response.headers["Tus-Version"] = VERSION
    if (offset := getattr(error, "offset", None)) is not None:
        response.headers["Upload-Offset"] = str(offset)
    if isinstance(error, UploadLocked | BrokenOff):
        response.headers["Retry-After"] = "1"
    return response


def _http_problem(error: HTTPException) -> Response:
    code = (error.name or "error").lower().replace(" ", "_")
    return _problem(error.code or 500, code, error.description or code)


def _storage_failed(error: OSError) -> Response:
    log.error("an upload failed", route=request.path[:200], detail=explained(error))
    return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "storage_unusable", f"the storage cannot be used: {error.strerror}")


def _problem(status: int, code: str, detail: str, field: str | None = None, hint: str = "") -> Response:
    given: dict[str, Any] = {"type": "about:blank", "title": _title(status), "status": status, "detail": detail, "code": code}
    body = json.dumps({**given, **({"field": field} if field else {}), **({"hint": hint} if hint else {})}) + "\n"
    return _marked(Response(body, status=f"{status} {given['title']}", content_type="application/problem+json"))


def _title(status: int) -> str:
    with suppress(ValueError):
        return HTTPStatus(status).phrase
    return "Checksum Mismatch"
