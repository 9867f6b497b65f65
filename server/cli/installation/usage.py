"""``cumulus usage``: what was used of machines and storage, and by whom."""

import sys

import click

from cumulus_client.usage import UsageQuery, UsageRow
from server.cli.shared.arguments import TEXT, as_json_option
from server.cli.shared.backend import opened
from server.cli.shared.output import show_json, show_table
from server.cli.shared.requests import asked

KEYS = ("user", "group", "app", "month")


@click.command()
@click.option("--by", type=click.Choice(KEYS), multiple=True, default=("user",), show_default=True, help="Again for more.")
@click.option("--from", "first", type=TEXT, default="", metavar="YYYY-MM-DD", help="The first day; default: of all time.")
@click.option("--to", "last", type=TEXT, default="", metavar="YYYY-MM-DD", help="The last day; default: today.")
@click.option("--csv", "as_csv", is_flag=True, help="For spreadsheets.")
@as_json_option
def usage(by: tuple[str, ...], first: str, last: str, as_csv: bool, as_json: bool) -> None:
    """Show what jobs have used: weight times hours of machines, hours of apps, GB times days of storage.

    An administrator sees everybody, a group manager the own groups, anybody else what is their own.

    Example: cumulus usage --by group --by month --from 2026-01-01 --csv
    """
    query = asked(UsageQuery, by=list(by), first=first, last=last)
    if as_csv:
        sys.stdout.buffer.write(opened().usage.csv(query))
        return
    found = opened().usage.get(query)
    if as_json:
        show_json(found.model_dump())
        return
    keys = [key for key in KEYS if key in by]
    columns = (*keys, "jobs", "weight hours", "job hours", "GB days")
    total = ("all", *[""] * (len(keys) - 1), *_figures(found.total))
    show_table(columns, [*((*(getattr(row, key) or "-" for key in keys), *_figures(row)) for row in found.rows), total])
    if found.unmeasured:
        click.echo(f"the storage of {found.unmeasured:,} jobs was not measured, and is not in these figures", err=True)


def _figures(row: UsageRow) -> tuple[str, ...]:
    return f"{row.jobs:,}", *(f"{value:,.1f}" for value in (row.weight_hours, row.job_hours, row.gb_days))
