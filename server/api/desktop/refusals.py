"""What says no, in the shape that each route is documented to have: the desktop client waits for ever, or breaks, on any other.

Owns those shapes for whatever fails before or within a route; not what a route says of its own.
"""

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote

import structlog
from flask import Response, g, request

from programs.database.sqlite import is_damaged, is_known
from programs.http.doorkeeper import FORBIDDEN, route_of
from programs.http.visitors import Foreign
from server.api.desktop.words import escaped, field_of
from server.api.identity.errors import TooMany
from server.api.responses import answer, encoded, error_answer
from server.client import REFUSED
from server.db.errors import DATABASE_ERRORS, unusable
from server.errors import CumulusError
from server.storage.holding import StorageTaken

UNAVAILABLE = 503
START = "/start"
FAILED = "The server could not do this; its log says why"
CHANGING = ("cancel", "delete")  # though they are asked for by GET
_NOTHING: dict[str, object] = {
    "search": [],
    "getfilecontent": [],
    "joblist": [],
    "storage": [],
    "diskusage": [0, 0, 0],
    "fail": "",
}
Read = TypeVar("Read")
log = structlog.get_logger()


def refusal(path: str, message: str, code: str = "bad_request") -> object:
    """What says no on the route of this path."""
    route = route_of(path)
    if f"/{path.lstrip('/')}" == START:
        return [escaped(message), ""]
    if route in CHANGING:
        return escaped(message)
    return _NOTHING.get(route, {"error": {"code": code, "message": message, "field": None}})


def encoded_refusal(path: str, message: str) -> bytes:
    """The same as it is sent."""
    return encoded(refusal(path, message))


def marked(response: Response, code: str, field: str | None = None) -> Response:
    """With a header that tells programs a refusal from a success, where both have one shape."""
    response.headers[REFUSED] = code if field is None else f"{code}; field={quote(field)}"
    return response


def refused(error: CumulusError, status: int | None = None) -> Response:
    """The answer of a route whose refusals have no shape of their own, such as a download."""
    return error_answer(error, field_of(error), status)


def refused_caller(error: CumulusError, *, shows_status: bool) -> Response:
    """The answer to somebody who may not ask this; with the error's status where the caller is known to look at that."""
    status = error.http_status if shows_status or not has_shape() else 200
    g.is_refusal = True
    response = marked(answer(refusal(request.path, error.message, error.code), status), error.code, error.field)
    if isinstance(error, TooMany):
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def has_shape() -> bool:
    """Whether the route's answer has a shape of its own for a refusal."""
    return route_of(request.path) in (*_NOTHING, *CHANGING, START.strip("/"))


def refused_foreign(foreign: Foreign) -> Response:
    """The answer to a request that another site's page may have caused."""
    return marked(answer(refusal(request.path, foreign.message, foreign.code), FORBIDDEN), foreign.code, foreign.field)


def database_failed(problem: Exception) -> Response:
    """The answer where the database cannot be read or written."""
    if not is_known(problem) and not is_damaged(problem):
        log.error("a request failed", route=request.path[:200], exc_info=problem)
        return failed(FAILED, "internal")
    error = unusable(problem)
    log.error("a request failed", route=request.path[:200], code=error.code, detail=error.message)
    return failed(error.message, error.code, UNAVAILABLE)


def storage_taken(error: StorageTaken) -> Response:
    """The answer where another installation has the storage by now."""
    return failed(error.message, error.code, UNAVAILABLE)


def or_without(read: Callable[[], Read], without: Read) -> Read:
    """What the database says, or what does for an answer that is better than none where it cannot be read."""
    try:
        return read()
    except DATABASE_ERRORS as problem:
        log.error("the database cannot be read", route=request.path[:200], detail=str(problem))  # noqa: TRY400  # expected
        return without


def failed(message: str, code: str, status: int = 500) -> Response:
    """The answer where the server is at fault, not the request: with 200 where the client reads nothing of another status."""
    return marked(answer(refusal(request.path, message, code), 200 if has_shape() else status), code)
