"""The page that a one-time link opens: whoever has the link chooses a name or a password, and is logged in."""

import secrets

from flask import Blueprint, Response, make_response, render_template, request

from server.api.identity.identification import origin
from server.api.identity.sessions import Sessions, set_cookie
from server.errors import CumulusError
from server.services.accounts.authentication import Authenticator
from server.services.accounts.links import LOGIN_PATH

MAX_SECRET, MAX_NAME, MAX_PASSWORD = 512, 128, 1024


class LoginPages:
    """The page. A link's secret is in its address, so that no page, cache or log of another site learns that."""

    def __init__(self, sessions: Sessions, accounts: Authenticator) -> None:
        self._sessions = sessions
        self._accounts = accounts

    def blueprint(self) -> Blueprint:
        """Its routes."""
        routes = Blueprint("pages", __name__, template_folder="templates")
        routes.add_url_rule(LOGIN_PATH, "login_link", self.show, methods=["GET"])
        routes.add_url_rule(LOGIN_PATH, "use_login_link", self.use, methods=["POST"])
        return routes

    def show(self) -> Response:
        """The form. Whether the link is good is said when it is used: a mail program's preview must not use it up."""
        return _page("login_link.html")

    def use(self) -> Response:
        """Log in by the link; where that fails, the form again with the reason."""
        secret, name = request.args.get("secret", "")[:MAX_SECRET], request.form.get("name", "")[:MAX_NAME]
        password = request.form.get("password", "")[: MAX_PASSWORD + 1]
        try:
            if password != request.form.get("again", "")[: MAX_PASSWORD + 1]:
                return _page("login_link.html", 422, name=name, problem="The two passwords differ.", field="again")
            log_in = self._accounts.log_in_by_link
            cookie = self._sessions.opened(name, lambda: log_in(secret, name, password, origin=origin(request)))
        except CumulusError as error:
            text = f"{error.message[:1].upper()}{error.message[1:]}."
            return _page("login_link.html", error.http_status, name=name, problem=text, field=error.field or "")
        who = self._accounts.by_session(cookie).principal
        response = _page("logged_in.html", 200, who=who, url=request.host_url.rstrip("/"))
        set_cookie(response, cookie)
        return response


def _page(template: str, status: int = 200, **given: object) -> Response:
    nonce = secrets.token_urlsafe(16)
    response = make_response(render_template(template, nonce=nonce, **given), status)
    policy = f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    response.headers["Content-Security-Policy"] = policy
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response
