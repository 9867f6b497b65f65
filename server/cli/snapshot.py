"""``cumulus snapshot``: copies of the template's disk."""

import click

from server.app import make_trial
from server.catalog.apps import Catalog
from server.cli.shared.arguments import as_json_option
from server.cli.shared.clouds import asking_the_cloud
from server.cli.shared.long_commands import LongCommands
from server.cli.shared.opening import administrator
from server.cli.shared.output import progress_on_stderr, show_json
from server.services.snapshots import SnapshotService, snapshot_json
from server.services.times import local_time
from server.settings import load_settings


@click.group(cls=LongCommands)
def snapshot() -> None:
    """Copies of the template's disk; workers start from the promoted one."""


@snapshot.command("create")
def snapshot_create() -> None:
    """Copy the template, try every app on a machine of the copy, promote it if all is well; the previous one is kept."""
    settings = load_settings()
    SnapshotService(settings).create(administrator(), make_trial(Catalog(settings.apps)), progress_on_stderr())


@snapshot.command("list")
@as_json_option
def snapshot_list(as_json: bool) -> None:
    """List the snapshots; * marks the promoted one."""
    with asking_the_cloud():
        found = SnapshotService(load_settings()).listed(administrator())
    if as_json:
        show_json(list(map(snapshot_json, found)))
        return
    for one in found:
        click.echo(f"{'*' if one.promoted else ' '} {one.name}  {local_time(one.created)}")
    if not found:
        click.echo("there is no snapshot; `cumulus snapshot create` makes one")


@snapshot.command("rollback")
def snapshot_rollback() -> None:
    """Promote the previous snapshot again."""
    with asking_the_cloud():
        told = SnapshotService(load_settings()).roll_back(administrator())
    click.echo(told)


@snapshot.command("prune")
@click.option("--keep", type=click.IntRange(1), default=2, show_default=True, help="How many of the newest stay.")
def snapshot_prune(keep: int) -> None:
    """Remove old snapshots; never the promoted one, the one before it, or one that a machine was made from.

    Example: cumulus snapshot prune --keep 3
    """
    for name in SnapshotService(load_settings()).prune(administrator(), keep, progress_on_stderr()):
        click.echo(f"removed {name}")
