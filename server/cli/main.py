"""The ``cumulus`` command. Thin: each command calls one thing below it and shows what comes back."""

import json
import logging
import sys
from typing import Any

import click
import structlog

from programs.commands import Commands
from programs.errors import login
from programs.exits import ExitCode
from programs.interruption import GIVEN_UP, interruption_means
from server import app as parts
from server.catalog.apps import Catalog
from server.cli import machines, queue
from server.cli.apps import apps
from server.cli.db import db
from server.cli.flavors import flavors
from server.cli.import_former import import_former
from server.cli.record import record, rerun
from server.cli.results import get
from server.cli.shared.connection import client, follow, print_log
from server.cli.shared.console import (
    JOB,
    PATIENCE_S,
    TEXT,
    asking_the_cloud,
    find_job,
    local_time,
    open_rows,
    progress_on_stderr,
    show_table,
)
from server.cli.state import state
from server.cli.storage import storage as storage_group
from server.cli.submit import submit
from server.cli.workflow import workflow
from server.db.models import Event, Job, unusable
from server.db.search import Listed, Query, find
from server.reasons import Reason
from server.serve import serve as run_server
from server.services.doctor import examine
from server.services.figures import described, parse_figures, per_file, told_of
from server.settings import Settings, load_settings
from server.storage.folders import JobFolder, Storage
from server.workers.clouds import registry
from server.workers.clouds.images import Template

MAX_LISTED = 10_000_000


class LongCommands(click.Group):
    """Commands that make something for minutes: whatever ends one, it takes down what it has at work, and says so."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; where it is interrupted, say what that means."""
        with interruption_means(GIVEN_UP):
            return super().invoke(ctx)


@click.group(cls=Commands, program="cumulus", unusable=unusable)
@click.version_option(parts.VERSION, prog_name="cumulus")
def main() -> None:
    """Run heavy programs on machines that live as long as the job."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=("timestamp", "level", "event"), bool_as_flag=False),
        ],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # as it is then: some commands replace it
    )
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")


for command in (
    submit,
    workflow,
    get,
    record,
    rerun,
    apps,
    db,
    import_former,
    storage_group,
    state,
    flavors,
    machines.quota,
    machines.stop,
    machines.orphans,
    machines.hold,
    queue.queue,
    queue.drain,
    queue.resume,
    queue.priority,
):
    main.add_command(command)


@main.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0: any free one.")
def serve(host: str | None, port: int | None) -> None:
    """Run the controller until SIGTERM or Ctrl-C."""
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    run_server(load_settings(**given))


@main.command()
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


@main.command()
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


@main.command()
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


@main.command()
@click.argument("job_id", type=JOB)
@click.option("--owner", type=TEXT, default=login, show_default="your login")
def cancel(job_id: int, owner: str) -> None:
    """End a job, whatever it is doing."""
    click.echo(client(load_settings()).cancel(owner, job_id))


@main.group(cls=LongCommands)
def template() -> None:
    """The machine that workers are copies of."""


@template.command("build")
@click.option("--fresh", is_flag=True, help="Build it anew even if there is one.")
def template_build(fresh: bool) -> None:
    """Build the template's disk with the apps on it, where there is none."""
    _making().build(progress_on_stderr(), fresh=fresh)


@template.command("boot")
def template_boot() -> None:
    """Start the template's machine to install or try something on it; prints how to log in."""
    click.echo(_making().boot(progress_on_stderr()))


@template.command("stop")
def template_stop() -> None:
    """Shut the template's machine down; its disk keeps what was installed."""
    _maker().stop(progress_on_stderr())


@main.group(cls=LongCommands)
def snapshot() -> None:
    """Copies of the template's disk; workers start from the promoted one."""


@snapshot.command("create")
def snapshot_create() -> None:
    """Copy the template, try every app on a machine of the copy, promote it if all is well; the previous one is kept."""
    settings = load_settings()
    _making().take_snapshot(parts.make_smoke_test(Catalog(settings.apps)), progress_on_stderr())


@snapshot.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def snapshot_list(as_json: bool) -> None:
    """List the snapshots; * marks the promoted one."""
    with asking_the_cloud():
        found = _maker().snapshots()
    if as_json:
        click.echo(json.dumps([{"name": s.name, "promoted": s.promoted, "created": s.created} for s in found], indent=1))
        return
    for one in found:
        click.echo(f"{'*' if one.promoted else ' '} {one.name}  {local_time(one.created)}")


@snapshot.command("rollback")
def snapshot_rollback() -> None:
    """Promote the previous snapshot again."""
    with asking_the_cloud():
        told = _maker().roll_back()
    click.echo(told)


@snapshot.command("prune")
@click.option("--keep", type=click.IntRange(1), default=2, show_default=True, help="How many of the newest stay.")
def snapshot_prune(keep: int) -> None:
    """Remove old snapshots; never the promoted one, the one before it, or one that a machine was made from."""
    for name in _maker().prune(keep, progress_on_stderr()):
        click.echo(f"removed {name}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> None:
    """Say what this computer lacks and how to get it; exit code 1 if something is missing."""
    with progress_on_stderr(PATIENCE_S).step("Looking at this computer and the cloud"):
        findings = examine(load_settings())
    if as_json:
        click.echo(json.dumps([{"name": f.name, "ok": f.ok, "text": f.text} for f in findings], indent=1))
    else:
        for finding in findings:
            click.echo(f"{'ok     ' if finding.ok else 'MISSING'}  {finding.name}: {finding.text}")
    sys.exit(ExitCode.OK if all(finding.ok for finding in findings) else ExitCode.FAILED)


def _maker() -> Template:
    """The template of the installation that there is. Raises NoInstallation."""
    return registry.known_cloud(load_settings()).images.template()


def _making() -> Template:
    """The template, for who makes something of it: an installation may begin so."""
    return registry.make_cloud(load_settings()).images.template()


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
