"""Looking for jobs: a list of the newest, one with all that happened to it."""

from cumulus_client.jobs import FileOutcome, JobDetails, ResultFile
from cumulus_client.jobs import Job as JobView
from server.db.cached_sql import rows as rows_of
from server.db.models import Event, Job
from server.db.queries import known_job
from server.db.search import Query, find
from server.errors import InvalidInput, NotFound, no_job
from server.services.jobs.figures import per_file
from server.services.jobs.views import ResultsView, details_of, event_view, view_of
from server.services.principal import Principal, Role
from server.services.times import local_time
from server.states import JobState
from server.storage.folders import Storage


class JobLookup:
    """The jobs of an installation whose database is open. Everybody sees every job, as in the desktop client's list."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def newest(self, principal: Principal, owner: str = "", limit: int | None = None) -> list[JobView]:
        """The newest jobs of owners whose name contains ``owner``; ``limit``: how many at most. Raises Forbidden."""
        principal.require(Role.USER)
        return [view_of(job, self._storage) for job in find(Query(owner=owner, limit=limit))]

    def details(self, principal: Principal, job_id: int) -> JobDetails:
        """One job with its events and its files. Raises NotFound, Forbidden."""
        principal.require(Role.USER)
        job = find_job(job_id)
        folder = self._storage.folder(job.folder)
        report = folder.reports.run_report(job.attempt)
        outcomes = per_file(report.files, report.figures) if report else ()
        return details_of(
            job,
            self._storage,
            [event_view(one) for one in rows_of(Event, "subject = 'job' AND subject_id = ? ORDER BY id", job_id)],
            [FileOutcome(name=name, outcome=outcome, message=message) for name, outcome, message in outcomes],
            [ResultFile(path=path, size=size) for path, size in folder.results.files()],
        )

    def results(self, principal: Principal, job_id: int) -> ResultsView:
        """Where the results of a job that has ended are. Raises Forbidden, NotFound, InvalidInput while there are none."""
        principal.require(Role.USER)
        job = find_job(job_id)
        state = JobState(job.state)
        if not state.is_final:
            raise InvalidInput(f"job {job_id} is {state} and has no results yet; `cumulus logs -f {job_id}` waits for its end")
        if state is JobState.ARCHIVED:
            raise InvalidInput(f"the results of job {job_id} are no longer kept")
        return ResultsView(state, job.message, job.warning, self._storage.folder(job.folder))


def find_job(job_id: int) -> Job:
    """A job's row. Raises NotFound where there is none; of a deleted one it says who deleted it."""
    job = known_job(job_id)
    if job is None:
        deleted = rows_of(Event, "subject = 'job' AND subject_id = ? AND new = 'deleted'", job_id)
        text = f"; {deleted[0].who} deleted it on {local_time(deleted[0].at)}" if deleted else "; `cumulus jobs` lists them"
        raise NotFound(f"{no_job(job_id)}{text}", field="job")
    return job
