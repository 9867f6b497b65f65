"""Finding a job by its number."""

from server.db.cached_sql import rows as rows_of
from server.db.models import Event, Job, known_job
from server.errors import NotFound, no_job
from server.services.times import local_time


def find_job(job_id: int) -> Job:
    """A job's row. Raises NotFound where there is none; of a deleted one it says who deleted it."""
    job = known_job(job_id)
    if job is None:
        deleted = rows_of(Event, "subject = 'job' AND subject_id = ? AND new = 'deleted'", job_id)
        text = f"; {deleted[0].who} deleted it on {local_time(deleted[0].at)}" if deleted else "; `cumulus jobs` lists them"
        raise NotFound(f"{no_job(job_id)}{text}", field="job_id")
    return job
