"""What is kept for how long: finished jobs and shared data that nobody has used for a while go; nothing unknown ever does.

Planning only looks. Acting looks once more, in the transaction that would also let somebody begin to use it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import structlog

from server.catalog.files import one_form
from server.jobs.chains import steps_up_to
from server.jobs.manifests import write_manifest
from server.models import Change, Job, living_workers, move, unfinished_jobs
from server.progress import Advance, counted, unheard
from server.states import JobState
from server.storage.arrivals import left_over
from server.storage.converted import Converted
from server.storage.data import Freeing, entries, remove, set_aside, set_aside_before
from server.storage.folders import Storage

DAY_S = 24 * 3600
BROKEN_UPLOAD_DAYS = 14  # nobody goes on with a file after that
ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
log = structlog.get_logger()


@dataclass(frozen=True)
class Removal:
    """Something that is no longer kept. ``bytes``: what that gives back; ``job_id`` where it is a job's folder."""

    kind: Literal["job", "data", "converted"]
    name: str
    bytes: int
    reason: str
    job_id: int | None = None


@dataclass(frozen=True)
class Plan:
    """What would go, and what is left alone because nobody here knows it."""

    removals: tuple[Removal, ...]
    unknown: tuple[str, ...]


class Retention:
    """The rules of one installation. ``max_age_days``: days without use after which something goes."""

    def __init__(self, storage: Storage, max_age_days: int) -> None:
        self._storage = storage
        self._max_age_days = max_age_days
        self._converted = Converted(storage.root)

    def plan(self, now: float, advance: Advance = unheard) -> Plan:
        """Look at everything; change nothing. ``now``: Unix seconds; ``advance``: in entries that were looked at."""
        found = [*self._jobs(now, advance), *self._data(now), *self._converted_files(now)]
        freeing = Freeing()
        removals = tuple(self._freeing(one, freeing) for one in found if isinstance(one, Removal))
        return Plan(removals, tuple(one for one in found if isinstance(one, str)))

    def clean(self, now: float, planned: Plan | None = None, advance: Advance = unheard) -> list[Removal]:
        """Remove what the plan says and what an interrupted removal left; returns what went. ``advance``: in entries."""
        plan = planned or self.plan(now)
        done = [one for one in counted(plan.removals, advance) if self._remove(one, now)]
        for folder in (self._storage.jobs, self._storage.data):
            for left in set_aside_before(folder):
                _discard(left)
        for left in left_over(self._storage.data, now - BROKEN_UPLOAD_DAYS * DAY_S):
            _discard(left)
        return done

    def _freeing(self, removal: Removal, freeing: Freeing) -> Removal:
        """With what it gives back: a file that some job has pinned is there until that job's content goes."""
        folder = {"job": self._storage.jobs, "data": self._storage.data, "converted": self._converted.folder}[removal.kind]
        freed = freeing.by(folder / removal.name)
        kept = removal.kind != "job" and freed < removal.bytes
        return replace(removal, bytes=freed, reason=removal.reason + "; jobs have it still" * kept)

    def discard(self, job: Job) -> None:
        """Remove a deleted job's folder; while its machine may still write there, that is left to a later cleaning."""
        if job.id not in _with_machine():
            self._discard_folder(job.folder)

    def _jobs(self, now: float, advance: Advance) -> Iterator[Removal | str]:
        needed = needed_steps() | _with_machine()
        for number, entry in enumerate(entries(self._storage.jobs), 1):
            advance(number, None)
            job = Job.get_or_none(Job.folder == entry.name)
            if job is None:
                yield f"jobs/{entry.name}"
            elif job.id in needed:
                continue
            elif job.state == JobState.DELETED:
                yield Removal("job", entry.name, entry.bytes, "its owner has deleted it", job.id)
            elif job.state == JobState.ARCHIVED:
                if self._storage.folder(entry.name).content():
                    yield Removal("job", entry.name, entry.bytes, "it is archived", job.id)
            elif job.state in ENDED and self._is_old(job.ended or job.state_since, now):
                yield Removal(
                    "job", entry.name, entry.bytes, f"it ended {_days(job.ended or job.state_since, now)} days ago", job.id
                )

    def _data(self, now: float) -> Iterator[Removal | str]:
        used = _last_used(now)
        for entry in entries(self._storage.data):
            if not entry.known or (name := one_form(entry.name)) not in used:
                yield f"data/{entry.name}"
            elif self._is_old(last := max(used[name], entry.changed), now):
                yield Removal("data", entry.name, entry.bytes, f"nobody has used it for {_days(last, now)} days")

    def _converted_files(self, now: float) -> Iterator[Removal]:
        for key in self._converted.unused_since(now - self._max_age_days * DAY_S):
            yield Removal("converted", key, self._converted.size(key), "no job has taken it for long; it can be made again")

    def _is_old(self, at: float, now: float) -> bool:
        return now - at > self._max_age_days * DAY_S

    def _remove(self, removal: Removal, now: float) -> bool:
        if removal.kind == "converted":
            self._converted.remove(removal.name)
            return True
        if removal.job_id is None:
            return self._remove_data(removal.name)
        job = Job.get_by_id(removal.job_id)
        if job.state == JobState.DELETED:
            return self._discard_folder(job.folder)
        if job.state != JobState.ARCHIVED and not _archive(job, Change(now, text=removal.reason)):
            return False
        return self._discard_content(job)

    def _discard_content(self, job: Job) -> bool:
        """What tells of the job stays: people may look at its form and its log for as long as it is listed."""
        folder = self._storage.folder(job.folder)
        try:
            write_manifest(Job.get_by_id(job.id), folder)
            folder.shorten_log()
        except OSError as error:
            log.warning("an archived job's folder takes nothing", job_id=job.id, detail=str(error))
        gone = [_discard(aside) for path in folder.content() if (aside := set_aside(path))]
        return all(gone)

    def _remove_data(self, name: str) -> bool:
        with Job._meta.database.atomic("IMMEDIATE"):  # nobody can submit a job that names it meanwhile
            if any(one_form(name) in map(one_form, job.inputs.split("\n")) for job in unfinished_jobs()):
                return False
            aside = set_aside(self._storage.data / name)
        return aside is not None and _discard(aside)

    def _discard_folder(self, name: str) -> bool:
        aside = set_aside(self._storage.folder(name).path)
        return aside is not None and _discard(aside)


def _archive(job: Job, change: Change) -> bool:
    state = JobState(job.state)
    return state in ENDED and move(Job, job.id, state, JobState.ARCHIVED, change)


def needed_steps() -> set[int]:
    """The unfinished jobs, and all that they follow: a step may take results of any of those."""
    return {step.id for job in unfinished_jobs() for step in steps_up_to(job)}


def _discard(path: Path) -> bool:
    try:
        remove(path)
    except OSError as error:
        log.warning("something could not be removed", path=str(path), detail=str(error))
        return False
    return True


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
