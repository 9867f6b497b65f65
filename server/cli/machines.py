"""Commands about machines, for who looks after an installation: what nobody owns, what is held for inspection, the end of all.

What there is, is told by ``cumulus state``.
"""

import sys

import click

from programs.exits import ExitCode
from server.app import make_fleet
from server.cli.shared.arguments import JOB, as_json_option, number_between
from server.cli.shared.clouds import asking_the_cloud, cloud_to_look_at
from server.cli.shared.opening import administrator, open_rows, open_rows_to_change
from server.cli.shared.output import PATIENCE_S, printable, progress_on_stderr, show_json, show_table
from server.services.machines import MachineService, OrphanView, orphan_json, quota_json
from server.settings import Settings, load_settings
from server.workers.clouds.capabilities import Quota


@click.command()
@as_json_option
def quota(as_json: bool) -> None:
    """List what the cloud lets the project have and how much of it is used."""
    settings = load_settings()
    with asking_the_cloud():
        found = _service(settings).quotas(administrator(), cloud_to_look_at(settings))
    if as_json:
        show_json(list(map(quota_json, found)))
    elif found:
        show_table(("of", "used", "limit"), map(_quota_cells, found))
    else:
        click.echo(f"the cloud {settings.cloud} sets no limits")


@click.command()
@click.option(
    "--machines",
    is_flag=True,
    help="Remove every machine of this installation, too; their jobs are tried again at the next start.",
)
def stop(machines: bool) -> None:
    """End the controller in order; running jobs go on unless --machines is given."""
    _service(load_settings()).stop(administrator(), progress_on_stderr(PATIENCE_S), machines=machines)


@click.command()
@click.option("--delete", is_flag=True, help="Remove what is an orphan at two looks, a few seconds apart.")
@as_json_option
def orphans(delete: bool, as_json: bool) -> None:
    """List what the cloud and Terraform have of this installation and no job accounts for; nothing where there is nothing.

    The controller removes orphans by itself; this is for looking, and for when none runs. Exit code 1 if something could not be
    removed. A workspace is removed with its machine by `cumulus state destroy`, too.
    """
    service = _service(open_rows_to_change() if delete else open_rows())
    what = "Removing what no job accounts for" if delete else "Asking the cloud what there is"
    with progress_on_stderr(PATIENCE_S).step(what) as step:
        found = service.remove_orphans(administrator(), step.note) if delete else service.orphans(administrator())
    if as_json:
        show_json(list(map(orphan_json, found)))
    else:
        for one in found:
            click.echo(printable(f"{_fate(one) if delete else ''}{one.kind:10} {one.worker or '-':20} {one.identifier}"))
    sys.exit(ExitCode.FAILED if delete and not all(one.removed for one in found) else ExitCode.OK)


@click.command()
@click.argument("job_id", type=JOB)
@click.option("--hours", type=number_between(0, 24 * 30), default=24.0, show_default=True, help="For how long at most.")
@click.option("--release", is_flag=True, help="Hold it no longer.")
def hold(job_id: int, hours: float, release: bool) -> None:
    """Keep the machine of a job, should it fail, for inspection; prints how to log in. Its weight counts meanwhile.

    Examples: cumulus hold 17 --hours 4; cumulus hold 17 --release
    """
    service, who = _service(open_rows_to_change()), administrator()
    held = service.release(who, job_id) if release else service.hold(who, job_id, hours)
    click.echo(f"{held.worker} is {held.text}")
    if held.login:
        click.echo(held.login)


def _service(settings: Settings) -> MachineService:
    return MachineService(settings, make_fleet)


def _quota_cells(one: Quota) -> tuple[str, str, str]:
    return f"{one.name} (MB)" if one.name == "ram" else one.name, str(one.used), "none" if one.limit is None else str(one.limit)


def _fate(one: OrphanView) -> str:
    return "removed  " if one.removed else "left     "
