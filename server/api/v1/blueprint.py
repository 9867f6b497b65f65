"""The operations as routes of a Flask application: who asks, what for, the answer or the problem."""

import hashlib
import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, get_origin

import structlog
from flask import Blueprint, Request, Response, request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import HTTPException, UnsupportedMediaType
from werkzeug.exceptions import NotFound as NotFoundError
from werkzeug.routing import RequestRedirect

from cumulus_client.operations import PREFIX, Download, Operation
from programs.database.sqlite import is_damaged, is_known
from server.api.response_cache import Reused
from server.api.v1.binding import Bound, BoundDownload
from server.api.v1.downloads import download
from server.api.v1.problems import invalid, problem, problem_of
from server.db.errors import DATABASE_ERRORS, unusable
from server.errors import CumulusError, InvalidInput
from server.services.principal import Principal, Scope
from server.services.services import Services

Identify = Callable[[Request], Principal]
log = structlog.get_logger()


class Kept:
    """Answers that are given again while nothing has changed. ``changes``: another number after each change of a row."""

    def __init__(self, changes: Callable[[], int]) -> None:
        self._changes = changes
        self._reused = Reused()

    def get(self, one: Bound, services: Services, who: Principal, asked: BaseModel) -> tuple[bytes, str]:
        """The answer's JSON and its tag."""

        def made() -> list[bytes]:
            body = one.handler(services, who, asked).model_dump_json().encode()
            return [body, hashlib.blake2b(body, digest_size=16).hexdigest().encode()]

        stamp = one.stamp
        if stamp is None:
            body, tag = made()
        else:
            body, tag = self._reused.get(
                (one.operation.name, who, asked), lambda: (self._changes(), stamp(services, asked)), made
            )
        return body, tag.decode()


def blueprint(
    services: Services, identify: Identify, kept: Kept, operations: Iterable[Bound], downloads: Iterable[BoundDownload]
) -> Blueprint:
    """The routes of all operations. ``identify`` says who asks, or raises."""
    routes = Blueprint("v1", __name__, url_prefix=PREFIX)
    for one in operations:
        told = one.operation
        view = _view(one, services, identify, kept)
        routes.add_url_rule(_rule(told), told.name.replace(".", "_"), view, methods=[told.method])
    for file in downloads:
        routes.add_url_rule(_rule(file.operation), file.operation.name.replace(".", "_"), _download(file, services, identify))
    routes.register_error_handler(CumulusError, _refused)
    routes.register_error_handler(HTTPException, http_problem)
    for kind in DATABASE_ERRORS:
        routes.register_error_handler(kind, _database_failed)
    routes.register_error_handler(Exception, _failed)
    return routes


def _rule(operation: Operation[Any, Any] | Download[Any]) -> str:
    """The path as Flask writes it; a field at its end may have slashes where it is called path."""
    rule = operation.path
    for name in operation.path_fields:
        rule = rule.replace(f"{{{name}}}", f"<path:{name}>" if name == "path" else f"<{name}>")
    return rule


def _view(one: Bound, services: Services, identify: Identify, kept: Kept) -> Callable[..., Response]:
    operation = one.operation

    def answered(**path: str) -> Response:
        who = identify(request)
        who.require_scope(Scope(operation.scope))
        try:
            asked = operation.takes.model_validate({**_given(operation), **path})
        except ValidationError as error:
            return invalid(error)
        return _answer(*kept.get(one, services, who, asked), operation.status)

    return answered


def _download(one: BoundDownload, services: Services, identify: Identify) -> Callable[..., Response]:
    operation = one.operation

    def answered(**path: str) -> Response:
        who = identify(request)
        who.require_scope(Scope(operation.scope))
        try:
            asked = operation.takes.model_validate({**_in_query(operation.takes), **path})
        except ValidationError as error:
            return invalid(error)
        return download(one.handler(services, who, asked), operation.media_type)

    return answered


def _answer(body: bytes, tag: str, status: int) -> Response:
    """The JSON with the tag of its content; where the client has it already, only that it does."""
    response = Response(body, status, mimetype="application/json")
    response.headers["Cache-Control"] = "private, no-cache"
    if request.method == "GET":
        response.set_etag(tag)
        response.make_conditional(request)
    return response


def _given(operation: Operation[Any, Any]) -> dict[str, Any]:
    """The fields that stand in the query or in the body. Raises InvalidInput, and HTTPException for a body that is no JSON."""
    if not operation.has_body:
        return _in_query(operation.takes)
    if request.args:
        raise InvalidInput("this takes its fields as JSON in the body, not in the query", field=next(iter(request.args)))
    if not request.content_length and request.mimetype in ("", "application/json"):
        return {}
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("The body has to be JSON (Content-Type: application/json)")
    try:
        found = json.loads(request.get_data(cache=False))
    except (ValueError, RecursionError):
        raise InvalidInput("the body is no JSON") from None
    if not isinstance(found, dict):
        raise InvalidInput("the body has to be a JSON object")
    return found


def _in_query(takes: type[BaseModel]) -> dict[str, Any]:
    """The fields of the query: a list where the field is one, or where a field that is none was given twice."""
    found: dict[str, Any] = {}
    for name, values in request.args.lists():
        field = takes.model_fields.get(name)
        is_list = field is not None and get_origin(field.annotation) in (list, tuple, frozenset)
        found[name] = values if is_list or len(values) > 1 else values[0]
    return found


def _failed(error: Exception) -> Response:
    """The answer where the server is at fault."""
    log.error("a request failed", route=request.path[:200], exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "the server could not do this; its log says why")


def _database_failed(error: Exception) -> Response:
    if not is_known(error) and not is_damaged(error):
        return _failed(error)
    told = unusable(error)
    log.error("a request failed", route=request.path[:200], code=told.code, detail=told.message)
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, told.code, told.message)


def http_problem(error: HTTPException) -> Response:
    """The answer to a request that no operation takes."""
    if isinstance(error, RequestRedirect):  # nothing is answered by a redirect
        error = NotFoundError()
    status = error.code or 500
    code = (error.name or "error").lower().replace(" ", "_")
    response = problem(status, code, error.description or code)
    response.headers.extend((name, value) for name, value in error.get_headers() if name in ("Allow", "Content-Range"))
    return response


def _refused(error: CumulusError) -> Response:
    log.info("a request was refused", route=request.path[:200], code=error.code, field=error.field, detail=error.message)
    return problem_of(error)
