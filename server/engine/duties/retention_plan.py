"""What retention would remove: finished jobs and shared data that no job has used for long. Only reads."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from server.catalog.files import one_form
from server.db.models import Job, Look, living_workers, unfinished_jobs
from server.engine.duties.sightings import RESTORED, sightings_of
from server.engine.duties.timekeeping import DAY_S
from server.engine.workflows import steps_up_to
from server.progress import Advance, unheard
from server.states import JobState
from server.storage.converted import Converted
from server.storage.data import Freeing, entries
from server.storage.folders import Storage
from server.storage.inputs.arrivals import left_over

DELETED = "its owner has deleted it"
BROKEN_UPLOAD_DAYS = 14  # after which no client continues a file
ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True)
class Removal:
    """Something that is no longer kept. ``bytes``: what its removal frees; ``job_id`` where it is a job's folder.

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
    """What would go, and what stays because it is unknown."""

    removals: tuple[Removal, ...]
    unknown: tuple[str, ...]


class RetentionPlanner:
    """Plans for one installation. ``max_age_days``: days without use after which something is removed."""

    def __init__(self, storage: Storage, max_age_days: int) -> None:
        self._storage = storage
        self._max_age_days = max_age_days
        self._converted = Converted(storage.root)

    def plan(self, now: float, advance: Advance = unheard) -> Plan:
        """Read everything; change nothing. ``now``: Unix seconds; ``advance``: in entries that were read."""
        found = [*self._jobs(now, advance), *self._data(now), *self._converted_files(now), *self._uploads(now)]
        freeing = Freeing()
        removals = tuple(self._freeing(one, freeing) for one in found if isinstance(one, Removal))
        return Plan(removals, tuple(one for one in found if isinstance(one, str)))

    def _freeing(self, removal: Removal, freeing: Freeing) -> Removal:
        """With what its removal frees: a file that some job has pinned stays until that job's content is removed."""
        data = self._storage.data
        folder = {"job": self._storage.jobs, "data": data, "converted": self._converted.folder, "upload": data}[removal.kind]
        freed = freeing.by(folder / removal.name)
        kept = removal.kind != "job" and freed < removal.bytes
        return replace(removal, bytes=freed, reason=removal.reason + "; jobs have it still" * kept)

    def _jobs(self, now: float, advance: Advance) -> Iterator[Removal | str]:
        needed, restored = needed_steps() | with_machine(), sightings_of(RESTORED)
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
        used, restored = _last_used(now), sightings_of(RESTORED)
        for entry in entries(self._storage.data):
            if not entry.known or (name := one_form(entry.name)) not in used:
                yield f"data/{entry.name}"
            elif self._is_old(last := max(used[name], entry.changed), restored.get(f"data/{entry.name}"), now):
                yield Removal("data", entry.name, entry.bytes, f"no job has used it for {_days(last, now)} days")

    def _converted_files(self, now: float) -> Iterator[Removal]:
        for key in self._converted.unused_since(now - self._max_age_days * DAY_S):
            yield Removal("converted", key, self._converted.size(key), "no job has taken it for long; it can be made again")

    def _uploads(self, now: float) -> Iterator[Removal]:
        for path in left_over(self._storage.data, now - BROKEN_UPLOAD_DAYS * DAY_S):
            yield Removal("upload", str(path.relative_to(self._storage.data)), 0, "its upload broke off long ago")

    def _is_old(self, at: float, restored: Look | None, now: float) -> bool:
        """``restored``: when it was restored, which counts as use."""
        return now - max(at, restored.at if restored else at) > self._max_age_days * DAY_S


def needed_steps() -> set[int]:
    """The unfinished jobs, and all that they follow: a step may take results of any of those."""
    return {step.id for job in unfinished_jobs() for step in steps_up_to(job)}


def with_machine() -> set[int]:
    """The jobs that still have a machine."""
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
