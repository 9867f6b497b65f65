"""Looking for jobs: lists, and one job with all that happened to it."""

import os
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from cumulus_client.jobs import Event, FileOutcome, JobDetails, JobList, JobsQuery, ResultFile
from server.db.cached_sql import rows as rows_of
from server.db.models import Event as EventRow
from server.db.models import Job
from server.db.queries import known_job
from server.db.search import Query, find
from server.errors import CumulusError, InvalidInput, NotFound
from server.services.jobs.durations import phases_of
from server.services.jobs.figures import per_file
from server.services.jobs.views import attempt_view, details_of, event_view, input_view, readable, result_files, view_of
from server.services.jobs.visibility import visible_job, visible_owners
from server.services.principal import Principal
from server.states import JobState
from server.storage.folders import JobFolder, Storage
from server.storage.outputs import Outputs
from server.storage.regular import open_regular


class NoResults(CumulusError):
    """The job has no results: not yet, or not any more."""

    code = "no_results"
    http_status = 409


class JobLookup:
    """The jobs of an installation whose database is open."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._outputs = Outputs()

    def stamp(self, job_id: int) -> object:
        """Another one where what :meth:`details` reads beside the rows is another: reports in the job's folder, results."""
        job = known_job(job_id)
        if job is None:
            return None
        folder = self._storage.folder(job.folder)
        try:
            changed = folder.path.stat().st_mtime_ns  # its files are written beside and renamed
        except OSError:
            changed = 0
        return changed, self._outputs.listing(folder, has_ended=JobState(job.state).is_final).stamp

    def listed(self, principal: Principal, asked: JobsQuery) -> JobList:
        """The jobs that match and that the principal may see, newest first. Raises Forbidden, InvalidInput."""
        query = _query(asked, visible_owners(principal))
        more = replace(query, limit=asked.limit + 1) if asked.limit else query
        rows = [view_of(job, self._storage) for job in find(more)]
        shown = rows[: asked.limit] if asked.limit else rows
        return JobList.model_construct(jobs=shown, next=_cursor(shown[-1].id) if len(rows) > len(shown) else "")

    def details(self, principal: Principal, job_id: int) -> JobDetails:
        """One job with its events and its files. Raises NotFound, Forbidden."""
        from server.engine.records.recording import assembled  # lists do without it

        job = visible_job(principal, job_id)
        folder = self._storage.folder(job.folder)
        report = folder.reports.run_report(job.attempt)
        outcomes = per_file(report.files, report.figures) if report else ()
        events = rows_of(EventRow, "subject = 'job' AND subject_id = ? ORDER BY id", job_id)
        record = assembled(job, folder)
        return details_of(
            job,
            self._storage,
            phases=phases_of(events, folder.reports.result),
            attempts=list(map(attempt_view, record.attempts)),
            inputs=list(map(input_view, record.inputs)),
            events=_views(events),
            per_file=[FileOutcome(name=name, outcome=outcome, message=message) for name, outcome, message in outcomes],
            files=result_files(folder),
        )

    def results(self, principal: Principal, job_id: int) -> tuple[Job, list[ResultFile]]:
        """A job that has ended, and its result files. Raises Forbidden, NotFound, NoResults."""
        job, folder = self._with_results(principal, job_id)
        return job, result_files(folder)

    def result_path(self, principal: Principal, job_id: int, path: str) -> Path:
        """Where a result is, also while the job runs. Raises Forbidden, NotFound, InvalidInput."""
        return self._storage.folder(visible_job(principal, job_id).folder).results.file(path)

    def result(self, principal: Principal, job_id: int, path: str) -> tuple[BinaryIO, str]:
        """One of them, open, and its name. ``path``: as its URL spells it.

        Raises Forbidden, NotFound, InvalidInput, NoResults.
        """
        found = _resolved(self._with_results(principal, job_id)[1], path)
        try:
            return open_regular(found), "".join(char if char.isprintable() else "_" for char in readable(found.name))
        except OSError:
            raise NotFound(f"job {job_id} has no result {path!r}", field="path") from None

    def _with_results(self, principal: Principal, job_id: int) -> tuple[Job, JobFolder]:
        job = visible_job(principal, job_id)
        state = JobState(job.state)
        if not state.is_final:
            raise NoResults(f"job {job_id} is {state} and has no results yet; `cumulus logs -f {job_id}` waits for its end")
        if state is JobState.ARCHIVED:
            raise NoResults(f"the results of job {job_id} are no longer kept")
        return job, self._storage.folder(job.folder)


def _resolved(folder: JobFolder, path: str) -> Path:
    """The file that a path names. A % is the beginning of a byte; where there is no such file, it is a letter of the name."""
    try:
        return folder.results.file(os.fsdecode(unquote_to_bytes(path)))
    except NotFound:
        return folder.results.file(path)


def _views(events: list[EventRow]) -> list[Event]:
    return list(map(event_view, events))


def _query(asked: JobsQuery, owners: frozenset[str] | None) -> Query:
    """The search. Raises InvalidInput."""
    for first, last, field in (
        (asked.created_from, asked.created_to, "created_to"),
        (asked.ended_from, asked.ended_to, "ended_to"),
    ):
        if first is not None and last is not None and last < first:
            raise InvalidInput("this is earlier than the time from which jobs are wanted", field=field)
    return Query(
        owner=asked.owner,
        app=asked.app,
        text=asked.text,
        states=frozenset(map(JobState, asked.state)),
        owners=owners,
        before=int(asked.after.removesuffix("."), 16) if asked.after else None,
        created=(asked.created_from, asked.created_to),
        ended=(asked.ended_from, asked.ended_to),
        limit=asked.limit or None,
    )


def _cursor(job_id: int) -> str:
    """Where the next list begins: numbers are never given twice, so jobs that come in move nothing."""
    return f"{job_id:x}."


def find_job(job_id: int) -> Job:
    """A job's row, whosever it is: for what only administrators ask. Raises NotFound."""
    return visible_job(Principal.local_admin(""), job_id)
