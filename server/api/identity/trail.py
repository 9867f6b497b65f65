"""What is recorded of a request: its number in log, answer and audit; what it has changed; and that it was refused."""

import re
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from flask import Flask, Response, g, request

from programs.http.addresses import Application, client_in
from server.api.identity.accounts import Audit
from server.api.identity.errors import REFUSALS, UNAUTHORIZED
from server.api.identity.identification import REQUEST_ID
from server.api.identity.rate_limits import RateLimits
from server.client import REFUSED
from server.db.errors import DATABASE_ERRORS
from server.services.principal import Principal

HEADER = "X-Request-Id"
CHALLENGE = "WWW-Authenticate"
REFUSALS_PER_MINUTE = 300  # that are recorded; a stranger's requests must not fill the database
SAME_PER_MINUTE = 1
MAX_SUBJECT = 300
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
log = structlog.get_logger()


class Trail:
    """Records what requests do. ``clock``: Unix seconds."""

    def __init__(self, audit: Audit, limits: RateLimits, clock: Callable[[], float] = time.time) -> None:
        self._audit = audit
        self._limits = limits
        self._clock = clock

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
        self._record(who, action, subject, "ok", "")

    def _refused(self, code: str) -> None:
        who = g.get("principal") or Principal.desktop(claimed_name())
        address = client_in(request.environ).address
        action = f"{request.method} {request.url_rule.rule if request.url_rule else '(no route)'}"
        if not self._limits.is_new(SAME_PER_MINUTE, "refusal", who.name, address, action, code):
            return
        if self._limits.is_new(REFUSALS_PER_MINUTE, "refusals"):
            self._record(who, action, request.path, "refused", code)
        elif self._limits.is_new(SAME_PER_MINUTE, "refusals left out"):
            log.warning("more requests are refused than are recorded", a_minute=REFUSALS_PER_MINUTE)

    def _record(self, who: Principal, action: str, subject: str, outcome: str, code: str) -> None:
        """The request has its answer whatever becomes of the record; where that cannot be written the log has it."""
        line = {
            "who": who.name,
            "established": str(who.established) if who.name else "",
            "address": client_in(request.environ).address,
            "action": action,
            "subject": subject[:MAX_SUBJECT],
            "outcome": outcome,
            "code": code,
            "request_id": request_id(),
        }
        try:
            self._audit.record(at=self._clock(), **line)
        except DATABASE_ERRORS as problem:
            line.pop("request_id")
            log.error("the audit cannot be written", detail=str(problem), **line)  # noqa: TRY400  # the database says why elsewhere


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
