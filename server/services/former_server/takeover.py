"""Taking over a former installation: rows, and two files beside those of each job, at last the storage's id.

Each batch is one transaction, which ends when its files are there; a job that is here already is left as it is: after a kill it
is done once more from the beginning. Until the storage has its id, no controller starts on it.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from itertools import islice

from server.db.connection import open_database
from server.db.job_numbers import never_again
from server.db.models import Event, Job
from server.db.transactions import exclusive
from server.engine.records.manifest_format import manifest_text
from server.engine.records.manifests import forget_unwritten
from server.progress import Advance
from server.services.former_server.database import FormerDatabase
from server.services.former_server.folders import keeping_its_time, write_beside
from server.services.former_server.taken import TakenJob, description_of
from server.settings import Settings
from server.storage.folders import JobFolder, Storage

WHO = "import-former"
BATCH = 500  # rows


def take_over(settings: Settings, former: FormerDatabase, jobs: Iterable[TakenJob], now: float, advance: Advance) -> int:
    """Write all that is new; returns how many jobs that were. ``advance``: in jobs. Raises OSError, FormerUnusable."""
    database = open_database(settings.database)
    storage, done = Storage(settings.storage), 0
    storage.prepare()
    try:
        for batch in _batches(jobs):
            with exclusive(database):
                Job.insert_many([_row(taken, now) for taken in batch]).execute()
                Event.insert_many([_event(taken, now) for taken in batch]).execute()
                for taken in batch:
                    _write_folder(storage.folder(taken.folder.name), taken)
            done += len(batch)
            advance(done, None)
        former.require_unchanged()
        # No job gets a number that the former server has ever given, also not one of a job that was deleted there.
        never_again(former.last)
        storage.ledger.know_number(former.last)
        return done
    finally:
        database.close()


def _write_folder(folder: JobFolder, taken: TakenJob) -> None:
    """The job's form, and all that its rows have: so nothing has to be written there later, and the folder keeps its time."""
    if taken.folder.problem and not os.path.lexists(folder.path):
        folder.path.mkdir()
    if folder.path.is_symlink():
        raise OSError(errno.ELOOP, "is a link since", str(folder.path))
    with keeping_its_time(folder.path):
        write_beside(folder, taken.form, taken.former)
        folder.private.keep("job", manifest_text(Job.get_by_id(taken.former.id)))
    forget_unwritten(taken.former.id)


def _row(taken: TakenJob, now: float) -> dict[str, object]:
    job = taken.former
    ended = job.ended or (now if taken.was_unfinished else job.started or job.created)
    return {
        "id": job.id,
        "owner": job.owner,
        "app": job.app,
        "flavor": job.flavor,
        "weight": taken.weight,
        "description": description_of(job),
        "settings": taken.form,
        "inputs": "\n".join(taken.inputs),
        "workflow": taken.workflow,
        "start_after": taken.start_after,
        "folder": taken.folder.name,
        "state": taken.state,
        "state_since": ended,
        "not_before": 0.0,
        "outcome": taken.outcome,
        "reason": taken.reason,
        "message": taken.message,
        "attempt": 0,
        "spared": 0,
        "warning": "",
        "figures": "",
        "priority": 0,
        "created": job.created,
        "started": job.started,
        "ended": ended,
    }


def _event(taken: TakenJob, now: float) -> dict[str, object]:
    text = f"taken over from the former Cumulus server, where it was {taken.former.status}"
    return {
        "at": now,
        "subject": "job",
        "subject_id": taken.former.id,
        "who": WHO,
        "old": "",
        "new": taken.state,
        "reason": taken.reason,
        "text": text,
    }


def _batches(jobs: Iterable[TakenJob]) -> Iterator[list[TakenJob]]:
    rest = iter(jobs)
    while batch := list(islice(rest, BATCH)):
        yield batch


def only_new(found: Iterable[TakenJob | None]) -> Iterator[TakenJob]:
    """Those that will be taken over."""
    return (one for one in found if one is not None)
