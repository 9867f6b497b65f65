"""A controller that has no accounts: it knows no token and no session, and its log is all that is recorded."""

from typing import NoReturn

import structlog

from server.api.identity.errors import Anonymous
from server.services.principal import Origin

log = structlog.get_logger()


class WithoutAccounts:
    """Refuses every token, session and log-in."""

    def by_token(self, text: str) -> NoReturn:  # noqa: ARG002  # whatever it is
        """Raises Anonymous, as all others."""
        _refuse()

    def by_session(self, cookie: str) -> NoReturn:  # noqa: ARG002
        """Raises Anonymous."""
        _refuse()

    def log_in(self, name: str, password: str, *, origin: Origin) -> NoReturn:  # noqa: ARG002
        """Raises Anonymous."""
        _refuse()

    def log_in_by_link(self, secret: str, name: str, password: str = "", *, origin: Origin) -> NoReturn:  # noqa: ARG002
        """Raises Anonymous."""
        _refuse()

    def log_in_by_oidc(self, issuer: str, subject: str, claims: object, *, create: bool, origin: Origin) -> NoReturn:  # noqa: ARG002
        """Raises Anonymous."""
        _refuse()

    def log_out(self, cookie: str, *, origin: Origin) -> None:
        """There is nothing to end."""


def _refuse() -> NoReturn:
    raise Anonymous("this controller has no accounts")


class LoggedAudit:
    """Writes each record into the log."""

    def record(self, *, at: float, **line: str) -> None:  # noqa: ARG002  # the log has its own time
        """One line; the request's number is in all of them."""
        line.pop("request_id", "")
        log.info("audit", **line)
