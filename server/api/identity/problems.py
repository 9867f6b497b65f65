"""Errors of the API's routes in the shape of RFC 9457. To be replaced by ``server.api.v1.problems``."""

import json
from http import HTTPStatus

from flask import Response

from server.api.identity.errors import TooMany
from server.errors import CumulusError

PROBLEM = "application/problem+json"
MAX_DETAIL = 2000


def problem(error: CumulusError, hint: str = "", status: int | None = None, code: str = "") -> Response:
    """The answer to a request that has met an expected failure; ``status``, ``code``: others than its class has."""
    status = status or error.http_status
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.message[:MAX_DETAIL],
        "code": code or error.code,
        "field": error.field,
        "hint": hint or None,
    }
    response = Response(json.dumps(body) + "\n", status=status, content_type=PROBLEM)
    response.headers["Cache-Control"] = "no-store"
    if isinstance(error, TooMany):
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response
