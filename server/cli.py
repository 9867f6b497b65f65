"""The ``cumulus`` command. Thin: each command calls one thing below it and shows what comes back."""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
import structlog

from programs.commands import Commands
from programs.errors import login
from programs.exits import ExitCode
from server import app as parts
from server.catalog.apps import Catalog
from server.catalog.values import input_files
from server.client import Client, Unreachable
from server.commands import machines, queue
from server.commands.apps import apps
from server.commands.console import FORM, JOB, TEXT, local_time, no_job, open_rows, read_form, show_table
from server.commands.db import db
from server.commands.flavors import flavors
from server.commands.state import state
from server.commands.storage import storage as storage_group
from server.doctor import examine
from server.errors import CumulusError
from server.installation import running_controller
from server.jobs.search import Listed, Query, find
from server.models import Event, Job, open_database, unusable
from server.serve import serve as run_server
from server.settings import Settings, load_settings
from server.states import JobState, Reason
from server.storage.delivery import deliver
from server.storage.folders import Storage
from server.workers.clouds.base import Template

POLL_S = 0.5
MAX_LISTED = 10_000_000


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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")


for command in (
    apps,
    db,
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
@click.argument("app", type=TEXT)
@click.option("--flavor", type=TEXT, help="Machine size; default: the installation's.")
@click.option("--settings", "form", type=FORM, required=True, help="The form as JSON, - for standard input.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A file that the settings name; again for more.",
)
@click.option("--owner", type=TEXT, default=login, show_default="your login")
@click.option("--description", type=TEXT, default="")
@click.option("--after", type=JOB, help="Start when that job is done.")
@click.option("--workflow", type=TEXT, default="", help="Name of the workflow that this is a step of.")
@click.option("--wait", is_flag=True, help="Show the log until the job ends; exit code 3 if it fails.")
def submit(
    app: str,
    flavor: str | None,
    form: Any,
    inputs: tuple[Path, ...],
    owner: str,
    description: str,
    after: int | None,
    workflow: str,
    wait: bool,
) -> None:
    """Submit a job of APP to the running controller, with its input files from this computer."""
    settings = load_settings()
    values = read_form(form)
    shared = {file.name for file in input_files(Catalog(settings.apps).get(app), values) if file.shared}
    started = client(settings).start(owner, app, flavor or settings.default_flavor, values, description, after, workflow)
    with _cancelled_if_left(settings, owner, started.job_id):
        storage = Storage(settings.storage)
        deliver(
            storage,
            storage.folder(started.folder),
            [path for path in inputs if path.name in shared],
            [path for path in inputs if path.name not in shared],
        )
    click.echo(started.job_id)
    if wait and not _follow(settings, started.job_id):
        sys.exit(ExitCode.JOB_FAILED)


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
    rows = [(str(job.id), job.owner, job.app, job.flavor, job.state, local_time(job.created), job.message) for job in found]
    show_table(("id", "owner", "app", "flavor", "state", "created", "message"), rows)


@main.command()
@click.argument("job_id", type=JOB)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show(job_id: int, as_json: bool) -> None:
    """Show one job: where it stands, what happened to it, its result files."""
    settings = open_rows()
    job = _job(job_id)
    summary = _summary(job, settings)
    details = {
        **summary,
        "events": [
            _event(event) for event in Event.select().where(Event.subject == "job", Event.subject_id == job_id).order_by(Event.id)
        ],
        "files": Storage(settings.storage).folder(job.folder).outputs(),
    }
    if as_json:
        click.echo(json.dumps(details, indent=1))
        return
    for name, value in summary.items():
        click.echo(f"{name:12} {_readable(str(value))}")
    for event in details["events"]:
        change = f"{event['old'] or '·':>12} → {event['new']:12}"
        click.echo(f"  {event['at']}  {change} {event['who']} {event['reason']} {_readable(event['text'])}".rstrip())
        if event["advice"]:
            click.echo(f"{'':23}→ {event['advice']}")
    for path, size in details["files"]:
        click.echo(f"  {size:>12,}  {_readable(path)}")


@main.command()
@click.argument("job_id", type=JOB)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends; exit code 3 if it fails.")
def logs(job_id: int, follow: bool) -> None:
    """Print a job's log."""
    settings = open_rows()
    job = _job(job_id)
    if not follow:
        click.echo(Storage(settings.storage).folder(job.folder).log(), nl=False)
    elif not _follow(settings, job_id):
        sys.exit(ExitCode.JOB_FAILED)


@main.command()
@click.argument("job_id", type=JOB)
@click.option("--owner", type=TEXT, default=login, show_default="your login")
def cancel(job_id: int, owner: str) -> None:
    """End a job, whatever it is doing."""
    click.echo(client(load_settings()).cancel(owner, job_id))


@main.group()
def template() -> None:
    """The machine that workers are copies of."""


@template.command("build")
@click.option("--fresh", is_flag=True, help="Build it anew even if there is one.")
def template_build(fresh: bool) -> None:
    """Build the template's disk with the apps on it, where there is none."""
    _maker().build(_say, fresh=fresh)


@template.command("boot")
def template_boot() -> None:
    """Start the template's machine to install or try something on it; prints how to log in."""
    click.echo(_maker().boot(_say))


@template.command("stop")
def template_stop() -> None:
    """Shut the template's machine down; its disk keeps what was installed."""
    _maker().stop(_say)


@main.group()
def snapshot() -> None:
    """Copies of the template's disk; workers start from the promoted one."""


@snapshot.command("create")
def snapshot_create() -> None:
    """Copy the template, try every app on a machine of the copy, promote it if all is well; the previous one is kept."""
    settings = load_settings()
    _maker().take_snapshot(parts.make_trial(Catalog(settings.apps)), _say)


@snapshot.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def snapshot_list(as_json: bool) -> None:
    """List the snapshots; * marks the promoted one."""
    found = _maker().snapshots()
    if as_json:
        click.echo(json.dumps([{"name": s.name, "promoted": s.promoted, "created": s.created} for s in found], indent=1))
        return
    for one in found:
        click.echo(f"{'*' if one.promoted else ' '} {one.name}  {local_time(one.created)}")


@snapshot.command("rollback")
def snapshot_rollback() -> None:
    """Promote the previous snapshot again."""
    click.echo(_maker().roll_back())


@snapshot.command("prune")
@click.option("--keep", type=click.IntRange(1), default=2, show_default=True, help="How many of the newest stay.")
def snapshot_prune(keep: int) -> None:
    """Remove old snapshots; never the promoted one, the one before it, or one that a machine was made from."""
    for name in _maker().prune(keep, _say):
        click.echo(f"removed {name}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> None:
    """Say what this computer lacks and how to get it; exit code 1 if something is missing."""
    findings = examine(load_settings())
    if as_json:
        click.echo(json.dumps([{"name": f.name, "ok": f.ok, "text": f.text} for f in findings], indent=1))
    else:
        for finding in findings:
            click.echo(f"{'ok     ' if finding.ok else 'MISSING'}  {finding.name}: {finding.text}")
    sys.exit(ExitCode.OK if all(finding.ok for finding in findings) else ExitCode.FAILED)


def client(settings: Settings) -> Client:
    """A client of the controller that runs on this installation. Raises Unreachable."""
    running = running_controller(settings.home)
    if running is None:
        raise Unreachable("no controller runs on this installation: start one with `make run` or `cumulus serve`")
    return Client(running.url)


@contextmanager
def _cancelled_if_left(settings: Settings, owner: str, job_id: int) -> Iterator[None]:
    """A job whose files do not come is cancelled: it would wait for them for a day."""
    try:
        yield
    except BaseException:
        with suppress(CumulusError):
            _say(client(settings).cancel(owner, job_id))
        raise


def _maker() -> Template:
    settings = load_settings()
    return parts.make_cloud(settings).template()


def _say(text: str) -> None:
    click.echo(text, err=True)


def _job(job_id: int) -> Job:
    job = Job.get_or_none(Job.id == job_id)
    if job is None:
        raise no_job(job_id)
    found: Job = job
    return found


def _follow(settings: Settings, job_id: int) -> bool:
    """Print the log as it grows until the job ends; True if it is done."""
    open_database(settings.database)
    for text in _growth(lambda: _job(job_id), Storage(settings.storage)):
        click.echo(text, nl=False)
    job = _job(job_id)
    if job.message:
        click.echo(job.message, err=True)
    return JobState.DONE in (job.state, job.outcome)


def _growth(look: Callable[[], Job], storage: Storage) -> Iterator[str]:
    """What a job's log gains until the job has ended."""
    position = 0
    while True:
        job = look()
        text, position = storage.folder(job.folder).log_from(position)
        if text:
            yield text
        elif JobState(job.state).is_final:
            return
        else:
            time.sleep(POLL_S)


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
        "created": job.created,
        "started": job.started,
        "ended": job.ended,
        "folder": str(Storage(settings.storage).folder(job.folder).path),
    }


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
