"""Commands about jobs: list them, show one, print its log, end it."""

import shutil
import sys
from typing import Any

import click

from cumulus_client.jobs import Event, Job, JobDetails
from programs.errors import login
from programs.exits import ExitCode
from server.cli.shared.arguments import JOB, TEXT, as_json_option
from server.cli.shared.backend import opened
from server.cli.shared.opening import administrator, open_rows
from server.cli.shared.output import show_json, show_table
from server.services.jobs.figures import described, in_a_line
from server.services.times import local_time, time_for_programs
from server.settings import load_settings

MAX_LISTED = 10_000_000
COPIED_BYTES = 1024 * 1024  # at once
COLUMNS = ("id", "owner", "app", "flavor", "state", "created", "message")


@click.command()
@as_json_option
@click.option("--number", type=click.IntRange(-1, MAX_LISTED), default=100, show_default=True, help="How many; -1: all.")
@click.option("--owner", type=TEXT, default="", help="Only jobs of owners whose name contains this.")
def jobs(as_json: bool, number: int, owner: str) -> None:
    """List the newest jobs.

    Example: cumulus jobs --owner ada --number 20
    """
    found = opened().jobs.list(owner, max(number, 0)) if number else []
    if as_json:
        show_json([one.model_dump() for one in found])
        return
    if found:
        show_table(COLUMNS, map(_cells, found))
    else:
        click.echo(f"there is no job of an owner whose name contains {owner!r}" if owner else "there is no job yet")


@click.command()
@click.argument("job_id", type=JOB)
@as_json_option
def show(job_id: int, as_json: bool) -> None:
    """Show one job: where it stands, what happened to it, its result files."""
    found = opened().jobs.get(job_id)
    if as_json:
        show_json(_for_programs(found))
        return
    for name in Job.model_fields:
        value = described(found.figures) if name == "figures" else getattr(found, name)
        click.echo(f"{name:12} {_readable('; '.join(str(value).splitlines()))}")
    for event in found.events:
        _show_event(event)
    for one in found.per_file:
        click.echo(f"  {one.outcome:>12}  {_readable(': '.join(filter(None, (one.name, one.message))))}")
    for file in found.files:
        click.echo(f"  {file.size:>12,}  {_readable(file.path)}")


@click.command()
@click.argument("job_id", type=JOB)
@click.option("-f", "--follow", "is_followed", is_flag=True, help="Go on until the job ends; exit code 3 if it fails.")
def logs(job_id: int, is_followed: bool) -> None:
    """Print all of a job's log, from its submission on."""
    from server.cli.shared.following import follow, job_logs  # `cumulus jobs` does without

    settings = open_rows()
    if is_followed:
        if not follow(settings, job_id):
            sys.exit(ExitCode.JOB_FAILED)
        return
    with job_logs(settings).whole(administrator(), job_id) as whole:
        shutil.copyfileobj(whole, sys.stdout.buffer, COPIED_BYTES)
    sys.stdout.buffer.flush()


@click.command()
@click.argument("job_id", type=JOB)
@click.option("--owner", type=TEXT, default=login, show_default="your login")
def cancel(job_id: int, owner: str) -> None:
    """End a job, whatever it is doing."""
    from server.cli.shared.connection import client  # `cumulus jobs` does without

    click.echo(client(load_settings()).cancel(owner, job_id))


def _cells(job: Job) -> tuple[str, ...]:
    message = in_a_line(job.message, job.warning, job.figures)
    return str(job.id), job.owner, job.app, job.flavor, job.state, local_time(job.created), message


def _show_event(event: Event) -> None:
    change = f"{event.old or '·':>12} → {event.new:12}"
    click.echo(f"  {local_time(event.at)}  {change} {event.who} {event.reason} {_readable(event.text)}".rstrip())
    if event.advice:
        click.echo(f"{'':23}→ {event.advice}")


def _for_programs(found: JobDetails) -> dict[str, Any]:
    """A job in the shape that programs have read from the first version on."""
    events = [{**event.model_dump(), "at": time_for_programs(event.at)} for event in found.events]
    return {**found.model_dump(), "events": events, "files": [[file.path, file.size] for file in found.files]}


def _readable(text: str) -> str:
    """Text as any terminal takes it: a file's name need not be UTF-8."""
    return text.encode(errors="replace").decode()
