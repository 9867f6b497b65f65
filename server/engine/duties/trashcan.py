"""What was removed goes into the trash for some days, gives way where room is short, and can be had back until then.

Owns for how long, counted in time that really passed, and what a restoring means for a job. The files are
:mod:`server.storage.trash`'s matter.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from server.db.models import Job
from server.db.transactions import exclusive
from server.db.transitions import Change, transition
from server.engine.duties.sightings import RESTORED, TRASH, forget_look, looks_of, note_look
from server.engine.duties.timekeeping import DAY_S, read_elapsed
from server.engine.records.manifests import write_manifest
from server.errors import CumulusError, NotFound
from server.states import JobState
from server.storage.data import discard, set_aside
from server.storage.folders import JobFolder, Storage
from server.storage.job_folder.names import LOG
from server.storage.trash import Entry, Trash, TrashRecord

MAX_DIGITS = 18  # of a job's number
LEAST_FREE = 64_000_000  # bytes that the trash never takes, whatever the settings say
log = structlog.get_logger()


class NotRestorable(CumulusError):
    """What is in the trash cannot go back to where it was."""

    code = "not_restorable"


class Trashcan:
    """The trash of one installation. ``days``: for how long something stays in it, 0: there is none.

    ``elapsed``: seconds that controllers have run. Safe to be used from several threads and processes.
    """

    def __init__(self, storage: Storage, days: float, elapsed: Callable[[], float] = read_elapsed) -> None:
        self._storage = storage
        self._keep_s = days * DAY_S
        self._elapsed = elapsed
        self._trash = Trash(storage.root)

    def throw(self, paths: Sequence[Path], told: TrashRecord, also: Path | None = None) -> bool:
        """Take files and folders out of the storage; whether they are. ``also``: a file that stays, and is kept as it is now."""
        if not self._keep_s:
            gone = [discard(aside) for path in paths if (aside := set_aside(path))]
            return bool(gone) and all(gone)
        try:
            entry = self._trash.put(paths, told)
            if entry and also:
                self._trash.add(entry, also)
        except OSError as error:
            log.warning("something could not be put into the trash", what=told.name, detail=str(error))
            return False
        if entry:
            note_look(TRASH, entry.name, told.at, self._elapsed(), told.bytes)
            forget_look(RESTORED, _place(told))
        return entry is not None

    def relieve(self, floor: float) -> None:
        """Where less than ``floor`` bytes are free, what has been there for longest goes until they are. Raises OSError."""
        floor = max(floor, LEAST_FREE)
        free = self._storage.free_bytes()
        for entry in self._oldest_first() if free < floor else ():
            freed = self._trash.size(entry)
            if self._remove(entry):
                log.warning("the storage is short of room: something left the trash early", entry=entry.name, bytes=freed)
                free += freed  # some file systems tell it later
            if free >= floor or self._storage.free_bytes() >= floor:
                return

    def expire(self, now: float) -> None:
        """Remove for good what has been there for long enough. ``now``: Unix seconds. Raises OSError."""
        there = self.take_stock(now)
        elapsed, noted = self._elapsed(), looks_of(TRASH)
        for name, entry in there.items():
            row = noted.get(name)
            if row and elapsed - row.elapsed >= self._keep_s and self._remove(entry):
                log.info("something left the trash for good", entry=name, what=entry.record.name if entry.record else "")

    def take_stock(self, now: float) -> dict[str, Entry]:
        """Note what is there and was not noted, since the database was made anew; returns it. ``now``: Unix seconds.

        Raises OSError.
        """
        elapsed, noted = self._elapsed(), looks_of(TRASH)
        there = {entry.name: entry for entry in self._trash.entries()}
        for name in noted.keys() - there.keys():
            forget_look(TRASH, name)
        for name, entry in there.items():
            row = noted.get(name)
            if row is None or row.elapsed > elapsed:
                note_look(TRASH, name, now, elapsed, entry.record.bytes if entry.record else 0)
        return there

    def listed(self) -> list[tuple[Entry, float]]:
        """What can be had back, with the seconds that it stays while controllers run; what went last first. Raises OSError."""
        noted, elapsed = looks_of(TRASH), self._elapsed()
        found = [(entry, noted.get(entry.name)) for entry in reversed(self._oldest_first()) if entry.record]
        return [(entry, max(0.0, self._keep_s - (elapsed - row.elapsed if row else 0.0))) for entry, row in found]

    def restore(self, name: str, change: Change) -> str:
        """Put something back where it was: by its name in the trash, or the job's or file's own; returns a sentence.

        May be said again after an interruption. Raises NotFound, NotRestorable, OSError.
        """
        found = self._find(name)
        if found is None:
            if job := self._half_restored(name):
                return self._restore_job(job.id, job.folder, change)
            raise NotFound(f"the trash has no {name!r}; `cumulus storage trash` lists it", field="name")
        entry, told = found
        if told.kind == "deleted" or (told.kind == "job" and self._is_deleted(told)):
            places = " and ".join(
                str(one.content) for one, of_it in self._told() if of_it.name == told.name and of_it.kind != "data"
            )
            text = f"job {told.job_id} was deleted by its owner and stays deleted: take what is wanted of it from {places}"
            raise NotRestorable(text)
        if told.kind == "data":
            return self._restore_data(entry, told, change)
        return self._restore_job(told.job_id or 0, told.name, change)

    def _is_deleted(self, told: TrashRecord) -> bool:
        return Job.select().where(Job.folder == told.name, Job.state == JobState.DELETED).exists()

    def _restore_data(self, entry: Entry, told: TrashRecord, change: Change) -> str:
        note_look(RESTORED, _place(told), change.at, self._elapsed())
        if self._trash.give_back(entry, self._storage.data):
            raise NotRestorable(f"the shared data has another {told.name} by now: rename it first")
        forget_look(TRASH, entry.name)
        log.info("shared data was restored", what=told.name, who=change.who)
        return f"{told.name} is in the shared data again"

    def _restore_job(self, job_id: int, name: str, change: Change) -> str:
        """All that went of it, at several times maybe. The files first: a job that is done has its results."""
        job, folder = Job.get_or_none(Job.id == job_id, Job.folder == name), self._storage.folder(name)
        if job is None or job.state != JobState.ARCHIVED or not folder.path.is_dir():
            raise NotRestorable(f"job {job_id} is not in the archive any more: it has nothing to go back to")
        for entry, told in self._told():
            if (told.kind, told.job_id, told.name) == ("job", job_id, name):
                self._give_back(entry, folder)
        if not folder.output.is_dir():
            raise NotRestorable(f"job {job_id} has lost its results for good: what is left of it is in {folder.path}")
        with exclusive():
            note_look(RESTORED, f"jobs/{name}", change.at, self._elapsed())
            if transition(Job, job_id, JobState.ARCHIVED, JobState(job.outcome), change):
                self._write_manifest(job_id, folder)  # now, or who is killed leaves one that says otherwise
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
        forget_look(TRASH, entry.name)

    def _write_manifest(self, job_id: int, folder: JobFolder) -> None:
        try:
            write_manifest(Job.get_by_id(job_id), folder)
        except OSError as error:
            log.warning("a job's manifest could not be written", job_id=job_id, detail=str(error))

    def _find(self, name: str) -> tuple[Entry, TrashRecord] | None:
        """By its name in the trash; else what went last of a job's number, a folder's or a file's name."""
        found = self._told()
        named = [(entry, told) for entry, told in found if entry.name == name]
        named += [(entry, told) for entry, told in found if name in (told.name, str(told.job_id))]
        return named[0] if named else None

    def _told(self) -> list[tuple[Entry, TrashRecord]]:
        return [(entry, entry.record) for entry in reversed(self._oldest_first()) if entry.record]

    def _oldest_first(self) -> list[Entry]:
        """What nobody has noted, since the database was made anew, has been there for longest."""
        noted = looks_of(TRASH)

        def age(entry: Entry) -> tuple[float, float, str]:
            row = noted.get(entry.name)
            return row.elapsed if row else -1.0, entry.record.at if entry.record else 0.0, entry.name

        return sorted(self._trash.entries(), key=age)

    def _remove(self, entry: Entry) -> bool:
        if not discard(entry.path):
            return False
        forget_look(TRASH, entry.name)
        return True


def _place(told: TrashRecord) -> str:
    """Where it was, below the storage."""
    return f"{'data' if told.kind == 'data' else 'jobs'}/{told.name}"
