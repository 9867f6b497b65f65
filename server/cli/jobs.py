"""Commands about jobs: list them, show one, print its log, end it."""

import sys
from datetime import datetime
from typing import Any, get_args

import click

from cumulus_client.jobs import MAX_LISTED, Event, Job, JobDetails, State
from programs.exits import ExitCode
from server.cli.shared.arguments import JOB, TEXT, NotConfirmed, as_json_option
from server.cli.shared.backend import opened
from server.cli.shared.output import show_json, show_table
from server.services.jobs.figures import described, in_a_line
from server.services.times import local_time, time_for_programs
from server.settings import load_settings

DAY = click.DateTime(["%Y-%m-%d"])
COLUMNS = ("id", "owner", "app", "flavor", "state", "created", "message")


@click.command()
@as_json_option
@click.option("--number", type=click.IntRange(-1, MAX_LISTED), default=100, show_default=True, help="How many; -1: all.")
@click.option("--owner", type=TEXT, default="", help="Only jobs of owners whose name contains this.")
@click.option("--app", type=TEXT, default="", help="Only jobs of apps whose name contains this.")
@click.option(
    "--state", "states", type=click.Choice(get_args(State)), multiple=True, help="Only jobs in this state; again for more."
)
@click.option("--text", type=TEXT, default="", help="Only jobs with this in their description or in an input file's name.")
@click.option("--since", type=DAY, help="Only jobs that were submitted on this day or later.", metavar="YYYY-MM-DD")
def jobs(as_json: bool, number: int, owner: str, app: str, states: tuple[str, ...], text: str, since: datetime | None) -> None:
    """List the newest jobs.

    Example: cumulus jobs --state failed --state cancelled --number 20
    """
    given = {"app": app, "text": text, "state": list(states), "created_from": since and since.timestamp()}
    filters = {name: value for name, value in given.items() if value}
    found = opened().jobs.list(owner, max(number, 0), **filters) if number else []
    if as_json:
        show_json([one.model_dump() for one in found])
        return
    if found:
        show_table(COLUMNS, map(_cells, found))
    else:
        click.echo(_none(owner, filtered=bool(filters)))


@click.command()
@click.argument("job_id", type=JOB)
@as_json_option
def show(job_id: int, as_json: bool) -> None:
    """Show one job: where it stands, what happened to it, its result files.

    Example: cumulus show 12 --json
    """
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
    """Print all of a job's log, from its submission on.

    Example: cumulus logs -f 12
    """
    from server.cli.shared.following import follow  # `cumulus jobs` does without

    cumulus = opened()
    if is_followed:
        if not follow(cumulus, job_id):
            sys.exit(ExitCode.JOB_FAILED)
        return
    with cumulus.logs.whole(job_id) as whole:
        for part in whole.parts():
            sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()


@click.command()
@click.argument("job_id", type=JOB)
@click.option("--owner", type=TEXT, default="", help="Only if the job is this owner's; else nothing is done.")
def cancel(job_id: int, owner: str) -> None:
    """End a job with its workflow, whatever it is doing.

    Example: cumulus cancel 12
    """
    from server.cli.shared.connection import taking_jobs  # `cumulus jobs` does without

    click.echo(taking_jobs(load_settings()).jobs.cancel(job_id, owner))


@click.command()
@click.argument("job_id", type=JOB)
@click.option("--owner", type=TEXT, default="", help="Only if the job is this owner's; else nothing is done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(job_id: int, owner: str, yes: bool) -> None:
    """Delete a job that has ended, with its workflow, its files and its record, for everybody.

    Example: cumulus delete 12 --yes
    """
    from server.cli.shared.connection import known_settings, taking_jobs  # `cumulus jobs` does without

    cumulus = taking_jobs(known_settings())
    _require_yes(job_id, yes=yes)
    click.echo(cumulus.jobs.delete(job_id, owner))


def _require_yes(job_id: int, *, yes: bool) -> None:
    """Raises NotConfirmed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise NotConfirmed("nothing was deleted: say --yes where nobody can be asked")
    if not click.confirm(f"Delete job {job_id} with its workflow and its files, for everybody?", err=True):
        raise NotConfirmed("nothing was deleted")


def _none(owner: str, *, filtered: bool) -> str:
    if filtered:
        return "no job matches"
    return f"there is no job of an owner whose name contains {owner!r}" if owner else "there is no job yet"


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
