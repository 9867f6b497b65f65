"""``cumulus snapshot``: copies of the template's disk."""

import click

from cumulus_client.snapshots import MOST_KEPT
from server.cli.shared.arguments import as_json_option
from server.cli.shared.backend import Rows, opened
from server.cli.shared.long_commands import LongCommands
from server.cli.shared.output import PATIENCE_S, asking_the_cloud, progress_on_stderr, show_json
from server.services.times import local_time


@click.group(cls=LongCommands)
def snapshot() -> None:
    """Copies of the template's disk; workers start from the promoted one.

    Example: cumulus snapshot list
    """


@snapshot.command("create")
def snapshot_create() -> None:
    """Copy the template, try every app on a machine of the copy, promote it if all is well; the previous one is kept.

    Example: cumulus snapshot create
    """
    from server.app import make_smoke_test  # minutes of work on this computer's own files, also where a controller runs
    from server.catalog.apps import Catalog
    from server.cli.shared.opening import administrator
    from server.services.machines.snapshots import SnapshotService
    from server.settings import load_settings

    settings = load_settings()
    SnapshotService(settings).create(administrator(), make_smoke_test(Catalog(settings.apps)), progress_on_stderr())


@snapshot.command("list")
@as_json_option
def snapshot_list(as_json: bool) -> None:
    """List the snapshots; * marks the promoted one.

    Example: cumulus snapshot list
    """
    snapshots = opened(rows=Rows.IF_THERE).snapshots
    with asking_the_cloud():
        found = snapshots.list()
    if as_json:
        show_json([one.model_dump() for one in found])
        return
    for one in found:
        click.echo(f"{'*' if one.promoted else ' '} {one.name}  {local_time(one.created)}")
    if not found:
        click.echo("there is no snapshot; `cumulus snapshot create` makes one")


@snapshot.command("rollback")
def snapshot_rollback() -> None:
    """Promote the previous snapshot again.

    Example: cumulus snapshot rollback
    """
    snapshots = opened(rows=Rows.IF_THERE).snapshots
    with asking_the_cloud():
        message = snapshots.roll_back()
    click.echo(message)


@snapshot.command("prune")
@click.option("--keep", type=click.IntRange(1, MOST_KEPT), default=2, show_default=True, help="How many of the newest stay.")
def snapshot_prune(keep: int) -> None:
    """Remove old snapshots; never the promoted one, the one before it, or one that a machine was made from.

    Example: cumulus snapshot prune --keep 3
    """
    snapshots = opened(rows=Rows.IF_THERE).snapshots
    with progress_on_stderr(PATIENCE_S).step("Removing old snapshots"):
        removed = snapshots.prune(keep)
    for name in removed:
        click.echo(f"removed {name}")
