"""How long finished jobs and shared data are kept: what no job has used for a while is removed; nothing unknown ever is.

Removals are planned by :mod:`server.engine.duties.retention_plan`, and checked again in the transaction that would also let a job
begin to use the file. By its age something is removed only when it was old at two inspections with a day between them that really
passed, and it stays in the trash for some days more.
"""

from collections.abc import Callable

import structlog

from server.catalog.files import one_form
from server.db.models import Job
from server.db.queries import unfinished_jobs
from server.db.transactions import exclusive
from server.db.transitions import Change, transition
from server.engine.duties.retention_plan import DELETED, ENDED, Plan, Removal, RetentionPlanner, with_machine
from server.engine.duties.sightings import Key, update_sightings
from server.engine.duties.timekeeping import DAY_S, read_elapsed, why_disagrees
from server.engine.duties.trashcan import Trashcan
from server.engine.records.manifests import write_manifest
from server.progress import Advance, counted, unheard
from server.states import JobState
from server.storage.converted import Converted
from server.storage.data import Freeing, discard, set_aside_before
from server.storage.folders import Storage
from server.storage.trash import TrashRecord

log = structlog.get_logger()


class Retention:
    """Applies one installation's rules. ``max_age_days``: days without use after which something is removed; ``trashcan``: where
    to, default: it is deleted for good.

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
        self._planner = RetentionPlanner(storage, max_age_days)
        self._trashcan = trashcan or Trashcan(storage, 0)
        self._elapsed = elapsed
        self._converted = Converted(storage.root)

    def plan(self, now: float, advance: Advance = unheard) -> Plan:
        """What would go now; changes nothing. ``now``: Unix seconds; ``advance``: in entries that were read."""
        return self._planner.plan(now, advance)

    def clean(self, now: float) -> list[Removal]:
        """One inspection by the controller: remove what was old at another one a day ago, too; returns what went.

        While the clock cannot be right, an inspection removes nothing and does not count.
        """
        if why := why_disagrees(now):
            log.warning("nothing is removed by its age", reason=why)
            return []
        plan, elapsed = self.plan(now), self._elapsed()
        since = update_sightings([_key(one) for one in plan.removals if one.by_age], now, elapsed)
        ripe = [one for one in plan.removals if not one.by_age or elapsed - since[_key(one)] >= DAY_S]
        if waiting := len(plan.removals) - len(ripe):
            log.info("what is old is removed if it still is at an inspection a day from now", entries=waiting)
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
        """Record all that lies in the trash, also in a rebuilt database. ``now``: Unix seconds."""
        try:
            self._trashcan.take_stock(now)
        except OSError as error:
            log.warning("the trash cannot be read", detail=str(error))

    def relieve(self, floor: float) -> None:
        """Where less than ``floor`` bytes are free, empty the trash as far as needed. Raises OSError."""
        self._trashcan.relieve(floor)

    def discard(self, job: Job, now: float) -> None:
        """Remove a deleted job's folder; while its machine may still write there, a later cleaning does it."""
        if job.id not in with_machine():
            self._discard_folder(job, now)

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
        """Form and log stay: people may read them for as long as the job is listed."""
        folder = self._storage.folder(job.folder)
        try:
            write_manifest(Job.get_by_id(job.id), folder)
        except OSError as error:
            log.warning("an archived job's folder takes nothing", job_id=job.id, detail=str(error))
        description = TrashRecord(
            kind="job", name=job.folder, job_id=job.id, owner=job.owner, at=now, reason=removal.reason, bytes=removal.bytes
        )
        content = folder.content()
        gone = not content or self._trashcan.throw(content, description, folder.log.path if folder.log.is_long() else None)
        folder.log.shorten()
        return gone

    def _remove_data(self, removal: Removal, now: float) -> bool:
        name = removal.name
        description = TrashRecord(kind="data", name=name, at=now, reason=removal.reason, bytes=removal.bytes)
        with exclusive():  # no job that names it can be submitted meanwhile
            if any(one_form(name) in map(one_form, job.inputs.split("\n")) for job in unfinished_jobs()):
                return False
            return self._trashcan.throw([self._storage.data / name], description)

    def _discard_folder(self, job: Job, now: float) -> bool:
        path = self._storage.folder(job.folder).path
        size = Freeing().by(path)
        description = TrashRecord(
            kind="deleted", name=job.folder, job_id=job.id, owner=job.owner, at=now, reason=DELETED, bytes=size
        )
        return self._trashcan.throw([path], description)


def _key(removal: Removal) -> Key:
    return removal.kind, removal.name


def _archive(job: Job, change: Change) -> bool:
    state = JobState(job.state)
    return state in ENDED and transition(Job, job.id, state, JobState.ARCHIVED, change)
