"""``cumulus storage``: how full it is, and what is no longer kept."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict

import click

from server.commands.console import PATIENCE_S, open_rows, open_rows_to_change, progress_on_stderr
from server.errors import CumulusError
from server.jobs.retention import Removal, Retention
from server.opening import require_installation
from server.settings import Settings, load_settings, where_given
from server.storage.data import usage
from server.storage.folders import Storage

GB = 1e9


@click.group()
def storage() -> None:
    """The shared storage."""


class NoStorage(CumulusError):
    """The folder of the storage is not there: it is not mounted, or the setting names another one."""

    code = "no_storage"


def require_storage(settings: Settings) -> None:
    """Raises NoInstallation, NoStorage where there is nothing to look at."""
    if settings.storage.is_dir():
        return
    require_installation(settings)
    where = where_given("storage")
    raise NoStorage(f"there is no storage {settings.storage} ({where}): mount it, or set another one", field="setting storage")


@storage.command("usage")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show_usage(as_json: bool) -> None:
    """Say how full the storage is."""
    settings = load_settings()
    place = Storage(settings.storage)
    require_storage(settings)
    total, used, free = usage(place.root)
    if as_json:
        click.echo(json.dumps({"path": str(place.root), "total_bytes": total, "used_bytes": used, "free_bytes": free}, indent=1))
    else:
        click.echo(f"{place.root}: {used / GB:.1f} of {total / GB:.1f} GB used, {free / GB:.1f} GB free")


@storage.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def clean(dry_run: bool, as_json: bool) -> None:
    """Remove finished jobs and shared data that nobody has used for data_max_age_days; what nobody knows is left alone.

    The figures are what is given back: a shared file that jobs have pinned is gone with the last of them.
    """
    settings = open_rows() if dry_run else open_rows_to_change()
    require_storage(settings)
    place = Storage(settings.storage)
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
