"""The records of runs as the API gives them, two of them compared, and what a job would be made of once more."""

from typing import Any, Literal

from pydantic import Field

from cumulus_client.calling import Caller
from cumulus_client.jobs import JobNumber, OneJob
from cumulus_client.operations import Operation, Response


class JobRecord(Response):
    """What a run was made of: the content of ``job.json``, whose format docs/architecture.md describes."""

    record: dict[str, Any]


class Difference(Response):
    """Something that was one thing before and is another now; "" where there was or is none."""

    what: str
    before: str
    now: str

    def __str__(self) -> str:
        return f"{self.what}: {self.before or 'none'} → {self.now or 'none'}"


class ComparedResults(Response):
    """The results of a run beside those of an earlier one: names of files. ``unknown``: of one nobody knows the checksum."""

    same: list[str]
    different: list[str]
    missing: list[str]
    added: list[str]
    unknown: list[str]
    verdict: Literal["same", "different", "unknown"]


class Comparison(Response):
    """Two runs beside each other. ``summary``: of the results, as a sentence."""

    differences: list[Difference]
    results: ComparedResults
    summary: str


class RerunPlace(Response):
    """Where a file may be. ``is_own``: the job has kept it, so that it is believed without a checksum."""

    path: str
    is_own: bool


class RerunFile(Response):
    """A file that the job has read. ``missing`` and ``changed``: what to say where it is not there, or is another now."""

    name: str
    shared: bool
    sha256: str
    places: list[RerunPlace]
    missing: str
    changed: str


class RerunPlan(Response):
    """A job once more, for today. ``remarks``: what cannot be vouched for; ``differences``: from the run that there was."""

    app: str
    flavor: str
    owner: str
    description: str
    settings: dict[str, Any]
    files: list[RerunFile]
    remarks: list[str]
    differences: list[Difference]


class TwoJobs(OneJob):
    """Which job, and which one it is compared with."""

    other: JobNumber


class RerunQuery(OneJob):
    """Which job. ``flavor``: the machine size, "" for the job's."""

    flavor: str = Field(default="", max_length=200)


GET = Operation("records.get", "GET", "/jobs/{job}/record", OneJob, JobRecord, "What a run was made of.")
COMPARE = Operation(
    "records.compare",
    "GET",
    "/jobs/{job}/record/compared/{other}",
    TwoJobs,
    Comparison,
    "What differs between two jobs.",
)
PLAN = Operation(
    "records.plan", "GET", "/jobs/{job}/rerun", RerunQuery, RerunPlan, "What a job would be made of if it ran once more today."
)


class Records:
    """The records of an installation's jobs."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def get(self, job: int) -> dict[str, Any]:
        """What a run was made of. Raises Refused."""
        return self._caller.call(GET, OneJob(job=job)).record

    def compare(self, job: int, other: int) -> Comparison:
        """What differs in ``job`` from ``other``. Raises Refused."""
        return self._caller.call(COMPARE, TwoJobs(job=job, other=other))

    def plan(self, job: int, flavor: str = "") -> RerunPlan:
        """What a job would be made of once more. Raises Refused where it cannot run today."""
        return self._caller.call(PLAN, RerunQuery(job=job, flavor=flavor))
