"""Commands about machines, for who looks after an installation: what nobody owns, what is held for inspection, the end of all.

What there is, is told by ``cumulus state``.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import click

from programs.errors import login
from programs.exits import ExitCode
from server import app as parts
from server.cli.shared.console import (
    JOB,
    PATIENCE_S,
    asking_the_cloud,
    cloud_to_look_at,
    find_job,
    local_time,
    number_between,
    open_rows,
    open_rows_to_change,
    printable,
    progress_on_stderr,
    show_table,
)
from server.db.models import Change, Job, Worker, living_workers, record_event
from server.db.opening import require_installation
from server.engine.duties.sweeper import Orphan, Sweeper
from server.errors import InvalidInput
from server.home.installation import end_controller, nudge, only_controller, running_controller
from server.settings import Settings, load_settings
from server.states import JobState, WorkerState
from server.workers.clouds import registry
from server.workers.clouds.capabilities import HasQuota, Quota

STOP_LIMIT_S = 30.0
APART_S = 3.0  # between the two looks at which something must be an orphan
HOUR_S = 3600.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def quota(as_json: bool) -> None:
    """List what the cloud lets the project have and how much of it is used; nothing where there is no such limit."""
    with asking_the_cloud():
        cloud = cloud_to_look_at(load_settings())
        found = cloud.quota.listed() if isinstance(cloud, HasQuota) else []
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=1))
        return
    if found:
        show_table(("of", "used", "limit"), map(_quota_cells, found))


@click.command()
@click.option(
    "--machines",
    is_flag=True,
    help="Remove every machine of this installation, too; their jobs are tried again at the next start.",
)
def stop(machines: bool) -> None:
    """End the controller in order; running jobs go on unless --machines is given."""
    settings, progress = load_settings(), progress_on_stderr(PATIENCE_S)
    if running_controller(settings.home) is None:
        require_installation(settings)
    with progress.step("Ending the controller"):
        end_controller(settings.home, STOP_LIMIT_S)
    if machines:
        with only_controller(settings.home), progress.step("Removing the machines", "machines") as step:
            cloud = registry.known_cloud(settings)
            cloud.start()
            try:
                parts.make_fleet(settings, cloud).remove_all(settings.storage / "jobs", step.advance)
            finally:
                cloud.stop()


@click.command()
@click.option("--delete", is_flag=True, help="Remove what is an orphan at two looks, a few seconds apart.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def orphans(delete: bool, as_json: bool) -> None:
    """List what the cloud and Terraform have of this installation and no job accounts for; nothing where there is nothing.

    The controller removes orphans by itself; this is for looking, and for when none runs. Exit code 1 if something could not be
    removed. A workspace is removed with its machine by `cumulus state destroy`, too.
    """
    settings = open_rows_to_change() if delete else open_rows()
    looking = progress_on_stderr(PATIENCE_S).step(
        "Removing what no job accounts for" if delete else "Asking the cloud what there is"
    )
    with _sweeper(settings, starting=delete) as sweeper, looking as step:
        found = sweeper.sweep().orphans if delete else sweeper.look().orphans
        if found and delete:
            step.note(f"{len(found)} found; looking once more")
            time.sleep(APART_S)
            sweeper.sweep()
        left = set(sweeper.look().orphans) if delete else set(found)
    if as_json:
        click.echo(json.dumps([{**asdict(one), "removed": one not in left} for one in found], indent=1))
    else:
        for one in found:
            click.echo(printable(f"{_fate(one, left, delete)}{one.kind:10} {one.worker or '-':20} {one.identifier}"))
    sys.exit(ExitCode.FAILED if delete and left else ExitCode.OK)


@click.command()
@click.argument("job_id", type=JOB)
@click.option("--hours", type=number_between(0, 24 * 30), default=24.0, show_default=True, help="For how long at most.")
@click.option("--release", is_flag=True, help="Hold it no longer.")
def hold(job_id: int, hours: float, release: bool) -> None:
    """Keep the machine of a job, should it fail, for inspection; prints how to log in. Its weight counts meanwhile."""
    settings = open_rows_to_change()
    worker = _machine_of(job_id)
    now = time.time()
    until = 0.0 if release else now + hours * HOUR_S
    text = "no longer held" if release else f"held until {local_time(until)}, should its job fail"
    Worker.update(held_until=until, not_before=0.0).where(Worker.id == worker.id).execute()
    record_event(Worker, worker.id, Change(now, who=login(), text=text))
    nudge(settings.home)
    click.echo(f"{worker.name} is {text}")
    if not release:
        job = Job.get_by_id(job_id)
        fleet = parts.make_fleet(settings, registry.known_cloud(settings))
        click.echo(fleet.login_command(worker.name, settings.storage / "jobs" / job.folder))


def _quota_cells(one: Quota) -> tuple[str, str, str]:
    return f"{one.name} (MB)" if one.name == "ram" else one.name, str(one.used), "none" if one.limit is None else str(one.limit)


def _fate(one: Orphan, left: set[Orphan], delete: bool) -> str:
    return "" if not delete else "left     " if one in left else "removed  "


@contextmanager
def _sweeper(settings: Settings, *, starting: bool) -> Iterator[Sweeper]:
    """``starting``: the cloud is made ready for removals, too."""
    cloud = registry.known_cloud(settings)
    if starting:
        cloud.start()
    try:
        yield Sweeper(cloud, parts.make_fleet(settings, cloud), settings.storage / "jobs")
    finally:
        if starting:
            cloud.stop()


def _machine_of(job_id: int) -> Worker:
    """The newest machine of a job. Raises NotFound where there is no job, InvalidInput where it has none for long."""
    job = find_job(job_id)
    workers = [worker for worker in living_workers() if worker.job_id == job_id and worker.state != WorkerState.DELETING]
    if not workers or (job.state in (JobState.DONE, JobState.CANCELLED) and workers[-1].state != WorkerState.HELD):
        raise InvalidInput(f"job {job_id} has no machine that could be held", field="job_id")
    return workers[-1]
