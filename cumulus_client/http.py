"""How operations are called over HTTP: over TCP with a token, or over the Unix socket of a controller on the same computer."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from cumulus_client.errors import Problem, Refused, Unreachable
from cumulus_client.operations import PREFIX, Download, Gives, Operation, Takes

TIMEOUT_S = 60.0
LONG_TIMEOUT_S = 900.0  # of an operation that may ask a cloud, or read many files
PROBLEM = "application/problem+json"
LOCAL = "http://localhost"  # what is asked for over a Unix socket


class HttpCaller:
    """Calls a controller at ``url``; ``socket``: the path of its Unix socket, "" for TCP.

    Raises Unreachable for what is no URL.
    """

    def __init__(self, url: str = LOCAL, *, token: str = "", socket: str = "", timeout_s: float = TIMEOUT_S) -> None:
        self.url = f"the socket {socket}" if socket else url
        self._base, self._socket, self._timeout_s = url, socket, timeout_s
        self._http = self._client(PREFIX, {"Authorization": f"Bearer {token}"} if token else {})
        self._uploading: httpx.Client | None = None

    def call(self, operation: Operation[Takes, Gives], request: Takes) -> Gives:
        """As :meth:`cumulus_client.calling.Caller.call`."""
        fields = request.model_dump(mode="json", exclude_unset=True)
        path = filled(operation.path, operation.path_fields, fields)
        options: dict[str, Any] = {"json": fields} if operation.has_body else {"params": _query(fields)}
        if operation.takes_long:
            options["timeout"] = LONG_TIMEOUT_S
        response = self._answer(operation.method, path, **options)
        try:
            return operation.gives.model_validate_json(response.content)
        except ValidationError:
            raise self._no_controller() from None

    @contextmanager
    def download(self, operation: Download[Takes], request: Takes, start: int = 0, tag: str = "") -> Iterator["HttpStream"]:
        """As :meth:`cumulus_client.calling.Caller.download`."""
        fields = request.model_dump(mode="json", exclude_unset=True)
        path = filled(operation.path, operation.path_fields, fields)
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        if start and tag:
            headers["If-Range"] = f'"{tag}"'
        try:
            with self._http.stream("GET", path, params=_query(fields), headers=headers) as response:
                if response.is_error:
                    response.read()
                    self._raise_for(response)
                yield HttpStream(response, start)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def send(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Ask for something that is no operation; its JSON, {} where there is none. Raises Refused, Unreachable."""
        response = self._answer(method, path, **options)
        return dict(response.json()) if response.content else {}

    def uploading(self) -> httpx.Client:
        """What :class:`cumulus_client.uploads.Uploader` sends by: the same controller, asked in the same way."""
        if self._uploading is None:
            self._uploading = self._client("", self._http.headers)
        return self._uploading

    def add_headers(self, headers: Mapping[str, str]) -> None:
        """Send these with each request from now on."""
        self._http.headers.update(headers)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
        if self._uploading is not None:
            self._uploading.close()

    def _client(self, prefix: str, headers: Mapping[str, str]) -> httpx.Client:
        """Asks for what is below the prefix. Raises Unreachable."""
        url, socket = self._base, self._socket
        transport = httpx.HTTPTransport(uds=socket, verify=False) if socket else None
        options: dict[str, Any] = {"verify": url.startswith("https:"), "trust_env": not socket}  # reading certificates takes time
        try:
            return httpx.Client(base_url=url + prefix, headers=headers, transport=transport, timeout=self._timeout_s, **options)
        except httpx.InvalidURL as error:
            raise Unreachable(f"no controller can be at {url}: {error}") from None

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from None
        self._raise_for(response)
        return response

    def _raise_for(self, response: httpx.Response) -> None:
        if not response.is_success:
            raise Refused(problem) if (problem := _problem(response)) else self._no_controller()

    def _unreachable(self, error: Exception) -> Unreachable:
        if isinstance(error, httpx.TimeoutException):
            return Unreachable(f"the controller at {self.url} has not answered in time: try again")
        return Unreachable(f"no controller answers at {self.url}: {error}")

    def _no_controller(self) -> Unreachable:
        return Unreachable(f"what answers at {self.url} is no controller of Cumulus of this version")


class HttpStream:
    """A file that comes over HTTP."""

    def __init__(self, response: httpx.Response, start: int) -> None:
        self._response = response
        self.start = start if response.status_code == httpx.codes.PARTIAL_CONTENT else 0
        length = response.headers.get("Content-Length", "")
        self.size = int(length) if length.isdecimal() else None

    def parts(self) -> Iterator[bytes]:
        """As :meth:`cumulus_client.calling.Stream.parts`."""
        try:
            yield from self._response.iter_raw()
        except httpx.HTTPError as error:
            raise Unreachable(f"the connection broke: {error}") from None


def filled(path: str, names: tuple[str, ...], fields: dict[str, Any]) -> str:
    """The path with its fields, which are taken out of ``fields``. A field may have slashes where it is the last."""
    for name in names:
        last = path.endswith(f"{{{name}}}")
        path = path.replace(f"{{{name}}}", quote(str(fields.pop(name)), safe="/" if last else ""))
    return path


def _query(fields: Mapping[str, Any]) -> httpx.QueryParams:
    """Fields as they stand in a query; of a list one for each of its values."""
    pairs = ((name, value) for name, given in fields.items() for value in (given if isinstance(given, list) else [given]))
    told = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in pairs if value is not None]
    return httpx.QueryParams(tuple(told))


def _problem(response: httpx.Response) -> Problem | None:
    if response.headers.get("Content-Type", "").partition(";")[0] != PROBLEM:
        return None
    try:
        told = cast("dict[str, Any]", response.json())
        return Problem(
            status=response.status_code,
            code=str(told.get("code", "")),
            detail=str(told.get("detail") or told.get("title", "")),
            field=str(told.get("field") or ""),
            hint=str(told.get("hint") or ""),
        )
    except (ValueError, AttributeError):
        return None
