"""``cumulus snapshot``: copies of the template's disk."""

import json

import click

from server import app as parts
from server.catalog.apps import Catalog
from server.cli.shared.clouds import asking_the_cloud
from server.cli.shared.output import progress_on_stderr
from server.cli.shared.templates import LongCommands, known_template, new_template
from server.services.times import local_time
from server.settings import load_settings


@click.group(cls=LongCommands)
def snapshot() -> None:
    """Copies of the template's disk; workers start from the promoted one."""


@snapshot.command("create")
def snapshot_create() -> None:
    """Copy the template, try every app on a machine of the copy, promote it if all is well; the previous one is kept."""
    settings = load_settings()
    new_template().take_snapshot(parts.make_trial(Catalog(settings.apps)), progress_on_stderr())


@snapshot.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def snapshot_list(as_json: bool) -> None:
    """List the snapshots; * marks the promoted one."""
    with asking_the_cloud():
        found = known_template().snapshots()
    if as_json:
        click.echo(json.dumps([{"name": s.name, "promoted": s.promoted, "created": s.created} for s in found], indent=1))
        return
    for one in found:
        click.echo(f"{'*' if one.promoted else ' '} {one.name}  {local_time(one.created)}")


@snapshot.command("rollback")
def snapshot_rollback() -> None:
    """Promote the previous snapshot again."""
    with asking_the_cloud():
        told = known_template().roll_back()
    click.echo(told)


@snapshot.command("prune")
@click.option("--keep", type=click.IntRange(1), default=2, show_default=True, help="How many of the newest stay.")
def snapshot_prune(keep: int) -> None:
    """Remove old snapshots; never the promoted one, the one before it, or one that a machine was made from."""
    for name in known_template().prune(keep, progress_on_stderr()):
        click.echo(f"removed {name}")
