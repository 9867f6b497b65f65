"""The services of one installation, as whoever serves people has them: the API, and commands where no controller runs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from server.settings import Settings

if TYPE_CHECKING:
    from server.services.accounts.audit import AuditService
    from server.services.accounts.groups import GroupService
    from server.services.accounts.links import LinkService
    from server.services.accounts.tokens import TokenService
    from server.services.accounts.users import UserService
    from server.services.jobs.lookup import JobLookup
    from server.services.jobs.service import JobService


@dataclass(frozen=True)
class Wiring:
    """How the parts are had that not every use case needs; each is asked for once at most.

    ``url``: where people reach the controller, for links.
    """

    jobs: "Callable[[], JobService]"
    url: "Callable[[], str]"


class Services:
    """Each service is imported and made when it is asked for first; the installation's database is open."""

    def __init__(self, settings: Settings, wiring: Wiring) -> None:
        self.settings = settings
        self._wiring = wiring

    @cached_property
    def lookup(self) -> "JobLookup":
        """Looks for jobs."""
        from server.services.jobs.lookup import JobLookup
        from server.storage.folders import Storage

        return JobLookup(Storage(self.settings.storage))

    @property
    def url(self) -> str:
        """Where people reach the controller."""
        return self._wiring.url()

    @cached_property
    def users(self) -> "UserService":
        """Who may log in."""
        from server.services.accounts.users import UserService

        return UserService(time.time)

    @cached_property
    def groups(self) -> "GroupService":
        """Whose jobs a team sees."""
        from server.services.accounts.groups import GroupService

        return GroupService(time.time)

    @cached_property
    def tokens(self) -> "TokenService":
        """What programs log in with."""
        from server.services.accounts.rules import AccountRules
        from server.services.accounts.tokens import TokenService

        return TokenService(time.time, AccountRules.of(self.settings))

    @cached_property
    def links(self) -> "LinkService":
        """Invitations."""
        from server.services.accounts.links import LinkService
        from server.services.accounts.rules import AccountRules

        return LinkService(time.time, AccountRules.of(self.settings))

    @cached_property
    def audit(self) -> "AuditService":
        """Who has changed what, and what was refused."""
        from server.services.accounts.audit import AuditService
        from server.services.accounts.rules import AccountRules

        return AuditService(time.time, AccountRules.of(self.settings))

    @cached_property
    def jobs(self) -> "JobService":
        """Changes jobs."""
        return self._wiring.jobs()
