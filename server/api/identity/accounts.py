"""What this package asks of the accounts: who a token or a session is, and where refusals are recorded."""

from collections.abc import Mapping
from typing import Protocol

from server.services.principal import Origin, Principal


class SessionView(Protocol):
    """A session that is open. ``csrf``: what a page sends with each change; ``expires``: Unix seconds."""

    @property
    def principal(self) -> Principal:
        """Whose it is."""

    @property
    def csrf(self) -> str:
        """What no other site's page knows."""

    @property
    def expires(self) -> float:
        """When it ends if nobody uses it."""


class Authenticator(Protocol):
    """Tokens and sessions. All raise an error with the status 401 or 403 and a code that says why; log-ins record themselves."""

    def by_token(self, text: str) -> Principal:
        """Whose token this is."""

    def by_session(self, cookie: str) -> SessionView:
        """The session of a cookie."""

    def log_in(self, name: str, password: str, *, origin: Origin) -> str:
        """A new session's cookie."""

    def log_in_by_link(self, secret: str, name: str, password: str = "", *, origin: Origin) -> str:
        """The same by a link that is good once."""

    def log_in_by_oidc(self, issuer: str, subject: str, claims: Mapping[str, object], *, create: bool, origin: Origin) -> str:
        """The same for whom a provider vouches."""

    def log_out(self, cookie: str, *, origin: Origin) -> None:
        """End a session."""


class Audit(Protocol):
    """Where changes and refusals are recorded."""

    def record(
        self,
        *,
        at: float,
        who: str,
        established: str,
        address: str,
        action: str,
        subject: str,
        outcome: str = "ok",
        code: str = "",
        detail: str = "",
        request_id: str = "",
    ) -> object:
        """Keep one line."""
