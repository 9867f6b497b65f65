"""A job's row as a file in its folder, from which it can be rebuilt if the database is lost. The record is written beside it.

Owns the row's format; that of the record is in :mod:`server.jobs.record`. The row is written here after it changed; what the
folder itself shows (attempts begun, a result) is newer and is believed first by :mod:`server.jobs.rebuild`.
"""

import json
import threading

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from server.jobs.record import recorded_state, write_record
from server.jobs.recording import Learned, assembled
from server.models import Job
from server.states import JobState
from server.storage.folders import JobFolder, Storage

MENDED = 1000  # jobs
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
    """The manifests and the records of one storage. Safe to be used from several threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()

    def write(self, job_id: int, learned: Learned | None = None) -> None:
        """Write row and record as they are now; a folder that takes nothing keeps no step from going on."""
        with self._lock:  # or who has read an older row might be the last to write
            job = Job.get_by_id(job_id)
            try:
                write_manifest(job, self._storage.folder(job.folder), learned)
            except OSError as problem:
                log.warning("a job's manifest could not be written", job_id=job_id, detail=str(problem))
            except Exception:  # what is wrong with a record keeps no job from its end; it is mended later
                log.exception("a job's record could not be written", job_id=job_id)

    def mend(self) -> list[int]:
        """Write the records of ended jobs that a killed controller has left without the end; returns the jobs' numbers.

        Looks at the newest only: it leaves no more than it was at work on.
        """
        states = [JobState.DONE, JobState.FAILED, JobState.CANCELLED]
        ended = Job.select(Job.id, Job.state, Job.folder).where(Job.state.in_(states)).order_by(Job.id.desc()).limit(MENDED)
        left = [row.id for row in ended if self._lacks_its_end(row)]
        for number in left:
            self.write(number)
        return left

    def _lacks_its_end(self, row: Job) -> bool:
        folder = self._storage.folder(row.folder)
        return folder.path.is_dir() and not folder.is_taken_over() and recorded_state(folder) != row.state


def write_manifest(job: Job, folder: JobFolder, learned: Learned | None = None) -> None:
    """Write row and record. Raises OSError."""
    folder.keep("job", json.dumps({name: getattr(job, name) for name in Manifest.model_fields}, indent=1) + "\n")
    write_record(assembled(job, folder, learned), folder)


def read_manifest(folder: JobFolder) -> Manifest | None:
    """The manifest; None where there is none, or something else."""
    try:
        return Manifest.model_validate_json(folder.private_text("job"))
    except (OSError, ValidationError, ValueError):
        return None
