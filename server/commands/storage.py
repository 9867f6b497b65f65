"""``cumulus storage``: how full it is, and what is no longer kept."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict

import click

from server.commands.console import PATIENCE_S, progress_on_stderr
from server.installation import only_controller
from server.jobs.ownership import adopt_storage, require_own_storage
from server.jobs.retention import Removal, Retention
from server.models import open_database
from server.settings import load_settings
from server.storage.data import usage
from server.storage.folders import Storage

GB = 1e9


@click.group()
def storage() -> None:
    """The shared storage."""


@storage.command("usage")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show_usage(as_json: bool) -> None:
    """Say how full the storage is."""
    settings = load_settings()
    place = Storage(settings.storage)
    place.prepare()
    total, used, free = usage(place.root)
    if as_json:
        click.echo(json.dumps({"path": str(place.root), "total_bytes": total, "used_bytes": used, "free_bytes": free}, indent=1))
    else:
        click.echo(f"{place.root}: {used / GB:.1f} of {total / GB:.1f} GB used, {free / GB:.1f} GB free")


@storage.command()
def adopt() -> None:
    """Take the storage for this installation's own, where its home was lost, or its id.

    A home without jobs takes the place of the lost one: with its id the machines that still run are found again, and the next
    start makes the database from the job folders. The storage of a former server (2.x) is not adopted: see import-former.
    """
    settings = load_settings()
    with only_controller(settings.home):
        click.echo(adopt_storage(settings))


@storage.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def clean(dry_run: bool, as_json: bool) -> None:
    """Remove finished jobs and shared data that nobody has used for data_max_age_days; what nobody knows is left alone.

    The figures are what is given back: a shared file that jobs have pinned is gone with the last of them.
    """
    settings = load_settings()
    require_own_storage(settings)
    open_database(settings.database)
    place = Storage(settings.storage)
    place.prepare()
    rules, now = Retention(place, settings.data_max_age_days), time.time()
    progress = progress_on_stderr(PATIENCE_S)
    with progress.step("Looking at jobs and shared data", "job folders") as step:
        plan = rules.plan(now, step.advance)
    removals: Sequence[Removal] = plan.removals
    if not dry_run:
        with progress.step("Removing what nobody has used", "entries") as step:
            removals = rules.clean(now, plan, step.advance)
    if as_json:
        found = {"dry_run": dry_run, "removed": [asdict(one) for one in removals], "unknown": plan.unknown}
        click.echo(json.dumps(found, indent=1))
        return
    for one in removals:
        click.echo(f"{'would remove' if dry_run else 'removed'}  {one.bytes / GB:8.2f} GB  {one.kind}  {one.name}: {one.reason}")
    for name in plan.unknown:
        click.echo(f"left alone, nobody knows it: {name}")
    click.echo(f"{sum(one.bytes for one in removals) / GB:.2f} GB in {len(removals)} entries")
