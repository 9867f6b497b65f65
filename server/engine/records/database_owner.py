"""Which installation the database belongs to, at a controller's start: one that does not belong to the storage is never used
silently.

Decided here: a database that holds nothing (no file, an empty one, one that never had a job) is rebuilt if the storage has jobs.
Another installation's, or another program's, is refused with instructions: a setting is wrong then, or a file is in the wrong
place, and a rebuilt database would hide that. An older one of our own, such as a backup, is rebuilt, too: the storage has all
that it has and what happened since, and jobs at work keep their machines. :mod:`server.engine.records.rebuild` rebuilds.
"""

import sqlite3
import time
from collections.abc import Iterable, Mapping

import structlog
from peewee import SqliteDatabase

from server.db.connection import require_file
from server.db.dialects.sqlite_file import inspected, last_number_in, table_names
from server.db.job_numbers import last_number, never_again
from server.db.models import StoredSetting
from server.db.opening import OWNER, ForeignDatabase, foreign
from server.db.queries import UNFINISHED
from server.db.transactions import exclusive
from server.db.upsert import add_if_absent
from server.engine.records.account_roster import reconcile
from server.engine.records.recovery import has_jobs
from server.settings import Settings, where_given
from server.storage.folders import Storage

OLDER = "the database is older than the storage"
log = structlog.get_logger()


def why_lost(settings: Settings, server_id: str) -> str:
    """Why the database must be rebuilt from the job folders; "" where it is the right one, or there is none and no job.

    Changes nothing. Raises ForeignDatabase, DatabaseDamaged, DatabaseUnusable.
    """
    path, storage = settings.database, Storage(settings.storage)
    if not require_file(path):
        return "it is not there" if has_jobs(storage) else ""
    with inspected(path) as found:
        return _why_lost(found, settings, server_id, storage)


def take_as_own(database: SqliteDatabase, settings: Settings, server_id: str) -> None:
    """Record which installation owns the database, and never reuse the number of a job folder; end what a backup gives back.

    An interrupted submission has a folder, too, but needs no row.
    """
    storage = Storage(settings.storage)
    submitting = set(storage.ledger.submitting())
    reconcile(settings.database, time.time())
    with exclusive(database):
        add_if_absent(StoredSetting, name=OWNER, value=server_id, at=time.time(), who="controller")
        given, newest = (
            last_number(),
            max((number for name, number in storage.job_folders().items() if name not in submitting), default=0),
        )
        if newest <= given:
            return
        never_again(newest)
    log.warning(
        "the database lacks jobs of the newest folders; `cumulus db rebuild` rebuilds it from them",
        newest_job=given,
        newest_folder=newest,
    )


def _why_lost(found: sqlite3.Connection, settings: Settings, server_id: str, storage: Storage) -> str:
    tables = table_names(found)
    if not tables:
        return "it was empty" if has_jobs(storage) else ""
    if "migration" not in tables or not {"job", "switch"} <= tables:
        raise ForeignDatabase(
            f"the database {settings.database} is another program's: set the right one ({where_given('database')}), or move it"
            " away and `cumulus serve` makes one from the job folders",
            field="setting database",
        )
    owner = found.execute("SELECT value FROM switch WHERE name = ?", (OWNER,)).fetchone()
    if owner and owner[0] != server_id:
        raise foreign(settings, owner[0])
    if not has_jobs(storage):
        return ""
    last = last_number_in(found, "job")
    if last is None:
        return "it never had a job"
    folders = storage.job_folders()
    if not owner and folders and not _knows_one_of(found, folders):
        raise foreign(settings, "of an earlier version, which has no id")
    return _why_older(found, storage, folders, last)


def _why_older(found: sqlite3.Connection, storage: Storage, folders: Mapping[str, int], last: int) -> str:
    """How the storage shows that the database is older; "" where it does not. Jobs submitted since then would have no row, and
    their machines would be orphans; jobs that began since then would begin again.
    """
    submitting = set(storage.ledger.submitting())
    newest = storage.ledger.last_number()  # a folder beyond it was made by hand
    for name, number in folders.items():
        if last < number <= newest and name not in submitting:
            return f"{OLDER}: it has no job {number}"
    for job_id, name, attempt in found.execute(f"SELECT id, folder, attempt FROM job WHERE {UNFINISHED}"):  # noqa: S608  # literal
        if name in folders and storage.folder(name).reports.last_attempt() > attempt:
            return f"{OLDER}: job {job_id} has begun since"
    return ""


def _knows_one_of(found: sqlite3.Connection, folders: Iterable[str]) -> bool:
    return any(found.execute("SELECT 1 FROM job WHERE folder = ?", (name,)).fetchone() for name in folders)
