"""Which storage an installation may use as its own: decided before anything in it is read as a job, or written.

A storage that is used by mistake loses results: another installation's jobs run again, or are removed.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from programs.database.sqlite import connect, reading_mode
from server.db.models import require_file
from server.errors import CumulusError
from server.home.installation import IdLost, adopt_id, installation_id
from server.settings import Settings
from server.storage.folders import Storage
from server.storage.holding import Hold
from server.storage.identity import (
    IdentityUnreadable,
    are_formers,
    identity_path,
    read_identity,
    set_identity_aside,
    write_identity,
)

IMPORT = (
    "`cumulus import-former STORAGE cumulus.db --dry-run` shows what would be taken over (docs/operations.md, Moving from 2.x)"
)
ADOPT = "`cumulus storage adopt`"


class StorageNotOurs(CumulusError):
    """The storage belongs to another installation, or its owner is unknown."""

    code = "storage_not_ours"


def require_own_storage(settings: Settings) -> None:
    """Give a new storage this installation's id. Raises StorageNotOurs, IdentityUnreadable, StorageUnusable,
    DatabaseUnusable.
    """
    own, root = installation_id(settings.home), settings.storage
    found = read_identity(root)
    if found is None:
        _require_new(settings)
        found = write_identity(root, own)
    if found != own:
        raise StorageNotOurs(
            f"the storage {root} belongs to the installation {found}; this one ({settings.home}) is {own}, and two on one "
            f"storage would destroy each other's jobs. Look at `storage` and `home` in the settings. "
            f"Where the other one's home is lost: "
            f"restore it, or have this new home take its place with {ADOPT}"
        )


@contextmanager
def own_storage(settings: Settings) -> Iterator[Hold]:
    """Hold this installation's storage alone within the block. Raises as :func:`require_own_storage`, and StorageInUse."""
    hold = Hold(settings.storage)
    try:
        if read_identity_or_none(settings.storage) is None:
            hold.take(make=False)  # a controller that runs there writes the id again in a moment
        require_own_storage(settings)
        hold.take()
        yield hold
    finally:
        hold.close()


def adopt_storage(settings: Settings) -> str:
    """Adopt the storage for an administrator; returns a sentence about the result. No controller may run.

    The id of a lost home, or one that the home has lost, is taken from the storage, so that its machines are found as well.
    Raises StorageNotOurs where that would mix two installations, StorageInUse, IdLost where the id is lost everywhere.
    """
    root = settings.storage
    _require_no_formers(settings)
    hold = Hold(root)
    try:
        hold.take(make=False)
        return _adopt(settings)
    finally:
        hold.close()


def _adopt(settings: Settings) -> str:
    root = settings.storage
    found = read_identity_or_none(root)
    own = _own_id(settings.home, found)
    if found is None:
        if os.path.lexists(identity_path(root)):
            set_identity_aside(root)
        write_identity(root, own)
        return f"the storage {root} belongs to this installation ({own}) from now on; {_next(settings)}"
    if found == own:
        return f"the storage {root} belongs to this installation ({own}) already"
    if _has_rows(settings.database):
        raise StorageNotOurs(
            f"the storage {root} belongs to the installation {found}, and {settings.home} has jobs or machines of its own: "
            "take an empty home for it (CUMULUS_HOME)"
        )
    adopt_id(settings.home, found)
    return f"{settings.home} takes the place of the lost home of the installation {found}; {_next(settings)}"


def _own_id(home: Path, of_the_storage: str | None) -> str:
    """The home's own id; the storage's where the home has lost it."""
    try:
        return installation_id(home)
    except IdLost:
        if of_the_storage is None:
            raise
        adopt_id(home, of_the_storage)
        return of_the_storage


def _next(settings: Settings) -> str:
    if settings.database.exists():
        return "where its jobs are not in the list, `cumulus db rebuild` makes the database from their folders"
    return "the next start makes the database from the job folders"


def _require_new(settings: Settings) -> None:
    """Raises StorageNotOurs where the storage without an id is not empty, unless the own database knows what is in it."""
    storage = Storage(settings.storage)
    names = storage.job_folders()
    known = _known_folders(settings.database)
    if not names and known:
        raise StorageNotOurs(
            f"the storage {storage.root} is empty, and the database has {len(known)} jobs with a folder there: is it mounted? "
            f"Where its content is lost for good, {ADOPT} continues with an empty one"
        )
    if 2 * len(known.intersection(names)) >= len(names):  # as a version without ids has left it, or new
        return
    _require_no_formers(settings)
    raise StorageNotOurs(
        f"the storage {storage.root} holds {len(names)} job folders, and neither they nor {settings.home} say that they are this "
        f"installation's. Look at `storage` and `home` in the settings. Where they are its own and the database is lost: {ADOPT}"
    )


def _require_no_formers(settings: Settings) -> None:
    storage = Storage(settings.storage)
    if read_identity_or_none(storage.root) is None and are_formers(storage, storage.job_folders()):
        raise StorageNotOurs(
            f"the storage {storage.root} holds jobs of the former Cumulus server (2.x): {IMPORT}. Nothing in it was touched"
        )


def read_identity_or_none(root: Path) -> str | None:
    """The storage's id; None also where it is unreadable."""
    try:
        return read_identity(root)
    except IdentityUnreadable:
        return None


def _known_folders(database: Path) -> set[str]:
    """The folders of all jobs whose content should be there; none where there is no database, or no sound one."""
    return {name for (name,) in _asked(database, "SELECT folder FROM job WHERE state NOT IN ('archived', 'deleted')")}


def _has_rows(database: Path) -> bool:
    return bool(_asked(database, "SELECT 1 FROM job UNION ALL SELECT 1 FROM worker WHERE state <> 'deleted' LIMIT 1"))


def _asked(database: Path, question: str) -> list[tuple[str]]:
    """Raises DatabaseUnusable where something else than a file lies there."""
    if not require_file(database):
        return []
    try:
        with closing(connect(database, *reading_mode(database))) as connection:
            return connection.execute(question).fetchall()
    except sqlite3.Error:  # whoever opens it next reports what is wrong with it
        return []
