"""``/api/v1/oidc``: to the laboratory's directory, and back with a session.

What must fit on the way back is in a signed cookie of the browser that has begun, so nobody can end another one's log-in.
"""

import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, request
from itsdangerous import BadSignature, URLSafeSerializer

from server.api.identity.identification import client_of_request, origin
from server.api.identity.oidc_flow import Flow, NoProvider, ProviderRefuses
from server.api.identity.sessions import PREFIX, Sessions, set_cookie
from server.identity_settings import IdentitySettings
from server.services.accounts.authentication import Authenticator

if TYPE_CHECKING:
    from server.api.identity.oidc import Provider

LOGIN, BACK = "/oidc/login", "/oidc/callback"
CALLBACK = PREFIX + BACK
FLOW_COOKIE, SECURE_FLOW_COOKIE = "cumulus-oidc", "__Host-cumulus-oidc"
FLOW_S = 600  # for which a log-in may be under way
AGAIN = f"begin again at {PREFIX}{LOGIN}"
_OWN_PATH = re.compile(r"/(?![/\\])[!-~]{0,1000}")


class OidcRoutes:
    """The two routes. ``clock``: Unix seconds."""

    def __init__(
        self,
        settings: IdentitySettings,
        accounts: Authenticator,
        sessions: Sessions,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._made: Provider | None = None
        self._accounts = accounts
        self._sessions = sessions
        self._clock = clock
        self._signer = URLSafeSerializer(secrets.token_bytes(32), salt="oidc")

    def add_to(self, routes: Blueprint) -> None:
        """Beside those of sessions, whose errors they share."""
        routes.add_url_rule(LOGIN, "oidc_login", self.log_in, methods=["GET"])
        routes.add_url_rule(BACK, "oidc_callback", self.come_back, methods=["GET"])

    def log_in(self) -> Response:
        """To the provider. ``next``: a path of this server to continue at."""
        then = request.args.get("next", "")
        scheme = "https" if client_of_request(request).is_secure else "http"
        flow = Flow.new(f"{scheme}://{request.host}{CALLBACK}")
        response = _sent(self._provider.login_url(flow))
        kept = {**asdict(flow), "at": self._clock(), "next": then if _OWN_PATH.fullmatch(then) else ""}
        response.set_cookie(
            _flow_cookie(),
            str(self._signer.dumps(kept)),
            FLOW_S,
            path="/",
            secure=scheme == "https",
            httponly=True,
            samesite="Lax",
        )
        return response

    def come_back(self) -> Response:
        """From the provider, with a code: a session for whom it vouches."""
        kept = self._kept()
        flow = Flow(*(str(kept[name]) for name in ("state", "nonce", "verifier", "redirect_uri")))
        if not hmac.compare_digest(request.args.get("state", "").encode(), flow.state.encode()):
            raise ProviderRefuses(f"this is the end of another log-in than this browser has begun: {AGAIN}")
        if not 0 <= self._clock() - float(kept["at"]) < FLOW_S:
            raise ProviderRefuses(f"the log-in has taken longer than {FLOW_S // 60} minutes: {AGAIN}")
        if (issuer := request.args.get("iss")) is not None and issuer != self._settings.oidc_issuer:
            raise ProviderRefuses("another provider than that of the settings has answered")
        response = self._answered(flow, str(kept["next"]))
        response.delete_cookie(_flow_cookie(), path="/", secure=client_of_request(request).is_secure, httponly=True)
        return response

    def _answered(self, flow: Flow, then: str) -> Response:
        code = request.args.get("code", "")
        if not code:
            said = request.args.get("error_description") or request.args.get("error") or "it gives no code"
            raise ProviderRefuses(f"{self._settings.oidc_issuer} has let nobody in: {said[:200]}")
        if not self._sessions.is_first(flow.state):
            raise ProviderRefuses(f"this log-in has ended already: {AGAIN}")
        found = self._provider.identity(flow, code)
        name = str(found.claims["preferred_username"])

        def log_in() -> str:
            return self._accounts.log_in_by_oidc(
                found.issuer, found.subject, found.claims, create=self._settings.oidc_create_users, origin=origin(request)
            )

        if not then:
            return self._sessions.begin(name, log_in)
        response = _sent(then)
        set_cookie(response, self._sessions.opened(name, log_in))
        return response

    @property
    def _provider(self) -> "Provider":
        """The provider, once somebody asks for it: its libraries take a tenth of a second. Raises NoProvider."""
        if not self._settings.oidc_issuer:
            raise NoProvider("this server has no directory to log in by: an administrator sets oidc_issuer")
        if self._made is None:
            from server.api.identity.oidc import Provider

            self._made = Provider(self._settings, self._clock)
        return self._made

    def _kept(self) -> dict[str, Any]:
        try:
            return dict(self._signer.loads(request.cookies.get(_flow_cookie(), "")))
        except (BadSignature, ValueError, TypeError):
            raise ProviderRefuses(
                f"this browser has begun no log-in, or the controller was started again since: {AGAIN}"
            ) from None


def _flow_cookie() -> str:
    return SECURE_FLOW_COOKIE if client_of_request(request).is_secure else FLOW_COOKIE


def _sent(url: str) -> Response:
    return Response(status=303, headers={"Location": url, "Cache-Control": "no-store"})
