"""``cumulus storage``: how full it is, what is no longer kept, and what can be restored."""

import sys
import time
from pathlib import Path

import click

from cumulus_client.storage import CleaningPlan, TrashEntry
from server.cli.installation.storage_files import get, ls, put, quota, rm
from server.cli.shared.arguments import TEXT, NotConfirmed, as_json_option
from server.cli.shared.backend import opened
from server.cli.shared.output import PATIENCE_S, progress_on_stderr, show_json, show_table
from server.services.times import local_time

DAY_S = 24 * 3600.0
GB = 1e9
KINDS = {"job": "archived job", "deleted": "deleted job", "data": "shared data"}


@click.group()
def storage() -> None:
    """The shared storage: its files; how full it is; clean it; restore from the trash.

    Example: cumulus storage usage
    """


for command in (ls, put, get, rm, quota):
    storage.add_command(command)


@storage.command("usage")
@as_json_option
def show_usage(as_json: bool) -> None:
    """Say how full the storage is, how much of it the trash takes, and why nothing is removed by its age, where that is so.

    Example: cumulus storage usage
    """
    found = opened().storage.usage()
    if as_json:
        show_json(found.model_dump())
        return
    total, used, free = (size / GB for size in (found.total_bytes, found.used_bytes, found.free_bytes))
    click.echo(f"{found.path}: {used:.1f} of {total:.1f} GB used, {free:.1f} GB free")
    if found.trash_bytes:
        click.echo(f"in the trash: {found.trash_bytes / GB:.2f} GB, for {found.trash_days:g} days or until room is short")
    if found.doubted:
        click.echo(f"nothing is removed by its age: {found.doubted}")


@storage.command()
def adopt() -> None:
    """Take the storage for this installation's own, where its home was lost, or its id.

    A home without jobs takes the place of the lost one: with its id the machines that still run are found again, and the next
    start makes the database from the job folders. The storage of a former server (2.x) is not adopted: see import-former.
    Example: cumulus storage adopt
    """
    from server.cli.shared.opening import administrator  # no controller can run where the storage is not its own
    from server.services.storage import StorageService
    from server.settings import load_settings

    click.echo(StorageService(load_settings()).adopt(administrator()))


@storage.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="For programs; with --yes or --dry-run.")
def clean(dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove finished jobs and shared data that nobody has used for data_max_age_days; what nobody knows is left alone.

    At once, into the trash: the controller does so by itself once a day with what was old the day before, too. The figures are
    what is given back in the end: a shared file that jobs have pinned is gone with the last of them.
    Example: cumulus storage clean --dry-run
    """
    client, progress = opened(to_change=not dry_run).storage, progress_on_stderr(PATIENCE_S)
    with progress.step("Looking at jobs and shared data"):
        plan = client.plan(is_dry=dry_run)
    removals, doubted = plan.removals, plan.doubted
    if not dry_run and removals:
        _require_yes(plan, yes=yes)
        with progress.step("Removing what nobody has used"):
            cleaned = client.clean(plan.plan)
        removals, doubted = cleaned.removed, cleaned.doubted
    if as_json:
        found = {"dry_run": dry_run, "removed": [one.model_dump() for one in removals], "unknown": plan.unknown}
        show_json({**found, "doubted": doubted})
        return
    for one in removals:
        click.echo(f"{'would remove' if dry_run else 'removed'}  {one.bytes / GB:8.2f} GB  {one.kind}  {one.name}: {one.reason}")
    for name in plan.unknown:
        click.echo(f"left alone, nobody knows it: {name}")
    click.echo(f"{sum(one.bytes for one in removals) / GB:.2f} GB in {len(removals)} entries")
    if dry_run and doubted:
        click.echo(f"the controller removes nothing by its age now: {doubted}")


@storage.command()
@as_json_option
def trash(as_json: bool) -> None:
    """List what was removed and can be restored, the latest first.

    Example: cumulus storage trash
    """
    found = opened().storage.trash()
    if as_json:
        show_json([one.model_dump() for one in found])
    elif found:
        show_table(("name", "what", "removed", "size", "stays", "why"), map(_cells, found))
    else:
        click.echo("the trash is empty")


@storage.command()
@click.argument("name", type=TEXT)
def restore(name: str) -> None:
    """Put back what is in the trash: NAME as `trash` shows it, a job's number, or the name of a shared file.

    An archived job is done, failed or cancelled again, with its results and its input. What an owner has deleted stays deleted:
    the message says where its files are. Example: cumulus storage restore 17
    """
    click.echo(opened(to_change=True).storage.restore(name))


def _require_yes(plan: CleaningPlan, *, yes: bool) -> None:
    """Raises NotConfirmed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise NotConfirmed("nothing was removed: say --yes where nobody can be asked, or --dry-run to look only")
    size = sum(one.bytes for one in plan.removals) / GB
    text = f"Remove {len(plan.removals)} entries ({size:.2f} GB)? It is {local_time(time.time())} by this computer's clock"
    if not click.confirm(text, err=True):
        raise NotConfirmed("nothing was removed")


def _cells(one: TrashEntry) -> tuple[str, ...]:
    return (
        one.entry,
        f"{KINDS[one.kind]} {Path(one.name).name}",
        local_time(one.at),
        f"{one.bytes / GB:.2f} GB",
        f"{one.stays_s / DAY_S:.1f} days",
        one.reason,
    )
