"""``/api/v1/session``: log in, see who one is, log out. Owns the session's cookie."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from werkzeug.exceptions import HTTPException

from server.api.identity.errors import REFUSALS, Malformed
from server.api.identity.identification import (
    COOKIE,
    HOW,
    SECURE_COOKIE,
    Identification,
    client_of_request,
    cookie_name,
    origin,
    require_own_page,
)
from server.api.identity.problems import problem
from server.api.identity.trail import claim
from server.api.responses import answer
from server.errors import CumulusError
from server.services.accounts.authentication import Authenticator
from server.services.accounts.errors import Unauthenticated
from server.services.accounts.views import SessionView
from server.services.principal import Principal

PREFIX = "/api/v1"
MAX_BODY = 16 * 1024
Body = TypeVar("Body", bound=BaseModel)


class LogIn(BaseModel):
    """A name and its password."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=128)
    password: SecretStr = Field(min_length=1, max_length=1024)


class LogInByLink(BaseModel):
    """The secret of a link, the name to have, and a password for later."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    secret: SecretStr = Field(min_length=1, max_length=512)
    name: str = Field(min_length=1, max_length=128)
    password: SecretStr = Field(SecretStr(""), max_length=1024)


class Sessions:
    """The routes."""

    def __init__(self, identification: Identification, accounts: Authenticator) -> None:
        self._identification = identification
        self._accounts = accounts

    def blueprint(self) -> Blueprint:
        """The routes; all errors are problems."""
        routes = Blueprint("session", __name__, url_prefix=PREFIX)
        routes.add_url_rule("/session", "show", self.show, methods=["GET"])
        routes.add_url_rule("/session", "log_in", self.log_in, methods=["POST"])
        routes.add_url_rule("/session", "log_out", self.log_out, methods=["DELETE"])
        routes.add_url_rule("/session/link", "log_in_by_link", self.log_in_by_link, methods=["POST"])
        routes.register_error_handler(CumulusError, problem)
        routes.register_error_handler(HTTPException, _malformed)
        return routes

    def show(self) -> Response:
        """Who asks, by a session or a token."""
        found = self._identification.by_credential(request)
        if found is not None:
            return answer(described(found))
        session = self._identification.session(request)
        if session is None:
            raise Unauthenticated(f"nobody is logged in here: {HOW}")
        return answer(described(self._identification.noted(request, session.principal), session))

    def log_in(self) -> Response:
        """A session for a name and its password."""
        given = _body(LogIn)
        return self.begin(
            given.name, lambda: self._accounts.log_in(given.name, given.password.get_secret_value(), origin=origin(request))
        )

    def log_in_by_link(self) -> Response:
        """A session for the secret of a link."""
        given = _body(LogInByLink)
        secret, password = given.secret.get_secret_value(), given.password.get_secret_value()
        return self.begin(given.name, lambda: self._accounts.log_in_by_link(secret, given.name, password, origin=origin(request)))

    def log_out(self) -> Response:
        """End the session that the request comes with."""
        session = self._identification.session(request)
        if session is None:
            raise Unauthenticated("nobody is logged in here")
        principal = self._identification.noted(request, session.principal)
        require_own_page(request, session.csrf)
        self._accounts.log_out(request.cookies[cookie_name(request)], origin=principal.origin)
        response = Response(status=204)
        response.headers["Cache-Control"] = "no-store"
        response.delete_cookie(cookie_name(request), path="/", secure=client_of_request(request).is_secure, httponly=True)
        return response

    def begin(self, name: str, log_in: Callable[[], str]) -> Response:
        """The answer with a new session's cookie; another one that the browser has had ends."""
        cookie = self.opened(name, log_in)
        session = self._accounts.by_session(cookie)
        response = answer(described(session.principal, session), 201)
        set_cookie(response, cookie)
        return response

    def is_first(self, state: str) -> bool:
        """Whether a log-in by the directory has not come to its end before."""
        return self._identification.limits.is_first_within_an_hour("oidc", state)

    def opened(self, name: str, log_in: Callable[[], str]) -> str:
        """A new session's cookie. Raises LoginRefused, TooMany."""
        limits = self._identification.limits
        limits.login(client_of_request(request).address, name)
        claim(name)
        try:
            cookie = log_in()
        except CumulusError as error:
            if error.http_status in REFUSALS:
                limits.failed_login(name)
            raise
        if former := request.cookies.get(cookie_name(request)):
            self._accounts.log_out(former, origin=origin(request))
        return cookie


def described(principal: Principal, session: SessionView | None = None) -> dict[str, Any]:
    """Who somebody is, and what a page needs to know of the session."""
    return {
        "name": principal.name,
        "roles": sorted(principal.roles),
        "scopes": sorted(principal.scopes),
        "established": str(principal.established),
        "csrf": session.csrf if session else None,
        "expires": int(session.expires) if session else None,
    }


def set_cookie(response: Response, cookie: str) -> None:
    """Give the browser a session; it forgets it when it is closed."""
    is_secure = client_of_request(request).is_secure
    name = SECURE_COOKIE if is_secure else COOKIE
    response.set_cookie(name, cookie, path="/", secure=is_secure, httponly=True, samesite="Lax")


def _body(model: type[Body]) -> Body:
    """The request's JSON. Raises Malformed, with the field at fault and without what was given."""
    if not request.is_json:
        raise Malformed("send JSON, as Content-Type: application/json", field="Content-Type")
    if (request.content_length or 0) > MAX_BODY:
        raise Malformed("the request is too long")
    try:
        return model.model_validate_json(request.get_data())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"])) or None
        raise Malformed(f"{field or 'the request'}: {first['msg']}", field=field) from None


def _malformed(error: HTTPException) -> Response:
    """A request that Flask refuses."""
    refusal = Malformed(error.description or "the request cannot be read")
    return problem(refusal, status=error.code)
