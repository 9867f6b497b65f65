"""The parts of this package, joined for one controller: nothing of them is made elsewhere."""

import time
from collections.abc import Callable

from flask import Flask

from programs.http.addresses import ClientAddresses
from server.api.identity.accounts import Accounts
from server.api.identity.identification import Identification
from server.api.identity.oidc_routes import OidcRoutes
from server.api.identity.rate_limits import RateLimits
from server.api.identity.sessions import Sessions
from server.api.identity.trail import Trail
from server.identity_settings import IdentitySettings


class Identity:
    """Who asks, for one application. ``clock``: Unix seconds; ``steady``: seconds that never jump."""

    def __init__(
        self,
        settings: IdentitySettings,
        accounts: Accounts,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        own_uid: int | None = None,
    ) -> None:
        limits = RateLimits(settings, steady)
        self._proxies = settings.proxies
        self.trail = Trail(accounts.audit)
        self.identification = Identification(settings, accounts.authenticator, limits, own_uid)
        self.sessions = Sessions(self.identification, accounts.authenticator)
        self._oidc = OidcRoutes(settings, accounts.authenticator, self.sessions, clock)

    def install(self, app: Flask) -> None:
        """Have all requests say where they come from and be recorded; before whatever else looks at them."""
        self.trail.install(app)
        app.wsgi_app = ClientAddresses(app.wsgi_app, self._proxies)  # type: ignore[method-assign]  # before all others
        routes = self.sessions.blueprint()
        self._oidc.add_to(routes)
        app.register_blueprint(routes)
