"""One log-in by the directory: what must fit when somebody comes back, and what can go wrong. Loads no library for it."""

import secrets
from dataclasses import dataclass

from server.errors import CumulusError


class ProviderAway(CumulusError):
    """The provider does not answer, or not as a provider does."""

    code = "oidc_unavailable"
    http_status = 502


class ProviderRefuses(CumulusError):
    """The log-in at the provider has failed, or what came of it is not for this log-in."""

    code = "oidc_refused"
    http_status = 401


class NoProvider(CumulusError):
    """This installation has no directory of users."""

    code = "oidc_not_set_up"
    http_status = 404


@dataclass(frozen=True)
class Flow:
    """One log-in under way: what comes back must fit to it."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str

    @classmethod
    def new(cls, redirect_uri: str) -> "Flow":
        """One that nobody can guess."""
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), redirect_uri)
