"""Commands about jobs: list them, show one, print its log, end it."""

import json
import sys
from typing import Any

import click

from programs.errors import login
from programs.exits import ExitCode
from server.cli.shared.arguments import JOB, TEXT
from server.cli.shared.connection import client, follow, print_log
from server.cli.shared.opening import open_rows
from server.cli.shared.output import show_table
from server.db.models import Event, Job
from server.db.search import Listed, Query, find
from server.reasons import Reason
from server.services.figures import described, parse_figures, per_file, told_of
from server.services.job_lookup import find_job
from server.services.times import local_time
from server.settings import Settings, load_settings
from server.storage.folders import JobFolder, Storage

MAX_LISTED = 10_000_000


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--number", type=click.IntRange(-1, MAX_LISTED), default=100, show_default=True, help="How many; -1: all.")
@click.option("--owner", type=TEXT, default="", help="Only jobs of owners whose name contains this.")
def jobs(as_json: bool, number: int, owner: str) -> None:
    """List the newest jobs."""
    settings = open_rows()
    found = find(Query(owner=owner, limit=None if number < 0 else number))
    if as_json:
        click.echo(json.dumps([_summary(job, settings) for job in found], indent=1))
        return
    rows = [(str(job.id), job.owner, job.app, job.flavor, job.state, local_time(job.created), told_of(job)) for job in found]
    show_table(("id", "owner", "app", "flavor", "state", "created", "message"), rows)


@click.command()
@click.argument("job_id", type=JOB)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show(job_id: int, as_json: bool) -> None:
    """Show one job: where it stands, what happened to it, its result files."""
    settings = open_rows()
    job = find_job(job_id)
    summary = _summary(job, settings)
    folder = Storage(settings.storage).folder(job.folder)
    details = {
        **summary,
        "events": [
            _event(event) for event in Event.select().where(Event.subject == "job", Event.subject_id == job_id).order_by(Event.id)
        ],
        "per_file": [dict(zip(("name", "outcome", "message"), one, strict=True)) for one in _outcomes(folder, job)],
        "files": folder.outputs(),
    }
    if as_json:
        click.echo(json.dumps(details, indent=1))
        return
    for name, value in {**summary, "figures": described(summary["figures"])}.items():
        click.echo(f"{name:12} {_readable('; '.join(str(value).splitlines()))}")
    for event in details["events"]:
        change = f"{event['old'] or '·':>12} → {event['new']:12}"
        click.echo(f"  {event['at']}  {change} {event['who']} {event['reason']} {_readable(event['text'])}".rstrip())
        if event["advice"]:
            click.echo(f"{'':23}→ {event['advice']}")
    for one in details["per_file"]:
        click.echo(f"  {one['outcome']:>12}  {_readable(': '.join(filter(None, (one['name'], one['message']))))}")
    for path, size in details["files"]:
        click.echo(f"  {size:>12,}  {_readable(path)}")


@click.command()
@click.argument("job_id", type=JOB)
@click.option("-f", "--follow", "is_followed", is_flag=True, help="Go on until the job ends; exit code 3 if it fails.")
def logs(job_id: int, is_followed: bool) -> None:
    """Print all of a job's log, from its submission on."""
    settings = open_rows()
    job = find_job(job_id)
    if not is_followed:
        print_log(settings, job)
    elif not follow(settings, job_id):
        sys.exit(ExitCode.JOB_FAILED)


@click.command()
@click.argument("job_id", type=JOB)
@click.option("--owner", type=TEXT, default=login, show_default="your login")
def cancel(job_id: int, owner: str) -> None:
    """End a job, whatever it is doing."""
    click.echo(client(load_settings()).cancel(owner, job_id))


def _summary(job: Job | Listed, settings: Settings) -> dict[str, Any]:
    return {
        "id": job.id,
        "owner": job.owner,
        "app": job.app,
        "flavor": job.flavor,
        "state": job.state,
        "attempt": job.attempt,
        "reason": job.reason,
        "blame": str(reason.blame) if (reason := Reason.known(job.reason)) else "",
        "message": job.message,
        "warning": job.warning,
        "figures": parse_figures(job.figures),
        "created": job.created,
        "started": job.started,
        "ended": job.ended,
        "folder": str(Storage(settings.storage).folder(job.folder).path),
    }


def _outcomes(folder: JobFolder, job: Job) -> list[tuple[str, str, str]]:
    """How the app ended with each file, where it takes them one by one."""
    report = folder.report(job.attempt)
    return list(per_file(report.files, report.figures)) if report else []


def _event(event: Event) -> dict[str, Any]:
    return {
        "at": local_time(event.at),
        "who": event.who,
        "old": event.old,
        "new": event.new,
        "reason": event.reason,
        "text": event.text,
        "advice": reason.advice if (reason := Reason.known(event.reason)) else "",
    }


def _readable(text: str) -> str:
    """Text as any terminal takes it: a file's name need not be UTF-8."""
    return text.encode(errors="replace").decode()
