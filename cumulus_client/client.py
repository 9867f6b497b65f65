"""The client: one object for each noun of the API, over whatever carries operations out."""

from functools import cached_property
from typing import TYPE_CHECKING

from cumulus_client.calling import Caller

if TYPE_CHECKING:
    from cumulus_client.jobs import Jobs
    from cumulus_client.logs import Logs
    from cumulus_client.results import Results


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
    def logs(self) -> "Logs":
        """The jobs' logs."""
        from cumulus_client.logs import Logs

        return Logs(self._caller)

    @cached_property
    def results(self) -> "Results":
        """The jobs' result files."""
        from cumulus_client.results import Results

        return Results(self._caller)
