"""``cumulus storage``: how full it is, what is no longer kept, and what can be had back."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from programs.errors import login
from server.cli.shared.arguments import TEXT
from server.cli.shared.opening import open_rows, open_rows_to_change
from server.cli.shared.output import PATIENCE_S, progress_on_stderr, show_table
from server.db.models import Change
from server.engine.duties.retention import Plan, Removal, Retention
from server.engine.duties.sightings import TRASH, noted_bytes
from server.engine.duties.timekeeping import DAY_S, why_disagrees, why_doubted
from server.engine.duties.trashcan import Trashcan
from server.engine.records.storage_owner import adopt_storage, require_own_storage
from server.errors import CumulusError
from server.home.installation import nudge, only_controller
from server.services.times import local_time
from server.settings import Settings, load_settings, where_given
from server.storage.data import usage
from server.storage.folders import Storage
from server.storage.trash import Entry

GB = 1e9


class ClockDisagrees(CumulusError):
    """Ages cannot be told by this computer's clock."""

    code = "clock_disagrees"


class NotWished(CumulusError):
    """Nobody has said yes."""

    code = "not_wished"


@click.group()
def storage() -> None:
    """The shared storage."""


class NoStorage(CumulusError):
    """The folder of the storage is not there: it is not mounted, or the setting names another one."""

    code = "no_storage"


def require_storage(settings: Settings) -> None:
    """Raises NoStorage where there is nothing to look at."""
    if settings.storage.is_dir():
        return
    where = where_given("storage")
    raise NoStorage(f"there is no storage {settings.storage} ({where}): mount it, or set another one", field="setting storage")


@storage.command("usage")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show_usage(as_json: bool) -> None:
    """Say how full the storage is, how much of it the trash takes, and why nothing is removed by its age, where that is so."""
    settings, place = _opened()
    total, used, free = usage(place.root)
    trash, doubted = noted_bytes(TRASH), why_doubted(time.time())
    if as_json:
        sizes = {"total_bytes": total, "used_bytes": used, "free_bytes": free, "trash_bytes": trash}
        click.echo(json.dumps({"path": str(place.root), **sizes, "doubted": doubted}, indent=1))
        return
    click.echo(f"{place.root}: {used / GB:.1f} of {total / GB:.1f} GB used, {free / GB:.1f} GB free")
    if trash:
        click.echo(f"in the trash: {trash / GB:.2f} GB, for {settings.trash_days} days or until room is short")
    if doubted:
        click.echo(f"nothing is removed by its age: {doubted}")


@storage.command()
def adopt() -> None:
    """Take the storage for this installation's own, where its home was lost, or its id.

    A home without jobs takes the place of the lost one: with its id the machines that still run are found again, and the next
    start makes the database from the job folders. The storage of a former server (2.x) is not adopted: see import-former.
    """
    settings = load_settings()
    require_storage(settings)
    with only_controller(settings.home):
        click.echo(adopt_storage(settings))


@storage.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="For programs; with --yes or --dry-run.")
def clean(dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove finished jobs and shared data that nobody has used for data_max_age_days; what nobody knows is left alone.

    At once, into the trash: the controller does so by itself once a day with what was old the day before, too. The figures are
    what is given back in the end: a shared file that jobs have pinned is gone with the last of them.
    """
    settings, place = _opened(to_change=not dry_run)
    now = time.time()
    rules = Retention(place, settings.data_max_age_days, Trashcan(place, settings.trash_days))
    progress = progress_on_stderr(PATIENCE_S)
    with progress.step("Looking at jobs and shared data", "job folders") as step:
        plan = rules.plan(now, step.advance)
    removals: list[Removal] = list(plan.removals)
    if not dry_run and removals:
        _require_wish(plan, now, yes=yes)
        with progress.step("Removing what nobody has used", "entries") as step:
            removals = rules.remove(plan.removals, now, step.advance)
    if as_json:
        found = {"dry_run": dry_run, "removed": [asdict(one) for one in removals], "unknown": plan.unknown}
        click.echo(json.dumps({**found, "doubted": why_doubted(now)}, indent=1))
        return
    for one in removals:
        click.echo(f"{'would remove' if dry_run else 'removed'}  {one.bytes / GB:8.2f} GB  {one.kind}  {one.name}: {one.reason}")
    for name in plan.unknown:
        click.echo(f"left alone, nobody knows it: {name}")
    click.echo(f"{sum(one.bytes for one in removals) / GB:.2f} GB in {len(removals)} entries")
    if dry_run and (doubted := why_doubted(now)):
        click.echo(f"the controller removes nothing by its age now: {doubted}")


@storage.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def trash(as_json: bool) -> None:
    """List what was removed and can be had back, what went last first."""
    settings, place = _opened()
    found = [_told(entry, left_s) for entry, left_s in Trashcan(place, settings.trash_days).listed()]
    if as_json:
        click.echo(json.dumps(found, indent=1))
    elif found:
        show_table(("name", "what", "removed", "size", "stays", "why"), map(_cells, found))


@storage.command()
@click.argument("name", type=TEXT)
def restore(name: str) -> None:
    """Put back what is in the trash: NAME as `trash` shows it, a job's number, or the name of a shared file.

    An archived job is done, failed or cancelled again, with its results and its input. What an owner has deleted stays deleted:
    it is told where its files are.
    """
    settings, place = _opened(to_change=True)
    change = Change(time.time(), who=login(), text="restored from the trash")
    click.echo(Trashcan(place, settings.trash_days).restore(name, change))
    nudge(settings.home)


def _opened(*, to_change: bool = False) -> tuple[Settings, Storage]:
    """The settings, with the database open, and the storage. Raises NoInstallation, NoStorage, StorageNotOurs."""
    settings = open_rows_to_change() if to_change else open_rows()
    require_storage(settings)
    if to_change:
        require_own_storage(settings)
    return settings, Storage(settings.storage)


def _require_wish(plan: Plan, now: float, *, yes: bool) -> None:
    """Raises ClockDisagrees, NotWished."""
    if why := why_disagrees(now):
        raise ClockDisagrees(f"nothing was removed: {why}")
    if yes:
        return
    if not sys.stdin.isatty():
        raise NotWished("nothing was removed: say --yes where nobody can be asked, or --dry-run to look only")
    size = sum(one.bytes for one in plan.removals) / GB
    text = f"Remove {len(plan.removals)} entries ({size:.2f} GB)? It is {local_time(now)} by this computer's clock"
    if not click.confirm(text, err=True):
        raise NotWished("nothing was removed")


def _told(entry: Entry, left_s: float) -> dict[str, Any]:
    told = entry.told.model_dump(exclude={"version"}) if entry.told else {}
    return {"entry": entry.name, **told, "path": str(entry.content), "stays_s": round(left_s)}


def _cells(one: dict[str, Any]) -> tuple[str, ...]:
    kind = {"job": "archived job", "deleted": "deleted job", "data": "shared data"}[one["kind"]]
    return (
        one["entry"],
        f"{kind} {Path(one['name']).name}",
        local_time(one["at"]),
        f"{one['bytes'] / GB:.2f} GB",
        f"{one['stays_s'] / DAY_S:.1f} days",
        one["reason"],
    )
