"""The services of one installation, as whoever serves people has them: the API, and commands where no controller runs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from server.settings import Settings

if TYPE_CHECKING:
    from server.services.administration import Administration
    from server.services.jobs.lookup import JobLookup
    from server.services.jobs.service import JobService


@dataclass(frozen=True)
class Wiring:
    """How the parts are had that not every use case needs; each is asked for once at most."""

    jobs: "Callable[[], JobService]"
    administration: "Callable[[], Administration]"


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

    @cached_property
    def jobs(self) -> "JobService":
        """Changes jobs."""
        return self._wiring.jobs()

    @cached_property
    def administration(self) -> "Administration":
        """What is for who looks after the installation."""
        return self._wiring.administration()
