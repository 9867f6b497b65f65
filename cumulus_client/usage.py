"""Usage as the API gives it: what jobs have taken of machines and storage; the operations, and the client of these."""

from typing import Annotated, Literal

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.operations import Download, Operation, Request, Response

Key = Literal["user", "group", "app", "month"]
Day = Annotated[str, Field(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$")]


class UsageRow(Response):
    """What one user, group, app or month has used; keys that were not asked for are "".

    ``weight_hours``: of machines, their weight times the hours from the request to the confirmed end. ``job_hours``: in which
    apps ran. ``gb_days``: what ended jobs kept of the storage. ``jobs``: that were submitted.
    """

    user: str
    group: str
    app: str
    month: str
    jobs: int
    weight_hours: float
    job_hours: float
    gb_days: float


class UsageReport(Response):
    """Usage from ``first`` to ``last``, Unix seconds; ``unmeasured``: ended jobs whose share of the storage is not known.

    With several groups an owner counts in each, so that groups need not add up to the total.
    """

    first: float
    last: float
    rows: list[UsageRow]
    total: UsageRow
    unmeasured: int


class UsageQuery(Request):
    """``by``: what is told apart. ``first``, ``last``: days of the server's time zone (YYYY-MM-DD), the last one included."""

    by: list[Key] = Field(default_factory=lambda: list[Key](("user",)), max_length=4)
    first: Day = ""
    last: Day = ""


GET = Operation("usage.get", "GET", "/usage", UsageQuery, UsageReport, "What was used of machines and storage.")
CSV = Download("usage.csv", "/usage.csv", UsageQuery, "text/csv", "The same as CSV.")


class Usage:
    """What an installation's jobs have used."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def get(self, query: UsageQuery) -> UsageReport:
        """The usage that one may see."""
        return self._caller.call(GET, query)

    def csv(self, query: UsageQuery) -> bytes:
        """The same as CSV, in UTF-8."""
        with self._caller.download(CSV, query) as stream:
            return b"".join(stream.parts())
