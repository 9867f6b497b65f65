"""The services of one installation, as whoever serves people has them: the API, and commands where no controller runs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from server.settings import Settings

if TYPE_CHECKING:
    from server.services.batches.lookup import BatchLookup
    from server.services.batches.service import BatchService
    from server.services.jobs.lookup import JobLookup
    from server.services.jobs.service import JobService
    from server.services.presets.service import PresetService
    from server.services.usage.service import UsageService


@dataclass(frozen=True)
class Wiring:
    """How the parts are had that not every use case needs; each is asked for once at most."""

    jobs: "Callable[[], JobService]"
    batches: "Callable[[], BatchService]"


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
    def batches(self) -> "BatchService":
        """Submits and changes batches."""
        return self._wiring.batches()

    @cached_property
    def batch_lookup(self) -> "BatchLookup":
        """Looks at batches."""
        from server.services.batches.lookup import BatchLookup

        return BatchLookup()

    @cached_property
    def presets(self) -> "PresetService":
        """Named forms."""
        from server.catalog.apps import Catalog
        from server.services.presets.service import PresetService

        return PresetService(Catalog(self.settings.apps), time.time)

    @cached_property
    def usage(self) -> "UsageService":
        """What jobs have used."""
        from server.services.usage.service import UsageService

        return UsageService(time.time)
