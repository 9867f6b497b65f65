"""The database itself: a copy of it, or a new one from the job folders."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from programs.database.sqlite import connect, reading_mode
from programs.errors import explained
from server.db.models import require_file
from server.db.opening import require_installation
from server.db.own_log import require_own_log
from server.engine.records.rebuild import Rebuilt
from server.engine.records.recovery import has_jobs
from server.engine.records.storage_owner import own_storage
from server.errors import CumulusError, InvalidInput
from server.home.installation import only_controller
from server.progress import Progress, growing, megabytes
from server.services.principal import Principal, Role
from server.settings import Settings
from server.storage.folders import Storage


class BackupFailed(CumulusError):
    """The copy is not sound, or could not be written."""

    code = "backup_failed"


class Rebuild(Protocol):
    """Makes the database anew from what the job folders, the cloud and Terraform have."""

    def __call__(self, settings: Settings, now: float, progress: Progress, *, dry_run: bool) -> Rebuilt:
        """What was made, or would be."""


class DatabaseService:
    """The database of one installation."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock

    def backup(self, principal: Principal, file: Path | None, progress: Progress) -> Path:
        """Copy the database while it is in use, to a file or into the home's backups; returns where.

        Raises Forbidden, NoInstallation, InvalidInput, BackupFailed.
        """
        principal.require(Role.ADMINISTRATOR)
        settings = self._settings
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(self._clock()))
        target = file or settings.home / "backups" / f"cumulus-{stamp}.sqlite"
        require_installation(settings)
        if not require_file(settings.database):
            raise InvalidInput(f"there is no database at {settings.database}", field="database")
        require_own_log(settings.database)
        if target.exists():
            raise InvalidInput(f"{target} exists already", field="file")
        beside = target.with_name(f".cumulus-{uuid4().hex}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with progress.step("Copying the database", "MB") as step, growing(step, beside, megabytes(settings.database)):
                _copy(settings.database, beside)
            os.link(beside, target)  # never over another file
        except OSError as problem:
            raise BackupFailed(f"the database could not be copied: {explained(problem)}") from None
        except sqlite3.Error as problem:
            raise BackupFailed(f"the database {settings.database} could not be copied: {problem}") from None
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
        return target

    def rebuild(self, principal: Principal, rebuild: Rebuild, progress: Progress, *, dry_run: bool) -> Rebuilt:
        """Make the database anew; no controller may run. ``dry_run``: only say what would be made.

        Raises Forbidden, NoInstallation, AlreadyRunning, StorageNotOurs.
        """
        principal.require(Role.ADMINISTRATOR)
        settings = self._settings
        if dry_run or not has_jobs(Storage(settings.storage)):  # else an erased home is made anew
            require_installation(settings)
        with ExitStack() as held:
            if not dry_run:
                held.enter_context(only_controller(settings.home))
                held.enter_context(own_storage(settings))
            return rebuild(settings, self._clock(), progress, dry_run=dry_run)


def rebuilt_json(made: Rebuilt) -> dict[str, Any]:
    """A new database for programs."""
    return asdict(made)


def _copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(connect(source, *reading_mode(source))) as read, closing(sqlite3.connect(target)) as write:
        read.backup(write)
        if (found := write.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            raise BackupFailed(f"the copy is not sound: {found}")
        write.execute("PRAGMA application_id = 0")  # where it is put in another one's place, that one's log is not its own
