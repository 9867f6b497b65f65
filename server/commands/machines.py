"""Commands about machines, for who looks after an installation: what there is, what nobody owns, what is held for inspection."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from getpass import getuser

import click
from rich.table import Table

from server import app as parts
from server.catalog.flavors import read_flavors
from server.commands.console import local_time, open_rows, show_table
from server.errors import InvalidInput
from server.installation import end_controller, nudge, only_controller
from server.models import Change, Job, Worker, living_workers, note
from server.settings import Settings, load_settings
from server.states import JobState, WorkerState
from server.workers.sweeper import Orphan, Sweeper

STOP_LIMIT_S = 30.0
APART_S = 3.0  # between the two looks at which something must be an orphan
HOUR_S = 3600.0
MB = 1 << 20


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def state(as_json: bool) -> None:
    """List the machines that Terraform knows with the memory they take here, and the plain terraform commands to look deeper."""
    settings = open_rows()
    cloud = parts.make_cloud(settings)
    rows = {worker.name: worker for worker in living_workers()}
    listed = parts.make_fleet(settings, cloud).machines()
    if as_json:
        found = [{**asdict(one), **_row(rows.get(one.worker))} for one in listed]
        click.echo(json.dumps(found, indent=1))
        return
    table = Table("workspace", "worker is", "machine runs", "started", "MB", "MB shared out", "serial", "resources", box=None)
    for one in listed:
        row = _row(rows.get(one.worker))
        memory = (one.memory.resident, one.memory.proportional) if one.memory else ()
        used = [f"{size / MB:.0f}" for size in memory] or ["-", "-"]
        runs, known = "yes" if one.alive else "no", row["state"] or "unknown here"
        table.add_row(one.worker, known, runs, row["boot"] or "-", *used, str(one.serial), " ".join(one.resources))
    show_table(table)
    for worker in rows.values():
        if worker.state == WorkerState.HELD:
            click.echo(f"{worker.name} is held {worker.message}")
    module = f"infra/terraform/{cloud.name}/worker"
    home = settings.home / "terraform"
    click.echo(f"export TF_CLI_CONFIG_FILE={home}/terraform.rc TF_DATA_DIR={home}/{cloud.name}-worker/data")
    click.echo(f"terraform -chdir={module} workspace list\nTF_WORKSPACE=NAME terraform -chdir={module} state list")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def flavors(as_json: bool) -> None:
    """List the machine sizes, and how a machine of each would start now: warm, or cold and why."""
    settings = load_settings()
    cloud, sizes = parts.make_cloud(settings), read_flavors(settings.flavors)
    found = [{**asdict(flavor), "next_boot": cloud.next_boot(flavor)} for flavor in sizes.values()]
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    table = Table("flavor", "weight", "cpus", "GB", "starts", box=None)
    for one in found:
        table.add_row(*(str(one[name]) for name in ("name", "weight", "cpus", "memory_gb")), str(one["next_boot"]) or "-")
    show_table(table)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def quota(as_json: bool) -> None:
    """List what the cloud lets the project have and how much of it is used; nothing where there is no such limit."""
    found = parts.make_cloud(load_settings()).quotas()
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=1))
        return
    if found:
        table = Table("of", "used", "limit", box=None)
        for one in found:
            table.add_row(
                f"{one.name} (MB)" if one.name == "ram" else one.name,
                str(one.used),
                "none" if one.limit is None else str(one.limit),
            )
        show_table(table)


@click.command()
@click.option(
    "--machines",
    is_flag=True,
    help="Remove every machine of this installation, too; their jobs are tried again at the next start.",
)
def stop(machines: bool) -> None:
    """End the controller in order; running jobs go on unless --machines is given."""
    settings = load_settings()
    end_controller(settings.home, STOP_LIMIT_S)
    if machines:
        with only_controller(settings.home):
            cloud = parts.make_cloud(settings)
            cloud.start()
            try:
                parts.make_fleet(settings, cloud).remove_all(settings.storage / "jobs")
            finally:
                cloud.stop()


@click.command()
@click.option("--delete", is_flag=True, help="Remove what is an orphan at two looks, a few seconds apart.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def orphans(delete: bool, as_json: bool) -> None:
    """List what the cloud and Terraform have of this installation and no job accounts for; nothing where there is nothing.

    The controller removes orphans by itself; this is for looking, and for when none runs.
    """
    settings = open_rows()
    with _sweeper(settings, starting=delete) as sweeper:
        found = sweeper.sweep().orphans if delete else sweeper.look().orphans
        if found and delete:
            time.sleep(APART_S)
            sweeper.sweep()
        left = set(sweeper.look().orphans) if delete else set(found)
    if as_json:
        click.echo(json.dumps([{**asdict(one), "removed": one not in left} for one in found], indent=1))
        return
    for one in found:
        click.echo(f"{_fate(one, left, delete)}{one.kind:10} {one.worker or '-':20} {one.identifier}")


@click.command()
@click.argument("job_id", type=int)
@click.option("--hours", type=click.FloatRange(0, 24 * 30), default=24.0, show_default=True, help="For how long at most.")
@click.option("--release", is_flag=True, help="Hold it no longer.")
def hold(job_id: int, hours: float, release: bool) -> None:
    """Keep the machine of a job, should it fail, for inspection; prints how to log in. Its weight counts meanwhile."""
    settings = open_rows()
    worker = _machine_of(job_id)
    now = time.time()
    until = 0.0 if release else now + hours * HOUR_S
    text = "no longer held" if release else f"held until {local_time(until)}, should its job fail"
    Worker.update(held_until=until, not_before=0.0).where(Worker.id == worker.id).execute()
    note(Worker, worker.id, Change(now, who=getuser(), text=text))
    nudge(settings.home)
    click.echo(f"{worker.name} is {text}")
    if not release:
        job = Job.get_by_id(job_id)
        fleet = parts.make_fleet(settings, parts.make_cloud(settings))
        click.echo(fleet.login_command(worker.name, settings.storage / "jobs" / job.folder))


def _row(worker: Worker | None) -> dict[str, str]:
    """What the database knows of a machine: its state and how it started, "" where it knows none."""
    return {"state": worker.state if worker else "", "boot": worker.boot if worker else ""}


def _fate(one: Orphan, left: set[Orphan], delete: bool) -> str:
    return "" if not delete else "left     " if one in left else "removed  "


@contextmanager
def _sweeper(settings: Settings, *, starting: bool) -> Iterator[Sweeper]:
    """``starting``: the cloud is made ready for removals, too."""
    cloud = parts.make_cloud(settings)
    if starting:
        cloud.start()
    try:
        yield Sweeper(cloud, parts.make_fleet(settings, cloud), settings.storage / "jobs")
    finally:
        if starting:
            cloud.stop()


def _machine_of(job_id: int) -> Worker:
    """The newest machine of a job. Raises InvalidInput where it has none, or will not have it much longer."""
    job = Job.get_or_none(Job.id == job_id)
    workers = [worker for worker in living_workers() if worker.job_id == job_id and worker.state != WorkerState.DELETING]
    if job is None or not workers or (job.state in (JobState.DONE, JobState.CANCELLED) and workers[-1].state != WorkerState.HELD):
        raise InvalidInput(f"job {job_id} has no machine that could be held", field="job_id")
    return workers[-1]
