"""HTTP requests of the agent, to the controller and to itself, with nothing but Python's own library.

No proxy, no redirect, nothing from the environment: the address in the settings is the one that is asked.
"""

import http.client
import json
from base64 import b64encode
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Self
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

from agent.errors import AgentError

MAX_BYTES = 64 << 20  # of one answer: a row of /joblist has its job's settings, 5 million characters of up to 12 bytes each
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


REFUSED = "Cumulus-Refused"  # the controller's header with the code of a refusal that looks as a success does
NOT_BELIEVED = "untrusted_network"


class NoAnswer(AgentError):
    """The server cannot be reached, or its answer is not HTTP."""

    code = "no_answer"


class NotAdmitted(NoAnswer):
    """The controller takes nothing from this agent; the message says what to do."""

    code = "not_admitted"


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    body: bytes
    refusal: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether the status is 200."""
        return self.status == HTTPStatus.OK

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    def require_admitted(self) -> None:
        """Raises NotAdmitted where the controller does not believe that this is one of its agents."""
        if self.status == HTTPStatus.UNAUTHORIZED:
            raise NotAdmitted(
                "the controller does not take this agent's controller_token: have its administrator make another one"
            )
        if self.status == HTTPStatus.FORBIDDEN or self.refusal == NOT_BELIEVED:
            raise NotAdmitted(
                "the controller does not believe this agent: set controller_token to an agent's token of the controller, or have "
                "its administrator add this computer's network to trusted_networks"
            )

    def json(self) -> object:
        """The body as JSON. Raises ValueError."""
        return json.loads(self.body)


class HttpClient:
    """Requests to the server at ``url``, over one connection that is kept; used within ``with``. Not for several threads.

    ``token``: the agent's, at a controller that does not trust its network.
    """

    def __init__(self, url: str, timeout_s: float, token: str = "") -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._token = token
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def get(self, path: str) -> Answer:
        """GET a path below the server's URL. Raises NoAnswer."""
        return self._ask("GET", path)

    def post(self, path: str, form: Mapping[str, str]) -> Answer:
        """POST the fields of a form. Raises NoAnswer."""
        body = urlencode(form, errors="replace").encode("ascii")
        return self._ask("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})

    def _ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = NO_HEADERS) -> Answer:
        try:
            parts = urlsplit(self._url)
            connection = self._connection = self._connection or _connection(parts, self._timeout_s)
            connection.request(method, parts.path.rstrip("/") + path, body, {**_authorization(parts, self._token), **headers})
            with closing(connection.getresponse()) as response:
                refusal = response.getheader(REFUSED, "").partition(";")[0]
                return Answer(response.status, response.read(MAX_BYTES), refusal)
        except (OSError, http.client.HTTPException, ValueError) as problem:  # ValueError: what is no URL
            self._close()
            raise NoAnswer(_why(problem)) from None

    def _close(self) -> None:
        if self._connection:
            self._connection.close()


def get(url: str, path: str, timeout_s: float, token: str = "") -> Answer:
    """One GET over a connection of its own. Raises NoAnswer."""
    with HttpClient(url, timeout_s, token) as client:
        return client.get(path)


def _connection(parts: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("this is not http://HOST or https://HOST")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    # Always with a port: without one, the end of an IPv6 address would be taken for it.
    return kind(parts.hostname, parts.port or kind.default_port, timeout=timeout_s)


def _authorization(parts: SplitResult, token: str) -> dict[str, str]:
    """The header for a token, or for a name and password in the URL."""
    if token:
        return {"Authorization": f"Bearer {token}"}
    if parts.username is None:
        return {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return {"Authorization": f"Basic {b64encode(login).decode('ascii')}"}


def _why(problem: Exception) -> str:
    reason = getattr(problem, "strerror", None) or str(problem)
    return reason or type(problem).__name__
