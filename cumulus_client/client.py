"""The client: one object for each noun of the API, over whatever carries operations out."""

from functools import cached_property
from typing import TYPE_CHECKING

from cumulus_client.calling import Caller

if TYPE_CHECKING:
    from cumulus_client.batches import Batches
    from cumulus_client.jobs import Jobs
    from cumulus_client.presets import Presets
    from cumulus_client.usage import UsageReports


class Cumulus:
    """A controller. All methods raise Refused where it says no, Unreachable where none answers.

    Each noun is imported when it is asked for first: a command line needs one or two of them.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    @classmethod
    def at(cls, url: str, token: str = "") -> "Cumulus":
        """The controller at a URL, asked with an API token."""
        from cumulus_client.http import HttpCaller  # not where operations are carried out without HTTP

        return cls(HttpCaller(url, token=token))

    @cached_property
    def jobs(self) -> "Jobs":
        """Its jobs."""
        from cumulus_client.jobs import Jobs

        return Jobs(self._caller)

    @cached_property
    def batches(self) -> "Batches":
        """Its batches of jobs."""
        from cumulus_client.batches import Batches

        return Batches(self._caller)

    @cached_property
    def presets(self) -> "Presets":
        """Named forms."""
        from cumulus_client.presets import Presets

        return Presets(self._caller)

    @cached_property
    def usage(self) -> "UsageReports":
        """What its jobs have used."""
        from cumulus_client.usage import UsageReports

        return UsageReports(self._caller)
