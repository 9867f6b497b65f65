"""What is recorded of a request: its number in log, answer and audit; what it has changed; and that it was refused."""

import re
import secrets
import time
from collections.abc import Callable

import structlog
from flask import Flask, Response, g, request

from programs.http.addresses import client_in
from server.api.identity.accounts import Audit
from server.api.identity.errors import REFUSALS, UNAUTHORIZED
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
        app.before_request(self.begin)
        app.after_request(self.end)
        app.teardown_request(_forget)

    def begin(self) -> None:
        """Give the request its number, that of a proxy where that is trusted and gives one."""
        client, given = client_in(request.environ), request.headers.get(HEADER, "")
        is_given = client.is_forwarded and client.is_certain and _GIVEN_ID.fullmatch(given)
        g.request_id = given if is_given else secrets.token_hex(8)
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    def end(self, response: Response) -> Response:
        """Say the number, how to prove who one is, and record a refusal."""
        response.headers[HEADER] = g.get("request_id", "")
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
            "request_id": g.get("request_id", ""),
        }
        try:
            self._audit.record(at=self._clock(), **line)
        except DATABASE_ERRORS as problem:
            line.pop("request_id")
            log.error("the audit cannot be written", detail=str(problem), **line)  # noqa: TRY400  # the database says why elsewhere


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


def _forget(_error: BaseException | None = None) -> None:
    structlog.contextvars.unbind_contextvars("request_id")
