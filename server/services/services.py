"""The services of one installation, as whoever serves people has them: the API, and commands where no controller runs."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from server.settings import Settings

if TYPE_CHECKING:
    from server.services.account_services import AccountServices
    from server.services.administration import Administration
    from server.services.apps import AppService
    from server.services.batches.lookup import BatchLookup
    from server.services.batches.service import BatchService
    from server.services.jobs.logs import JobLogs
    from server.services.jobs.lookup import JobLookup
    from server.services.jobs.service import JobService
    from server.services.presets.service import PresetService
    from server.services.records.retries import RetryService
    from server.services.records.service import RecordService
    from server.services.usage.service import UsageService
    from server.workers.clouds.base import Cloud


@dataclass(frozen=True)
class Wiring:
    """How the parts are had that not every use case needs; each is asked for once at most.

    ``url``: where people reach the controller, for links.
    """

    jobs: "Callable[[], JobService]"
    url: "Callable[[], str]"
    cloud: "Callable[[], Cloud]"
    administration: "Callable[[], Administration]"
    batches: "Callable[[], BatchService]"


class Services:
    """Each service is imported and made when it is asked for first; the installation's database is open."""

    def __init__(self, settings: Settings, wiring: Wiring) -> None:
        self.settings = settings
        self.wiring = wiring

    @cached_property
    def lookup(self) -> "JobLookup":
        """Looks for jobs."""
        from server.services.jobs.lookup import JobLookup
        from server.storage.folders import Storage

        return JobLookup(Storage(self.settings.storage))

    @cached_property
    def accounts(self) -> "AccountServices":
        """Who may do what."""
        from server.services.account_services import AccountServices

        return AccountServices(self.settings)

    @cached_property
    def jobs(self) -> "JobService":
        """Changes jobs."""
        return self.wiring.jobs()

    @cached_property
    def logs(self) -> "JobLogs":
        """Reads jobs' logs."""
        from server.catalog.flavors import read_flavors
        from server.engine.situation import Situations
        from server.services.jobs.logs import JobLogs
        from server.storage.folders import Storage

        storage = Storage(self.settings.storage)
        return JobLogs(storage, Situations(self.settings, storage, read_flavors(self.settings.flavors).max_weight))

    @cached_property
    def records(self) -> "RecordService":
        """Reads and compares records of runs."""
        from server.services.records.service import RecordService

        return RecordService(self.settings)

    @cached_property
    def retries(self) -> "RetryService":
        """Runs failed jobs once more."""
        from server.services.records.retries import RetryService

        return RetryService(self.jobs, self.records)

    @cached_property
    def apps(self) -> "AppService":
        """The apps and workflows."""
        from server.services.apps import AppService

        return AppService(self.settings)

    def missing_apps(self) -> "Mapping[str, str]":
        """The apps that the machines lack, by id, and why; none where there is no installation that could have machines."""
        return self.apps.missing(self.cloud()) if self.settings.home.is_dir() else {}

    def cloud(self) -> "Cloud":
        """The cloud."""
        return self.wiring.cloud()

    @cached_property
    def administration(self) -> "Administration":
        """What is for who looks after the installation."""
        return self.wiring.administration()

    @cached_property
    def batches(self) -> "BatchService":
        """Submits and changes batches."""
        return self.wiring.batches()

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
