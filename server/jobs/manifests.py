"""A job's row as a file in its folder, from which it can be rebuilt if the database is lost.

Owns its format. The row is written here after it changed; what the folder itself shows (attempts begun, a result) is newer and is
believed first by :mod:`server.jobs.rebuild`.
"""

import json

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from server.models import Job
from server.states import JobState
from server.storage.folders import JobFolder, Storage

log = structlog.get_logger()


class Manifest(BaseModel):
    """A job's row without its settings, which have a file of their own. Times are Unix seconds."""

    model_config = ConfigDict(extra="ignore")

    id: int
    owner: str
    app: str
    flavor: str
    weight: int
    description: str = ""
    inputs: str = ""
    workflow: str = ""
    start_after: int | None = None
    state: JobState = JobState.UPLOADING
    outcome: str = ""
    reason: str = ""
    message: str = ""
    attempt: int = 0
    warning: str = ""
    figures: str = ""
    priority: int = 0
    created: float
    started: float | None = None
    ended: float | None = None


class Manifests:
    """The manifests of one storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def write(self, job_id: int) -> None:
        """Write the row as it is now; a folder that takes nothing keeps no step from going on."""
        job = Job.get_by_id(job_id)
        try:
            write_manifest(job, self._storage.folder(job.folder))
        except OSError as problem:
            log.warning("a job's manifest could not be written", job_id=job_id, detail=str(problem))


def write_manifest(job: Job, folder: JobFolder) -> None:
    """Write the row. Raises OSError."""
    folder.keep("job", json.dumps({name: getattr(job, name) for name in Manifest.model_fields}, indent=1) + "\n")


def read_manifest(folder: JobFolder) -> Manifest | None:
    """The manifest; None where there is none, or something else."""
    try:
        return Manifest.model_validate_json(folder.private_text("job"))
    except (OSError, ValidationError, ValueError):
        return None
