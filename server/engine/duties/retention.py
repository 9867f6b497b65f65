"""What is kept for how long: finished jobs and shared data that nobody has used for a while go; nothing unknown ever does.

Planning only looks. Acting looks once more, in the transaction that would also let somebody begin to use it. By its age something
goes only when it was found old at two looks with a day between them that really passed, and into the trash, for some days more.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import structlog

from server.catalog.files import one_form
from server.db.models import Job, Sighting
from server.db.queries import living_workers, unfinished_jobs
from server.db.transactions import exclusive
from server.db.transitions import Change, transition
from server.engine.duties.sightings import AGED, RESTORED, Key, looked_at, looks_of
from server.engine.duties.timekeeping import DAY_S, read_elapsed, why_disagrees
from server.engine.duties.trashcan import Trashcan
from server.engine.records.manifests import write_manifest
from server.engine.workflows import steps_up_to
from server.progress import Advance, counted, unheard
from server.states import JobState
from server.storage.converted import Converted
from server.storage.data import Freeing, discard, entries, set_aside_before
from server.storage.folders import Storage
from server.storage.inputs.arrivals import left_over
from server.storage.trash import TrashRecord

DELETED = "its owner has deleted it"
BROKEN_UPLOAD_DAYS = 14  # nobody goes on with a file after that
ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
log = structlog.get_logger()


@dataclass(frozen=True)
class Removal:
    """Something that is no longer kept. ``bytes``: what that gives back; ``job_id`` where it is a job's folder.

    ``by_age``: False where it was decided before, and only an interrupted removal is ended.
    """

    kind: Literal["job", "data", "converted", "upload"]
    name: str
    bytes: int
    reason: str
    job_id: int | None = None
    by_age: bool = True


@dataclass(frozen=True)
class Plan:
    """What would go, and what is left alone because nobody here knows it."""

    removals: tuple[Removal, ...]
    unknown: tuple[str, ...]


class Retention:
    """The rules of one installation. ``max_age_days``: days without use after which something goes; ``trashcan``: where to,
    default: away for good.

    ``elapsed``: seconds that controllers have run.
    """

    def __init__(
        self,
        storage: Storage,
        max_age_days: int,
        trashcan: Trashcan | None = None,
        elapsed: Callable[[], float] = read_elapsed,
    ) -> None:
        self._storage = storage
        self._max_age_days = max_age_days
        self._trashcan = trashcan or Trashcan(storage, 0)
        self._elapsed = elapsed
        self._converted = Converted(storage.root)

    def plan(self, now: float, advance: Advance = unheard) -> Plan:
        """Look at everything; change nothing. ``now``: Unix seconds; ``advance``: in entries that were looked at."""
        found = [*self._jobs(now, advance), *self._data(now), *self._converted_files(now), *self._uploads(now)]
        freeing = Freeing()
        removals = tuple(self._freeing(one, freeing) for one in found if isinstance(one, Removal))
        return Plan(removals, tuple(one for one in found if isinstance(one, str)))

    def clean(self, now: float) -> list[Removal]:
        """One of the controller's looks: remove what was old at another one a day ago, too; returns what went.

        A look while the clock cannot be right removes nothing and does not count.
        """
        if why := why_disagrees(now):
            log.warning("nothing is removed by its age", reason=why)
            return []
        plan, elapsed = self.plan(now), self._elapsed()
        since = looked_at([_key(one) for one in plan.removals if one.by_age], AGED, now, elapsed)
        ripe = [one for one in plan.removals if not one.by_age or elapsed - since[_key(one)] >= DAY_S]
        if waiting := len(plan.removals) - len(ripe):
            log.info("what is old goes when it still is at a look a day from now", entries=waiting)
        done = self.remove(ripe, now)
        self._trashcan.expire(now)
        return done

    def remove(self, removals: list[Removal] | tuple[Removal, ...], now: float, advance: Advance = unheard) -> list[Removal]:
        """Remove what a plan says, at once, and what an interrupted removal left; returns what went. ``advance``: in entries."""
        done = [one for one in counted(removals, advance) if self._remove(one, now)]
        for folder in (self._storage.jobs, self._storage.data):
            for left in set_aside_before(folder):
                discard(left)
        return done

    def take_stock(self, now: float) -> None:
        """Know of all that lies in the trash, also where the database was made anew. ``now``: Unix seconds."""
        try:
            self._trashcan.take_stock(now)
        except OSError as error:
            log.warning("the trash cannot be looked at", detail=str(error))

    def relieve(self, floor: float) -> None:
        """Where less than ``floor`` bytes are free, the trash gives way. Raises OSError."""
        self._trashcan.relieve(floor)

    def _freeing(self, removal: Removal, freeing: Freeing) -> Removal:
        """With what it gives back: a file that some job has pinned is there until that job's content goes."""
        data = self._storage.data
        folder = {"job": self._storage.jobs, "data": data, "converted": self._converted.folder, "upload": data}[removal.kind]
        freed = freeing.by(folder / removal.name)
        kept = removal.kind != "job" and freed < removal.bytes
        return replace(removal, bytes=freed, reason=removal.reason + "; jobs have it still" * kept)

    def discard(self, job: Job, now: float) -> None:
        """Remove a deleted job's folder; while its machine may still write there, that is left to a later cleaning."""
        if job.id not in _with_machine():
            self._discard_folder(job, now)

    def _jobs(self, now: float, advance: Advance) -> Iterator[Removal | str]:
        needed, restored = needed_steps() | _with_machine(), looks_of(RESTORED)
        for number, entry in enumerate(entries(self._storage.jobs), 1):
            advance(number, None)
            job = Job.get_or_none(Job.folder == entry.name)
            if job is None:
                yield f"jobs/{entry.name}"
            elif job.id in needed:
                continue
            elif job.state == JobState.DELETED:
                yield Removal("job", entry.name, entry.bytes, DELETED, job.id, by_age=False)
            elif job.state == JobState.ARCHIVED:
                if self._storage.folder(entry.name).content():
                    yield Removal("job", entry.name, entry.bytes, "it is archived", job.id, by_age=False)
            elif job.state in ENDED and self._is_old(
                ended := job.ended or job.state_since, restored.get(f"jobs/{job.folder}"), now
            ):
                yield Removal("job", entry.name, entry.bytes, f"it ended {_days(ended, now)} days ago", job.id)

    def _data(self, now: float) -> Iterator[Removal | str]:
        used, restored = _last_used(now), looks_of(RESTORED)
        for entry in entries(self._storage.data):
            if not entry.known or (name := one_form(entry.name)) not in used:
                yield f"data/{entry.name}"
            elif self._is_old(last := max(used[name], entry.changed), restored.get(f"data/{entry.name}"), now):
                yield Removal("data", entry.name, entry.bytes, f"nobody has used it for {_days(last, now)} days")

    def _converted_files(self, now: float) -> Iterator[Removal]:
        for key in self._converted.unused_since(now - self._max_age_days * DAY_S):
            yield Removal("converted", key, self._converted.size(key), "no job has taken it for long; it can be made again")

    def _uploads(self, now: float) -> Iterator[Removal]:
        for path in left_over(self._storage.data, now - BROKEN_UPLOAD_DAYS * DAY_S):
            yield Removal("upload", str(path.relative_to(self._storage.data)), 0, "its upload broke off long ago")

    def _is_old(self, at: float, restored: Sighting | None, now: float) -> bool:
        """``restored``: when somebody wanted it back, and by that wanted it."""
        return now - max(at, restored.at if restored else at) > self._max_age_days * DAY_S

    def _remove(self, removal: Removal, now: float) -> bool:
        if removal.kind == "converted":  # it can be made again
            self._converted.remove(removal.name)
            return True
        if removal.kind == "upload":
            return discard(self._storage.data / removal.name)
        if removal.job_id is None:
            return self._remove_data(removal, now)
        job = Job.get_by_id(removal.job_id)
        if job.state == JobState.DELETED:
            return self._discard_folder(job, now)
        if job.state != JobState.ARCHIVED and not _archive(job, Change(now, text=removal.reason)):
            return False
        return self._discard_content(job, removal, now)

    def _discard_content(self, job: Job, removal: Removal, now: float) -> bool:
        """What tells of the job stays: people may look at its form and its log for as long as it is listed."""
        folder = self._storage.folder(job.folder)
        try:
            write_manifest(Job.get_by_id(job.id), folder)
        except OSError as error:
            log.warning("an archived job's folder takes nothing", job_id=job.id, detail=str(error))
        told = TrashRecord(
            kind="job", name=job.folder, job_id=job.id, owner=job.owner, at=now, reason=removal.reason, bytes=removal.bytes
        )
        content = folder.content()
        gone = not content or self._trashcan.throw(content, told, folder.log.path if folder.log.is_long() else None)
        folder.log.shorten()
        return gone

    def _remove_data(self, removal: Removal, now: float) -> bool:
        name = removal.name
        told = TrashRecord(kind="data", name=name, at=now, reason=removal.reason, bytes=removal.bytes)
        with exclusive():  # nobody can submit a job that names it meanwhile
            if any(one_form(name) in map(one_form, job.inputs.split("\n")) for job in unfinished_jobs()):
                return False
            return self._trashcan.throw([self._storage.data / name], told)

    def _discard_folder(self, job: Job, now: float) -> bool:
        path = self._storage.folder(job.folder).path
        size = Freeing().by(path)
        told = TrashRecord(kind="deleted", name=job.folder, job_id=job.id, owner=job.owner, at=now, reason=DELETED, bytes=size)
        return self._trashcan.throw([path], told)


def _key(removal: Removal) -> Key:
    return removal.kind, removal.name


def _archive(job: Job, change: Change) -> bool:
    state = JobState(job.state)
    return state in ENDED and transition(Job, job.id, state, JobState.ARCHIVED, change)


def needed_steps() -> set[int]:
    """The unfinished jobs, and all that they follow: a step may take results of any of those."""
    return {step.id for job in unfinished_jobs() for step in steps_up_to(job)}


def _with_machine() -> set[int]:
    return {worker.job_id for worker in living_workers() if worker.job_id is not None}


def _last_used(now: float) -> dict[str, float]:
    """When each input file that some job ever named was last wanted, Unix seconds."""
    used: dict[str, float] = {}
    for inputs, state, created, ended in Job.select(Job.inputs, Job.state, Job.created, Job.ended).tuples().iterator():
        at = max(created, ended or created) if JobState(state).is_final else now
        for name in map(one_form, inputs.split("\n")):
            used[name] = max(at, used.get(name, 0.0))
    return used


def _days(at: float, now: float) -> int:
    return int((now - at) / DAY_S)
