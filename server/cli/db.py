"""``cumulus db``: the database itself, for who looks after an installation."""

import json
import os
import sqlite3
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import click

from programs.database.sqlite import connect, reading_mode
from programs.errors import explained
from server import app as parts
from server.cli.shared.output import PATIENCE_S, progress_on_stderr
from server.db.models import require_file
from server.db.opening import require_installation
from server.db.own_log import require_own_log
from server.engine.records.recovery import has_jobs
from server.engine.records.storage_owner import own_storage
from server.errors import CumulusError, InvalidInput
from server.home.installation import only_controller
from server.progress import growing, megabytes
from server.settings import load_settings
from server.storage.folders import Storage


class BackupFailed(CumulusError):
    """The copy is not sound, or could not be written."""

    code = "backup_failed"


@click.group()
def db() -> None:
    """The database: a copy of it, or a new one from the job folders."""


@db.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def backup(file: Path | None) -> None:
    """Copy the database while it is in use, to FILE or into the home's backups; prints where."""
    settings = load_settings()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    target = file or settings.home / "backups" / f"cumulus-{stamp}.sqlite"
    require_installation(settings)
    if not require_file(settings.database):
        raise InvalidInput(f"there is no database at {settings.database}", field="database")
    require_own_log(settings.database)
    if target.exists():
        raise InvalidInput(f"{target} exists already", field="file")
    beside = target.with_name(f".cumulus-{uuid4().hex}")
    progress = progress_on_stderr(PATIENCE_S)
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
    click.echo(target)


@db.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be made.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def rebuild(dry_run: bool, as_json: bool) -> None:
    """Make the database anew from the job folders and the machines that exist; the old one is kept beside it.

    The controller must not run; it does this by itself where it finds no database.
    """
    settings = load_settings()
    if dry_run or not has_jobs(Storage(settings.storage)):  # else an erased home is made anew
        require_installation(settings)
    with ExitStack() as held:
        if not dry_run:
            held.enter_context(only_controller(settings.home))
            held.enter_context(own_storage(settings))
        made = parts.rebuild_database(settings, time.time(), progress_on_stderr(PATIENCE_S), dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(asdict(made), indent=1))
        return
    for state, number in made.jobs.items():
        click.echo(f"{number:6} jobs {state}")
    for name in made.machines:
        click.echo(f"machine found: {name}")
    for name in made.left_alone:
        click.echo(f"left alone, no job could be made of it: {name}")


def _copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(connect(source, *reading_mode(source))) as read, closing(sqlite3.connect(target)) as write:
        read.backup(write)
        if (found := write.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            raise BackupFailed(f"the copy is not sound: {found}")
        write.execute("PRAGMA application_id = 0")  # where it is put in another one's place, that one's log is not its own
