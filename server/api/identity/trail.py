"""What is recorded of a request: its number in log, answer and audit; what it has changed; and that it was refused."""

import re
import secrets
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from flask import Flask, Response, g, request

from programs.http.addresses import Application, client_in
from server.api.identity.errors import REFUSALS, UNAUTHORIZED
from server.api.identity.identification import REQUEST_ID, origin
from server.client import REFUSED
from server.db.errors import DATABASE_ERRORS
from server.services.accounts.audit import AuditService
from server.services.accounts.changes import Outcome
from server.services.principal import Principal

HEADER = "X-Request-Id"
CHALLENGE = "WWW-Authenticate"
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
log = structlog.get_logger()


class Trail:
    """Records what requests do; the audit sees to it that refusals do not fill it."""

    def __init__(self, audit: AuditService) -> None:
        self._audit = audit

    def install(self, app: Flask) -> None:
        """Have all requests of an application pass; before whatever else looks at them."""
        app.wsgi_app = Numbered(app.wsgi_app)  # type: ignore[method-assign]
        app.after_request(self.end)

    def end(self, response: Response) -> Response:
        """Say the number, how to prove who one is, and record a refusal."""
        response.headers[HEADER] = request_id()
        if response.status_code == UNAUTHORIZED and CHALLENGE not in response.headers:
            response.headers[CHALLENGE] = 'Bearer realm="cumulus"'
        if code := refusal_code(response):
            self._refused(code)
        return response

    def changed(self, action: str, subject: str, who: Principal) -> None:
        """Record what a request has changed."""
        self._record(who, action, subject, Outcome.OK)

    def _refused(self, code: str) -> None:
        claimed = claimed_name()
        who = g.get("principal") or (Principal.desktop(claimed) if claimed else None)
        rule = request.url_rule.rule if request.url_rule else "(no route)"
        self._record(who, f"{request.method} {rule}", request.path, Outcome.REFUSED, code)

    def _record(self, who: Principal | None, action: str, subject: str, outcome: Outcome, code: str = "") -> None:
        """The request has its answer whatever becomes of the record; where that cannot be written the log has it."""
        where = origin(request)
        try:
            self._audit.record(who, action, subject=subject, outcome=outcome, code=code, origin=where)
        except DATABASE_ERRORS as problem:
            log.error(  # noqa: TRY400  # the database says why elsewhere
                "the audit cannot be written",
                detail=str(problem),
                who=who.name if who else "",
                address=where.address,
                action=action,
                subject=subject,
                outcome=str(outcome),
                code=code,
            )


class Numbered:
    """An application whose requests have a number each, that of a trusted proxy where it gives one; lines of the log have it."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        number = environ[REQUEST_ID] = _given_number(environ) or secrets.token_hex(8)
        bound = structlog.contextvars.bind_contextvars(request_id=number)
        try:
            return self._application(environ, start_response)
        finally:
            structlog.contextvars.reset_contextvars(**bound)


def _given_number(environ: dict[str, Any]) -> str:
    given = environ.get("HTTP_X_REQUEST_ID")
    if given is None or not _GIVEN_ID.fullmatch(given):
        return ""
    client = client_in(environ)
    return str(given) if client.is_forwarded and client.is_certain else ""


def request_id() -> str:
    """The number of the request that is answered; "" where it has none."""
    return str(request.environ.get(REQUEST_ID, ""))


def refusal_code(response: Response) -> str:
    """Why a request was refused for who asked it, or how often; "" where it was not."""
    marked = response.headers.get(REFUSED, "").partition(";")[0]
    if response.status_code in REFUSALS:
        found = response.get_json(silent=True) if response.is_json or "json" in response.content_type else None
        body = found.get("error", found) if isinstance(found, dict) else None
        named = body.get("code") if isinstance(body, dict) else None
        return str(named or marked or response.status_code)
    return marked if g.get("is_refusal") else ""


def claim(name: str) -> None:
    """Keep the name that somebody claims, for the case that it is refused."""
    g.claimed_name = name


def claimed_name() -> str:
    """Whom a request of the desktop client says it is from; "" where it does not."""
    arguments = request.view_args or {}
    return str(arguments.get("owner") or g.get("claimed_name", ""))[:200]
