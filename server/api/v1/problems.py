"""Errors as the API reports them: RFC 9457, with a code for programs, the field at fault and a hint."""

import json
from http import HTTPStatus
from typing import Any

from flask import Response
from pydantic import ValidationError

from server.api.identity.errors import TooMany
from server.api.v1.binding import status_of
from server.errors import CumulusError

PROBLEM = "application/problem+json"
MAX_SHOWN = 200  # characters of what was given


def problem(status: int, code: str, detail: str, field: str | None = None, **more: Any) -> Response:
    """The answer. ``more``: what else a program may read."""
    members = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, "code": code}
    body = json.dumps({**members, **({"field": field} if field else {}), **more}) + "\n"
    response = Response(body, status=status, content_type=PROBLEM)
    response.headers["Cache-Control"] = "no-store"
    return response


def problem_of(error: CumulusError) -> Response:
    """The answer to a request that met an expected failure."""
    response = problem(status_of(error), error.code, error.message, error.field)
    if isinstance(error, TooMany):
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def invalid(error: ValidationError) -> Response:
    """The answer to a request that is not what the operation takes; all of its faults, the first one in the detail."""
    faults = [{"field": ".".join(map(str, one["loc"])), "message": one["msg"]} for one in error.errors(include_url=False)]
    first = faults[0]
    detail = f"{first['field']}: {first['message']}" if first["field"] else str(first["message"])
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_input", detail[:MAX_SHOWN], str(first["field"]) or None, errors=faults
    )
