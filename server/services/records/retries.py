"""A job that failed or was cancelled, once more: a new job of the same app, settings, machine size and files.

The files are those that the job itself has kept, linked into the new one's folder: they are neither sent nor read again. What it
has not kept, ``cumulus rerun`` looks for elsewhere, by its checksum.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from programs.errors import explained
from server.db.models import Job
from server.engine.records.recording import assembled
from server.errors import CumulusError, InvalidInput
from server.services.jobs.service import JobService
from server.services.jobs.submission import Submission
from server.services.jobs.visibility import job_to_change, visible_job
from server.services.principal import Principal
from server.services.records.rerun import Wanted, gathered, kept
from server.services.records.service import RecordService
from server.states import JobState
from server.storage.inputs.checksums import content_sha256
from server.storage.inputs.placing import Allowance, TakesLong, put

MOST_FILES, MOST_COPIED = 20_000, 2_000_000_000  # bytes, where links are impossible: somebody waits for the answer
MAY_BE_RETRIED = (JobState.FAILED, JobState.CANCELLED)


class NotRetried(CumulusError):
    """The job cannot be retried as it stands."""

    code = "not_retried"
    http_status = 409


class RetryService:
    """Retries jobs of one installation."""

    def __init__(self, jobs: JobService, records: RecordService) -> None:
        self._jobs = jobs
        self._records = records

    def retry(self, principal: Principal, job_id: int) -> Job:
        """Submit the job once more; it runs alone, also where it was a step of a workflow. Returns the new one.

        Raises NotFound, Forbidden, NotRetried, and as :meth:`JobService.submit`.
        """
        job = job_to_change(principal, job_id)
        if job.state not in MAY_BE_RETRIED and job.outcome not in MAY_BE_RETRIED:
            text = f"job {job_id} is {job.state}, and only a job that failed or was cancelled is retried"
            raise NotRetried(f"{text}; `cumulus rerun {job_id}` runs it once more", field="job")
        before = assembled(job, self._jobs.folder(job))
        app = self._records.app_of(before)
        planned = self._records.planned(app, before)
        try:
            sources = [(file, kept(file)) for file in planned.files]
        except InvalidInput as error:
            raise NotRetried(error.message, field="job") from None
        made = self._jobs.submit(
            principal,
            Submission(app.id, job.flavor, json.dumps(planned.settings), job.description, complete=not sources),
            job.owner,
        )
        if sources:
            self._bring(principal, made, [(file.name, path) for file, path in sources])
        return made

    def rerun(self, principal: Principal, job_id: int, flavor: str = "", owner: str = "") -> Job:
        """Submit a job that one may see once more, however it ended, with the files that it has read. Returns the new one.

        What the job has not kept itself is taken from the storage if its checksum is the recorded one: it is read, which may
        take long. ``flavor``, ``owner``: "" for the job's. Raises NotFound, Forbidden, InvalidInput, NotRetried, and as
        :meth:`JobService.submit`.
        """
        job = visible_job(principal, job_id)
        before = assembled(job, self._jobs.folder(job))
        app = self._records.app_of(before)
        planned = self._records.planned(app, before)
        sources = [(file.name, _found(file)) for file in planned.files]
        form = json.dumps(planned.settings)
        request = Submission(app.id, flavor or before.flavor.name, form, before.description, complete=not sources)
        made = self._jobs.submit(principal, request, owner or before.owner)
        if sources:
            self._bring(principal, made, sources)
        return made

    def _bring(self, principal: Principal, made: Job, sources: Iterable[tuple[str, Path]]) -> None:
        """The files into the new job's folder; without them no job stays. Raises NotRetried."""
        folder, allowance = self._jobs.folder(made), Allowance(MOST_FILES, MOST_COPIED)
        try:
            for name, path in sources:
                put(path, folder.input, name, allowance)
            folder.mark_arrived()
        except (TakesLong, OSError) as problem:
            self._jobs.cancel(principal, made.id)
            why = explained(problem) if isinstance(problem, OSError) else "it has too many or too large files to wait for"
            raise NotRetried(f"the files cannot be taken from the job's folder: {why}", field="job") from None


def _found(file: Wanted) -> Path:
    """Where a file is that a job has read. Raises InvalidInput where it is nowhere."""
    try:
        return kept(file)
    except InvalidInput:
        shared, own = gathered([file], content_sha256)
        return (*shared, *own)[0]
