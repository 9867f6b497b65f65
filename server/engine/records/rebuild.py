"""Rebuilds the database from the jobs in the storage, the machines' tags and Terraform's workspaces.

A manifest's rows are restored as they were, under their numbers; a job continues as after a kill of the controller.
"""

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from peewee import DatabaseError

from server.db.cached_sql import add, rows
from server.db.connection import open_database
from server.db.dialects.sqlite import empty_log
from server.db.job_numbers import never_again
from server.db.models import Batch, Conversion, Event, Job, Row, StoredSetting, Worker
from server.db.transactions import exclusive
from server.db.transitions import Change, create
from server.db.upsert import add_if_absent
from server.engine.records.account_copy import copy_accounts
from server.engine.records.job_store import FORGOTTEN
from server.engine.records.manifest_format import (
    OF_ONE_DATABASE,
    KeptWorker,
    Manifest,
    parse_manifest,
    parse_stored_settings,
    read_manifest,
)
from server.engine.records.manifests import forget_unwritten
from server.engine.records.recovery import OF_A_JOB, Recovered
from server.engine.records.storage_owner import read_identity_or_none
from server.reasons import Reason
from server.states import JobState, WorkerState
from server.storage.folders import Storage
from server.storage.ledger import MAX_NUMBER

WHO = "rebuild"
FROM_THE_POOL = re.compile(r"pool-[1-9][0-9]{0,8}")
log = structlog.get_logger()


@dataclass(frozen=True)
class Rebuilt:
    """The result: jobs by state, the machines that were found, and the folders of which no job could be made."""

    jobs: dict[str, int]
    machines: tuple[str, ...]
    left_alone: tuple[str, ...]


def rebuild(path: Path, storage: Storage, jobs: Iterable[Recovered], machines: Iterable[str], now: float) -> list[str]:
    """Rebuild the database at ``path``; the file that is there is kept beside it. ``machines``: names of all that exist.

    Returns the folders of which no rows could be made after all.
    """
    beside = path.with_name(f"{path.name}.rebuilt")
    _remove(beside)
    database = open_database(beside)
    at_work: dict[str, Manifest] = {}
    left = []
    with exclusive(database):
        for job in jobs:
            if not _has_rows(job, storage, now):
                left.append(job.folder)
            elif job.state is JobState.RUNNING:
                at_work.setdefault(job.worker, job.manifest)
        for name in machines:
            _has_machine(name, at_work.get(name), now)
        for setting in parse_stored_settings(storage.ledger.switches_text()):
            if setting.name not in OF_ONE_DATABASE:
                add_if_absent(StoredSetting, **setting.model_dump())
        never_again(storage.ledger.last_number())
        copy_accounts(path, read_identity_or_none(storage.root) or "")
    empty_log(database)
    database.close()
    _set_aside(path, now)
    beside.rename(path)
    _remove(beside)
    return left


def _has_rows(found: Recovered, storage: Storage, now: float) -> bool:
    """Make the rows of a job, or none; whether there are any. Nothing in a folder keeps the others from being rebuilt."""
    try:
        with Job._meta.database.atomic():
            if found.as_kept or found.manifest.version > 1:
                _restore(found, _kept(found, storage), now)
            else:
                _make_up(found, now)
    except (DatabaseError, ValueError, OverflowError) as problem:
        log.warning("no job can be made of a folder", folder=found.folder, detail=str(problem))
        return False
    return True


def _kept(found: Recovered, storage: Storage) -> Manifest:
    """The manifest whole."""
    whole = None
    with suppress(OSError):
        if found.state is JobState.DELETED:
            whole = parse_manifest(storage.ledger.deleted_text(found.folder))
        else:
            whole = read_manifest(storage.folder(found.folder))
    return found.manifest if whole is None else whole


def _restore(found: Recovered, kept: Manifest, now: float) -> None:
    """The rows as the manifest has them, except for what is known better."""
    row = {**_columns(found.manifest), "state": found.state, "settings": found.settings, "folder": found.folder}
    if not found.as_kept:
        row |= {**_better(found, now), "state_since": now}
    add(Job(**row))
    if kept.batch is not None and kept.batch.id == kept.batch_id:
        add_if_absent(Batch, **kept.batch.model_dump())
    numbers = {worker.id: _add_worker(worker, kept.id) for worker in kept.workers}
    for event in kept.events:
        subject = kept.id if event.subject == "job" else numbers.get(event.subject_id)
        if subject is not None:
            _add_under_its_number(Event, {**event.model_dump(), "subject_id": subject})
    for conversion in kept.conversions:
        _add_under_its_number(Conversion, {**conversion.model_dump(), "job_id": kept.id})
    if found.as_kept:
        forget_unwritten(kept.id)
    else:
        change = Change(now, who=WHO, text="as its folder says")
        add(_event(found.manifest.id, kept.state, found.state, change))


def _make_up(found: Recovered, now: float) -> None:
    """A row of the little that is known."""
    row = {**_columns(found.manifest), **_better(found, now), "created": found.manifest.created}
    change = Change(now, who=WHO, text="rebuilt from its folder")
    add(Job(**{**row, "state": found.state, "settings": found.settings, "folder": found.folder, "state_since": now}))
    add(_event(found.manifest.id, "", found.state, change))


def _columns(manifest: Manifest) -> dict[str, Any]:
    return manifest.model_dump(exclude={"version", "batch", "workers", "events", "conversions"})


def _better(found: Recovered, now: float) -> dict[str, Any]:
    """What follows from the job's state and is not in its manifest."""
    manifest = found.manifest
    if found.state is JobState.DELETED:
        return dict(FORGOTTEN)
    if found.state is JobState.CANCELLED and not manifest.outcome:
        return {"outcome": found.state, "reason": Reason.CANCELLED, "message": Reason.CANCELLED.text, "ended": now}
    if found.state is JobState.RUNNING:
        return {"started": manifest.started or now}
    return {}


def _event(job_id: int, old: str, new: str, change: Change) -> Event:
    return Event(
        at=change.at, subject="job", subject_id=job_id, who=change.who, old=old, new=new, reason=change.reason, text=change.text
    )


def _add_worker(worker: KeptWorker, job_id: int) -> int | None:
    """The number of the machine's row; None where there can be none, as of one that another job has."""
    of_a_job = OF_A_JOB.fullmatch(worker.name)
    if not (FROM_THE_POOL.fullmatch(worker.name) or (of_a_job and int(of_a_job["job"]) == job_id)):
        return None
    if rows(Worker, "name = ?", worker.name):
        return None
    return _add_under_its_number(Worker, {**worker.model_dump(), "job_id": job_id})


def _add_under_its_number(table: type[Row], values: dict[str, Any]) -> int:
    """The row's number: its own unless another one has it."""
    if rows(table, "id = ?", values["id"]):
        values = {**values, "id": None}
    row = table(**values)
    add(row)
    return int(row.id)


def _has_machine(name: str, job: Manifest | None, now: float) -> None:
    """A machine that a job's manifest knows stays as it was, as does one that a job runs on; any other is removed."""
    known = rows(Worker, "name = ?", name)
    if not known:
        return _insert_worker(name, job, now)
    if known[0].state == WorkerState.DELETED:
        Worker.update(state=WorkerState.DELETING, ended=None).where(Worker.id == known[0].id).execute()


def _insert_worker(name: str, job: Manifest | None, now: float) -> None:
    """A machine that a job runs on stays; any other is removed."""
    named = OF_A_JOB.fullmatch(name)
    number = job.id if job else int(named["job"]) if named else None
    owner = None if number is None or number > MAX_NUMBER else Job.get_or_none(Job.id == number)
    create(
        Worker,
        Change(now, who=WHO, text="found" if job else "found, without a job"),
        name=name,
        job_id=None if owner is None else owner.id,
        attempt=job.attempt if job else 0,
        flavor=owner.flavor if owner else "",
        weight=owner.weight if owner else 1,
        state=WorkerState.BUSY if job else WorkerState.DELETING,
    )


def _files(path: Path) -> Iterator[Path]:
    yield from (path.with_name(f"{path.name}{suffix}") for suffix in ("", "-wal", "-shm", "-mark"))


def _remove(path: Path) -> None:
    for file in _files(path):
        file.unlink(missing_ok=True)


def _set_aside(path: Path, now: float) -> None:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    for file in _files(path):
        if file.exists():
            file.rename(file.with_name(f"{path.name}.before-{stamp}{file.name.removeprefix(path.name)}"))
