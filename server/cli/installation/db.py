"""``cumulus db``: the database itself, for who looks after an installation."""

from pathlib import Path

import click

from server.app import rebuild_database
from server.cli.shared.arguments import as_json_option
from server.cli.shared.opening import administrator
from server.cli.shared.output import PATIENCE_S, progress_on_stderr, show_json
from server.services.database import DatabaseService, rebuilt_json
from server.settings import load_settings


@click.group()
def db() -> None:
    """The database: a copy of it, or a new one from the job folders.

    Example: cumulus db backup
    """


@db.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def backup(file: Path | None) -> None:
    """Copy the database while it is in use, to FILE or into the home's backups; prints where.

    Example: cumulus db backup /mnt/backups/cumulus-$(date +%F).sqlite
    """
    click.echo(DatabaseService(load_settings()).backup(administrator(), file, progress_on_stderr(PATIENCE_S)))


@db.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be made.")
@as_json_option
def rebuild(dry_run: bool, as_json: bool) -> None:
    """Make the database anew from the job folders and the machines that exist; the old one is kept beside it.

    The controller must not run; it does this by itself where it finds no database. Example: cumulus db rebuild --dry-run
    """
    service, progress = DatabaseService(load_settings()), progress_on_stderr(PATIENCE_S)
    made = service.rebuild(administrator(), rebuild_database, progress, dry_run=dry_run)
    if as_json:
        show_json(rebuilt_json(made))
        return
    for state, number in made.jobs.items():
        click.echo(f"{number:6} jobs {state}")
    for name in made.machines:
        click.echo(f"machine found: {name}")
    for name in made.left_alone:
        click.echo(f"left alone, no job could be made of it: {name}")
    if not (made.jobs or made.machines or made.left_alone):
        click.echo("there is nothing to make it from: no job folder, no machine")
