"""The job that an upload is for: which files it waits for, and that it continues once all of them are there."""

from collections.abc import Callable, Iterable
from contextlib import suppress

from server.catalog.apps import Catalog
from server.catalog.files import InputFile, one_form
from server.catalog.settings_text import parse_settings
from server.catalog.values import input_files
from server.db.models import Job, Upload
from server.db.queries import known_job
from server.errors import CumulusError, NotFound, no_job
from server.services.principal import Principal
from server.services.uploads.errors import NotAwaited
from server.states import JobState, UploadState
from server.storage.folders import JobFolder, Storage
from server.storage.inputs.arrivals import Arrival, Sent, write_sent
from server.storage.inputs.copying import SHA256


class WaitingJobs:
    """The jobs of one installation that wait for their files. ``wake``: has the loop look at them."""

    def __init__(self, catalog: Catalog, storage: Storage, wake: Callable[[], None]) -> None:
        self._catalog = catalog
        self._storage = storage
        self._wake = wake

    def require(self, principal: Principal, job_id: int) -> Job:
        """A job that the principal may send files for. Raises NotFound, NotAwaited."""
        job = known_job(job_id)
        if job is None or not principal.may_use(job.owner):
            raise NotFound(no_job(job_id), field="job")
        self.require_waiting(job)
        return job

    def require_waiting(self, job: Job) -> JobFolder:
        """The folder of a job that still waits for files. Raises NotAwaited."""
        folder = self._storage.folder(job.folder)
        if job.state != JobState.UPLOADING or folder.has_arrived() or not folder.path.is_dir():
            raise NotAwaited(f"job {job.id} does not wait for files: it is {job.state}", field="job")
        return folder

    def awaited(self, job: Job, name: str) -> InputFile:
        """The file of the job's form that has this name. Raises NotAwaited."""
        files = self._files(job)
        found = next((file for file in files if one_form(file.name) == one_form(name)), None)
        if found is None:
            names = ", ".join(file.name for file in files[:5]) or "none"
            raise NotAwaited(f"the form of job {job.id} names no file {name!r}; it names {names}", field="filename")
        if found.folder:
            text = f"{name} is a folder, which cannot come by HTTP: send it by `cumulus submit` or the agent"
            raise NotAwaited(text, field="filename")
        return found

    def conclude(self, job_id: int) -> bool:
        """Say that all is there, if it is; whether it was said. Raises OSError."""
        job = known_job(job_id)
        if job is None:
            return False
        try:
            folder = self.require_waiting(job)
            files = self._files(job)
        except CumulusError:  # it ended meanwhile, or its app has changed
            return False
        done = {one_form(row.name): row for row in _done(job_id)}
        if not files or any(one_form(file.name) not in done for file in files):
            return False
        rows = [done[one_form(file.name)] for file in files]
        write_sent(folder, Sent(tuple(map(_arrival, rows)), (), tuple(row.name for row in rows if row.stored)))
        folder.mark_arrived()
        self._wake()
        return True

    def conclude_all(self) -> None:
        """The same for all jobs whose last file came when a controller was killed."""
        waiting = Job.select(Job.id).where(Job.state == JobState.UPLOADING, Job.id.in_(_with_uploads()))
        for job in waiting:
            with suppress(OSError):
                self.conclude(job.id)

    def _files(self, job: Job) -> list[InputFile]:
        """What somebody has to send. Raises CumulusError where the app has changed since."""
        return [file for file in input_files(self._catalog.get(job.app), parse_settings(job.settings)) if file.result is None]


def _with_uploads() -> Iterable[int]:
    rows = Upload.select(Upload.job_id).where(Upload.state == UploadState.DONE, Upload.job_id.is_null(False)).distinct()
    return [row.job_id for row in rows if row.job_id is not None]


def _done(job_id: int) -> list[Upload]:
    return list(Upload.select().where(Upload.job_id == job_id, Upload.state == UploadState.DONE).order_by(Upload.ended))


def _arrival(row: Upload) -> Arrival:
    return Arrival(row.place, row.length, row.modified_ns, f"{SHA256}{row.digest}")
