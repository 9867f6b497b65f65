"""What this package asks of the accounts: who a token or a session is, and where changes and refusals are recorded."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from server.services.accounts.audit import AuditService
from server.services.accounts.authentication import Authenticator
from server.services.accounts.rules import AccountRules
from server.settings import Settings


@dataclass(frozen=True)
class Accounts:
    """The accounts of the database that is open."""

    authenticator: Authenticator
    audit: AuditService

    @classmethod
    def of(cls, settings: Settings, clock: Callable[[], float] = time.time) -> "Accounts":
        """Those of an installation, with its limits. ``clock``: Unix seconds."""
        rules = AccountRules.of(settings)
        return cls(Authenticator(clock, rules=rules), AuditService(clock, rules))
