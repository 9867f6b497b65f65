"""The jobs that can be recovered from a storage without a database: by their folders and by its ledger.

Nothing in a folder is trusted, everything in it is used: the manifest, the folder's name where the manifest is garbage, and
before both what only a runner writes. No attempt begins twice: the number of the last one is never smaller than its marker's.
Jobs that the ledger lists as deleted stay deleted. Where several folders claim a number, the one that was a job's keeps it.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import structlog

from server.catalog.flavors import Flavors
from server.db.models import worker_name
from server.engine.records.manifest_format import Manifest, parse_manifest, read_manifest
from server.progress import Advance, counted, unheard
from server.states import JobState
from server.storage.folders import JobFolder, Storage, folder_name
from server.storage.identity import is_formers

FOLDER = re.compile(r"Job_(?P<id>[1-9][0-9]{0,14})_(?P<owner>[A-Za-z0-9.-]+)_(?P<app>[A-Za-z0-9._-]+)_(?P<created>[0-9]{1,12})")
OF_A_JOB = re.compile(r"job-(?P<job>[1-9][0-9]{0,14})(-[1-9][0-9]{0,8})?")
log = structlog.get_logger()


@dataclass(frozen=True)
class Recovered:
    """A job as its folder, or the ledger, describes it; other tables' rows are read from its manifest later.

    ``worker``: the machine that it runs on, "" where its last attempt has not begun.
    ``as_kept``: its rows are as the manifest has them; else there was no manifest, or it knew less than the files beside it.
    """

    manifest: Manifest
    state: JobState
    worker: str
    settings: str
    folder: str
    as_kept: bool


def has_jobs(storage: Storage) -> bool:
    """Whether the storage holds folders of jobs, or knows of any."""
    return bool(storage.ledger.last_number()) or bool(storage.job_folders())


def recover(
    storage: Storage, flavors: Flavors, default_flavor: str, advance: Advance = unheard
) -> tuple[list[Recovered], list[str]]:
    """The jobs in folders and ledger, oldest first, and the folders that are no job's. ``advance``: in folders.

    An unused folder of an interrupted submission is neither.
    """
    jobs = {one.manifest.id: one for one in _deleted(storage)}
    submitting = set(storage.ledger.submitting())
    claims: dict[int, list[Recovered]] = {}
    left = []
    for name in counted(_names(storage), advance):
        folder = storage.folder(name)
        if name in submitting and folder.is_untouched():
            continue
        found = _recovered(folder, flavors, default_flavor, storage.ledger.last_number())
        if found is None:
            left.append(name)
        else:
            claims.setdefault(found.manifest.id, []).append(found)
    for number, found_here in claims.items():
        best = jobs.setdefault(number, max(found_here, key=lambda one: _standing(one, storage.folder(one.folder))))
        left += [one.folder for one in found_here if one.folder != best.folder]
    return [jobs[number] for number in sorted(jobs)], sorted(left)


def _names(storage: Storage) -> list[str]:
    """The folders that may be jobs'; hidden ones are being removed."""
    try:
        found = [entry.name for entry in os.scandir(storage.jobs) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(name for name in found if not name.startswith("."))


def _deleted(storage: Storage) -> Iterator[Recovered]:
    for name in storage.ledger.deleted():
        manifest = None
        with suppress(OSError):
            manifest = parse_manifest(storage.ledger.deleted_text(name))
        if manifest is None or manifest.folder != name:
            log.warning("the manifest of a deleted job cannot be read", name=name)
        else:
            yield Recovered(_light(manifest), JobState.DELETED, "", "{}", name, as_kept=manifest.state is JobState.DELETED)


def _recovered(folder: JobFolder, flavors: Flavors, default_flavor: str, last_number: int) -> Recovered | None:
    named = FOLDER.fullmatch(folder.name)
    manifest = read_manifest(folder)
    if manifest is None:
        # A submitted job has a form, and no number beyond those that were assigned; what a former server ran must not run
        # again.
        if named is None or not folder.documents.has_form() or 0 < last_number < int(named["id"]) or is_formers(folder):
            return None
        manifest = _of_the_name(named, flavors, default_flavor)
    elif manifest.folder not in ("", folder.name) or (named is not None and int(named["id"]) != manifest.id):
        return None  # a copy of another folder
    manifest = _light(manifest)
    begun = folder.reports.last_attempt()
    settings = "{}"
    with suppress(OSError):
        settings = folder.documents.form_text()
    state = _state(manifest, folder, begun)
    as_kept = manifest.version > 1 and state is manifest.state and begun <= manifest.attempt
    manifest.attempt = max(manifest.attempt, begun)
    worker = _worker(manifest, folder) if begun == manifest.attempt > 0 else ""
    return Recovered(manifest, state, worker, settings, folder.name, as_kept)


def _of_the_name(named: re.Match[str], flavors: Flavors, default_flavor: str) -> Manifest:
    flavor = flavors.get(default_flavor)
    return Manifest(
        id=int(named["id"]),
        owner=named["owner"],
        app=named["app"],
        flavor=default_flavor,
        weight=flavor.weight if flavor else 1,
        created=float(named["created"]),
        version=0,
    )


def _light(manifest: Manifest) -> Manifest:
    """Without the other tables' rows: there may be many jobs at once."""
    return manifest.model_copy(update={"batch": None, "workers": (), "events": (), "conversions": ()})


def _standing(found: Recovered, folder: JobFolder) -> tuple[object, ...]:
    """Of several folders that claim a number, the one with the highest standing was the job's.

    A manifest that names its folder counts most; then whether the folder was used: a failed submission has left its folder
    untouched, and the next one got its number.
    """
    manifest = found.manifest
    named = folder_name(manifest.id, manifest.owner, manifest.app, manifest.created) == found.folder
    return manifest.version, named, not folder.is_untouched(), manifest.created, found.folder


def _worker(manifest: Manifest, folder: JobFolder) -> str:
    """The machine of the attempt that has begun: a machine from the pool has another name than those made for a job."""
    planned = folder.instructions.planned_worker(manifest.attempt)
    return planned if planned and not OF_A_JOB.fullmatch(planned) else worker_name(manifest.id, manifest.attempt)


def _state(manifest: Manifest, folder: JobFolder, begun: int) -> JobState:
    if manifest.state.is_final:
        return manifest.state
    if folder.instructions.has_stop_request():
        return JobState.CANCELLED
    if begun > manifest.attempt:
        return JobState.RUNNING
    if manifest.version > 1:  # it is written at each change, and each state may be entered again
        return manifest.state
    # A job that has not begun is treated as if it had just been submitted: its files are checked again.
    return JobState.RUNNING if begun == manifest.attempt > 0 else JobState.UPLOADING
