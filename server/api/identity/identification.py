"""Who asks: from a request to a principal, by token, by session, by the kernel's word, or by the network it comes from.

Knows nothing of routes and of the shapes of answers.
"""

import hmac
import os
import re
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from flask import Request, g

from programs.errors import user_name
from programs.http.addresses import Client, client_in
from server.api.identity.errors import UNAUTHORIZED, ForeignRequest, UntrustedNetwork
from server.api.identity.rate_limits import RateLimits
from server.errors import CumulusError
from server.identity_settings import IdentitySettings
from server.services.accounts.authentication import Authenticator
from server.services.accounts.errors import Unauthenticated
from server.services.accounts.views import SessionView
from server.services.principal import Forbidden, Origin, Principal, Scope

REQUEST_ID = "cumulus.request_id"  # in a request's environment: its number
PEER_UID = "programs.peer_uid"  # in a request's environment that came over a Unix socket: the number of the user who asks
COOKIE, SECURE_COOKIE = "cumulus", "__Host-cumulus"
CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf_token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
HOW = "send a token (Authorization: Bearer …), or log in"
Found = TypeVar("Found")
_BEARER = re.compile(r"bearer +(\S{1,4096})\s*", re.IGNORECASE)


def client_of_request(request: Request) -> Client:
    """The client that a request comes from."""
    return client_in(request.environ)


class Identification:
    """Tells who asks. ``own_uid``: the user of this computer who is the controller, and so an administrator beside root."""

    def __init__(
        self,
        settings: IdentitySettings,
        accounts: Authenticator,
        limits: RateLimits,
        own_uid: int | None = None,
        login_of: Callable[[int], str] = user_name,
    ) -> None:
        self.limits = limits
        self.networks = settings.networks
        self._accounts = accounts
        self._administrators = {0, os.geteuid() if own_uid is None else own_uid}
        self._login_of = login_of

    def identify(self, request: Request) -> Principal:
        """Who asks. Raises an error with the status 401, 403 or 429."""
        found = self.by_credential(request) or self.by_cookie(request)
        if found is None:
            raise Unauthenticated(f"the request does not say who asks: {HOW}")
        return found

    def by_credential(self, request: Request) -> Principal | None:
        """Who asks, by the kernel's word or by a token; None where the request has neither. Raises as :meth:`identify`."""
        found = self._local(request) or self._bearer(request)
        return None if found is None else self.noted(request, found)

    def by_cookie(self, request: Request) -> Principal | None:
        """Who asks, by a session's cookie; None where the request has none. Raises as :meth:`identify`."""
        session = self.session(request)
        if session is None:
            return None
        principal = self.noted(request, session.principal)
        if request.method not in SAFE:
            require_own_page(request, session.csrf)
        return principal

    def session(self, request: Request) -> SessionView | None:
        """The session that a request's cookie names; None where there is no cookie. Raises as :meth:`identify`."""
        cookie = request.cookies.get(cookie_name(request), "")
        return self._known(request, lambda: self._accounts.by_session(cookie)) if cookie else None

    def is_trusted(self, request: Request) -> bool:
        """Whether a name that the request claims is believed: it comes from a trusted network, which no proxy could pretend."""
        client = client_of_request(request)
        return client.is_certain and client.address in self.networks

    def require_trusted(self, request: Request) -> None:
        """Raises UntrustedNetwork."""
        if self.is_trusted(request):
            return
        client = client_of_request(request)
        where = client.address if client.is_certain else f"somewhere behind {client.address or 'an unknown computer'}"
        raise UntrustedNetwork(
            f"This computer ({where}) is in no network that the Cumulus server trusts, so it does not believe who you are. "
            "Ask its administrator to add the network to trusted_networks (and a proxy in between to trusted_proxies)"
        )

    def require_administrator_or_trusted(self, request: Request) -> None:
        """For what is of the installation as a whole. Raises as :meth:`identify`, Forbidden."""
        found = self.by_credential(request)
        if found is None:
            if not self.is_trusted(request):
                raise Unauthenticated(f"this is for trusted networks and administrators: {HOW}")
        elif not found.is_administrator:
            raise Forbidden("only an administrator may do this")
        else:
            found.require_scope(Scope.ADMIN)

    def _local(self, request: Request) -> Principal | None:
        uid = request.environ.get(PEER_UID)
        if uid is None or client_of_request(request).is_forwarded:  # a proxy asks for others
            return None
        login = self._login_of(int(uid))
        if uid in self._administrators:
            return Principal.local_admin(login)
        self._accounts.require_enabled(login)  # the computer's users share their names with the accounts
        return Principal.local_user(login)

    def _bearer(self, request: Request) -> Principal | None:
        said = request.environ.get("HTTP_AUTHORIZATION")
        given = _BEARER.fullmatch(said) if said else None
        return self._known(request, lambda: self._accounts.by_token(given[1])) if given else None

    def _known(self, request: Request, find: Callable[[], Found]) -> Found:
        """What the accounts know. Whoever tries wrong ones too often hears that instead."""
        try:
            return find()
        except CumulusError as error:
            if error.http_status == UNAUTHORIZED:
                self.limits.bad_token(client_of_request(request).address)
            raise

    def noted(self, request: Request, principal: Principal) -> Principal:
        """The principal with where its request comes from, for the audit."""
        found = g.principal = principal.asking_from(origin(request))
        return found


def origin(request: Request) -> Origin:
    """Where a request comes from, for the audit."""
    return Origin(client_of_request(request).address, str(request.environ.get(REQUEST_ID, "")))


def cookie_name(request: Request) -> str:
    """What the session's cookie is called; by TLS, no page of another host in this domain can set it."""
    return SECURE_COOKIE if client_of_request(request).is_secure else COOKIE


def require_own_page(request: Request, csrf: str) -> None:
    """A change that comes with a cookie must come from a page of this server, which knows the session's secret.

    Raises ForeignRequest.
    """
    site, page = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if not (site.strip().lower() == "same-origin" if site is not None else _is_own(page, request)):
        raise ForeignRequest(
            "another site's page may have caused this request: it says by no header that it is this server's own"
        )
    given = request.headers.get(CSRF_HEADER) or request.form.get(CSRF_FIELD, "")
    if not hmac.compare_digest(given.encode(errors="replace"), csrf.encode()):
        raise ForeignRequest(f"the session's secret is missing or wrong: send the session's csrf as {CSRF_HEADER}")


def _is_own(origin: str | None, request: Request) -> bool:
    if origin is None:
        return False
    try:
        found = urlsplit(origin)
        scheme = "https" if client_of_request(request).is_secure else "http"
        return found.scheme == scheme and found.netloc.lower() == request.host.lower()
    except ValueError:
        return False
