"""Making the database again from the job folders, the machines' tags and Terraform's workspaces.

Nothing in a folder is trusted, everything in it is used: the manifest, what the folder's name tells where that is garbage, and
before both what only a runner writes. No attempt is begun twice: the number of the last one is never smaller than its marker's.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from server.catalog.flavors import Flavors
from server.jobs.manifests import Manifest, read_manifest
from server.models import Change, Job, Worker, insert, open_database, worker_name
from server.progress import Advance, counted, unheard
from server.states import JobState, Reason, WorkerState
from server.storage.folders import JobFolder, Storage
from server.storage.identity import is_formers

WHO = "rebuild"
FOLDER = re.compile(r"Job_(?P<id>[1-9][0-9]{0,17})_(?P<owner>[A-Za-z0-9.-]+)_(?P<app>[A-Za-z0-9._-]+)_(?P<created>[0-9]{1,12})")
OF_A_JOB = re.compile(r"job-(?P<job>[1-9][0-9]{0,17})(-[1-9][0-9]{0,8})?")
log = structlog.get_logger()


@dataclass(frozen=True)
class Rebuilt:
    """What became of the folders: jobs by state, the machines that were found, and what no job could be made of."""

    jobs: dict[str, int]
    machines: tuple[str, ...]
    left_alone: tuple[str, ...]


@dataclass(frozen=True)
class Recovered:
    """A job as its folder tells it. ``worker``: the machine that it runs on, "" where its last attempt was not taken up."""

    manifest: Manifest
    state: JobState
    worker: str
    settings: str
    folder: str


def has_jobs(storage: Storage) -> bool:
    """Whether the storage holds folders of jobs."""
    return any(FOLDER.fullmatch(name) for name in _names(storage))


def recover(
    storage: Storage, flavors: Flavors, default_flavor: str, advance: Advance = unheard
) -> tuple[list[Recovered], list[str]]:
    """The jobs that the folders tell of, oldest first, and the names of those that tell of none. ``advance``: in folders."""
    jobs: dict[int, Recovered] = {}
    left = []
    for name in counted(_names(storage), advance):
        found = _recovered(storage.folder(name), flavors, default_flavor)
        if found is None or found.manifest.id in jobs:
            left.append(name)
        else:
            jobs[found.manifest.id] = found
    return [jobs[number] for number in sorted(jobs)], left


def rebuild(path: Path, jobs: Iterable[Recovered], machines: Iterable[str], now: float) -> None:
    """Make the database at ``path`` anew; what is there is kept beside it. ``machines``: names of all that exist."""
    beside = path.with_name(f"{path.name}.rebuilt")
    _remove(beside)
    database = open_database(beside)
    at_work: dict[str, Manifest] = {}
    with database.atomic("IMMEDIATE"):
        for job in jobs:
            _insert_job(job, now)
            if job.state is JobState.RUNNING:
                at_work.setdefault(job.worker, job.manifest)
        for name in machines:
            _insert_worker(name, at_work.get(name), now)
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    _set_aside(path, now)
    beside.rename(path)
    _remove(beside)


def _names(storage: Storage) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(storage.jobs) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _recovered(folder: JobFolder, flavors: Flavors, default_flavor: str) -> Recovered | None:
    told = FOLDER.fullmatch(folder.name)
    manifest = read_manifest(folder)
    if told is None and manifest is None:
        return None
    if manifest is None or (told is not None and manifest.id != int(told["id"])):
        if told is None or is_formers(folder):  # a folder that was not taken over must not run again
            return None
        flavor = flavors.get(default_flavor)
        manifest = Manifest(
            id=int(told["id"]),
            owner=told["owner"],
            app=told["app"],
            flavor=default_flavor,
            weight=flavor.weight if flavor else 1,
            created=float(told["created"]),
        )
    begun = folder.last_attempt()
    manifest.attempt = max(manifest.attempt, begun)
    try:
        settings = folder.form_text()
    except OSError:
        settings = "{}"
    worker = _worker(manifest, folder) if begun == manifest.attempt > 0 else ""
    return Recovered(manifest, _state(manifest, folder, begun), worker, settings, folder.name)


def _worker(manifest: Manifest, folder: JobFolder) -> str:
    """The machine of the attempt that was taken up: one that had waited has another name than those made for a job."""
    planned = folder.planned_worker(manifest.attempt)
    return planned if planned and not OF_A_JOB.fullmatch(planned) else worker_name(manifest.id, manifest.attempt)


def _state(manifest: Manifest, folder: JobFolder, begun: int) -> JobState:
    if manifest.state.is_final:
        return manifest.state
    if folder.is_asked_to_stop():
        return JobState.CANCELLED
    # What has not begun is looked at as if it had just been sent: whether its files are there is found out anew.
    return JobState.RUNNING if begun == manifest.attempt > 0 else JobState.UPLOADING


def _insert_job(found: Recovered, now: float) -> None:
    row = found.manifest.model_dump(exclude={"state", "created"})
    if found.state is JobState.CANCELLED and not row["outcome"]:
        row |= {"outcome": found.state, "reason": Reason.CANCELLED, "message": Reason.CANCELLED.text, "ended": now}
    if found.state is JobState.RUNNING:
        row["started"] = row["started"] or now
    change = Change(now, who=WHO, text="made again from its folder")
    insert(Job, change, state=found.state, settings=found.settings, folder=found.folder, **row)
    Job.update(created=found.manifest.created).where(Job.id == found.manifest.id).execute()


def _insert_worker(name: str, job: Manifest | None, now: float) -> None:
    """A machine that a job runs on goes on with it; any other has to go."""
    told = OF_A_JOB.fullmatch(name)
    number = job.id if job else int(told["job"]) if told else None
    owner = Job.get_or_none(Job.id == number)
    insert(
        Worker,
        Change(now, who=WHO, text="found" if job else "found; nobody's"),
        name=name,
        job_id=None if owner is None else owner.id,
        attempt=job.attempt if job else 0,
        flavor=owner.flavor if owner else "",
        weight=owner.weight if owner else 1,
        state=WorkerState.BUSY if job else WorkerState.DELETING,
    )


def _files(path: Path) -> Iterator[Path]:
    yield from (path.with_name(f"{path.name}{suffix}") for suffix in ("", "-wal", "-shm"))


def _remove(path: Path) -> None:
    for file in _files(path):
        file.unlink(missing_ok=True)


def _set_aside(path: Path, now: float) -> None:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    for file in _files(path):
        if file.exists():
            file.rename(file.with_name(f"{path.name}.before-{stamp}{file.name.removeprefix(path.name)}"))
