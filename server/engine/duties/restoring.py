"""Puts something from the trash back where it was. Owns what a restoring means for a job."""

from collections.abc import Callable

import structlog

from server.db.models import Change, Job, transition
from server.engine.duties.sightings import RESTORED, TRASH, forget_sighting, record_sighting
from server.engine.duties.timekeeping import read_elapsed
from server.engine.duties.trashcan import oldest_first, place_of
from server.engine.records.manifests import write_manifest
from server.errors import CumulusError, NotFound
from server.states import JobState
from server.storage.folders import LOG, JobFolder, Storage
from server.storage.trash import Entry, Told, Trash

MAX_DIGITS = 18  # of a job's number
log = structlog.get_logger()


class NotRestorable(CumulusError):
    """What is in the trash cannot go back to where it was."""

    code = "not_restorable"


class Restorer:
    """Restores for one installation. ``elapsed``: seconds that controllers have run."""

    def __init__(self, storage: Storage, elapsed: Callable[[], float] = read_elapsed) -> None:
        self._storage = storage
        self._elapsed = elapsed
        self._trash = Trash(storage.root)

    def restore(self, name: str, change: Change) -> str:
        """Put something back where it was: by its name in the trash, or the job's or file's own; returns a sentence.

        May be repeated after an interruption. Raises NotFound, NotRestorable, OSError.
        """
        found = self._find(name)
        if found is None:
            if job := self._half_restored(name):
                return self._restore_job(job.id, job.folder, change)
            raise NotFound(f"the trash has no {name!r}; `cumulus storage trash` lists it", field="name")
        entry, description = found
        if description.kind == "deleted" or (description.kind == "job" and self._is_deleted(description)):
            paths = " and ".join(
                str(one.content) for one, of_it in self._described() if of_it.name == description.name and of_it.kind != "data"
            )
            text = f"job {description.job_id} was deleted by its owner and stays deleted: take what is wanted of it from {paths}"
            raise NotRestorable(text)
        if description.kind == "data":
            return self._restore_data(entry, description, change)
        return self._restore_job(description.job_id or 0, description.name, change)

    def _is_deleted(self, description: Told) -> bool:
        return Job.select().where(Job.folder == description.name, Job.state == JobState.DELETED).exists()

    def _restore_data(self, entry: Entry, description: Told, change: Change) -> str:
        record_sighting(RESTORED, place_of(description), change.at, self._elapsed())
        if self._trash.give_back(entry, self._storage.data):
            raise NotRestorable(f"the shared data has another {description.name} by now: rename it first")
        forget_sighting(TRASH, entry.name)
        log.info("shared data was restored", what=description.name, who=change.who)
        return f"{description.name} is in the shared data again"

    def _restore_job(self, job_id: int, name: str, change: Change) -> str:
        """All that went of it, perhaps at several times. The files first: a job that is DONE has its results."""
        job, folder = Job.get_or_none(Job.id == job_id, Job.folder == name), self._storage.folder(name)
        if job is None or job.state != JobState.ARCHIVED or not folder.path.is_dir():
            raise NotRestorable(f"job {job_id} is not in the archive any more: it has nothing to go back to")
        for entry, description in self._described():
            if (description.kind, description.job_id, description.name) == ("job", job_id, name):
                self._give_back(entry, folder)
        if not folder.output.is_dir():
            raise NotRestorable(f"job {job_id} has lost its results for good: what is left of it is in {folder.path}")
        with Job._meta.database.atomic("IMMEDIATE"):
            record_sighting(RESTORED, f"jobs/{name}", change.at, self._elapsed())
            if transition(Job, job_id, JobState.ARCHIVED, JobState(job.outcome), change):
                self._write_manifest(job_id, folder)  # now, or a controller that is killed here leaves one that says otherwise
        log.info("a job was restored", job_id=job_id, who=change.who)
        return f"job {job_id} is {job.outcome} again, with what it had"

    def _half_restored(self, name: str) -> Job | None:
        """The archived job of that number, or folder, whose files are back already."""
        named = (Job.folder == name) | (Job.id == (int(name) if name.isdecimal() and len(name) < MAX_DIGITS else 0))
        job: Job | None = Job.get_or_none(named, Job.state == JobState.ARCHIVED)
        return job if job and self._storage.folder(job.folder).output.is_dir() else None

    def _give_back(self, entry: Entry, folder: JobFolder) -> None:
        if taken := self._trash.give_back(entry, folder.path, replacing=(LOG,)):
            text = f"{folder.name} has {', '.join(taken)} already: what the trash has of it is in {entry.content}"
            raise NotRestorable(text)
        forget_sighting(TRASH, entry.name)

    def _write_manifest(self, job_id: int, folder: JobFolder) -> None:
        try:
            write_manifest(Job.get_by_id(job_id), folder)
        except OSError as error:
            log.warning("a job's manifest could not be written", job_id=job_id, detail=str(error))

    def _find(self, name: str) -> tuple[Entry, Told] | None:
        """By its name in the trash; else the newest entry with that job number, folder name or file name."""
        found = self._described()
        named = [(entry, description) for entry, description in found if entry.name == name]
        named += [(entry, description) for entry, description in found if name in (description.name, str(description.job_id))]
        return named[0] if named else None

    def _described(self) -> list[tuple[Entry, Told]]:
        return [(entry, entry.told) for entry in reversed(oldest_first(self._trash)) if entry.told]
