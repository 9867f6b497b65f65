"""Commands about machines, for who looks after an installation: what nobody owns, what is held for inspection, the end of all.

Which machines there are is shown by ``cumulus state``.
"""

import sys

import click

from cumulus_client.workers import LONGEST_HOLD_H, Orphan, Quota
from programs.exits import ExitCode
from server.cli.shared.arguments import JOB, as_json_option, number_between
from server.cli.shared.backend import Rows, opened
from server.cli.shared.output import PATIENCE_S, asking_the_cloud, printable, progress_on_stderr, show_json, show_table


@click.command()
@as_json_option
def quota(as_json: bool) -> None:
    """List what the cloud lets the project have and how much of it is used.

    Example: cumulus quota
    """
    workers = opened(rows=Rows.IF_THERE).workers
    with asking_the_cloud():
        found = workers.quota()
    if as_json:
        show_json([one.model_dump() for one in found.quotas])
    elif found.quotas:
        show_table(("of", "used", "limit"), map(_quota_cells, found.quotas))
    else:
        click.echo(f"the cloud {found.cloud} sets no limits")


@click.command()
@click.option(
    "--machines",
    is_flag=True,
    help="Remove every machine of this installation, too; their jobs are tried again at the next start.",
)
def stop(machines: bool) -> None:
    """End the controller in order; running jobs go on unless --machines is given.

    Example: cumulus stop
    """
    from server.cli.shared.clouds import own_access  # only this command works without the controller that it ends
    from server.cli.shared.opening import administrator
    from server.services.machines.service import MachineService
    from server.settings import load_settings

    settings = load_settings()
    service = MachineService(settings, own_access(settings))
    service.stop(administrator(), progress_on_stderr(PATIENCE_S), machines=machines)


@click.command()
@click.option("--delete", is_flag=True, help="Remove what is an orphan at two inspections, a few seconds apart.")
@as_json_option
def orphans(delete: bool, as_json: bool) -> None:
    """List what the cloud and Terraform have of this installation and no job accounts for; nothing where there is nothing.

    The controller removes orphans by itself; this is for looking, and for when none runs. Exit code 1 if something could not be
    removed. A workspace is removed with its machine by `cumulus state destroy`, too. Example: cumulus orphans --delete
    """
    workers = opened(to_change=delete).workers
    what = "Removing what no job accounts for" if delete else "Asking the cloud what there is"
    with progress_on_stderr(PATIENCE_S).step(what):
        found = workers.remove_orphans() if delete else workers.orphans()
    if as_json:
        show_json([one.model_dump() for one in found])
    else:
        for one in found:
            click.echo(printable(f"{_fate(one) if delete else ''}{one.kind:10} {one.worker or '-':20} {one.identifier}"))
    sys.exit(ExitCode.FAILED if delete and not all(one.removed for one in found) else ExitCode.OK)


@click.command()
@click.argument("job_id", type=JOB)
@click.option("--hours", type=number_between(0, LONGEST_HOLD_H), default=24.0, show_default=True, help="For how long at most.")
@click.option("--release", is_flag=True, help="Hold it no longer.")
def hold(job_id: int, hours: float, release: bool) -> None:
    """Keep the machine of a job, should it fail, for inspection; prints how to log in. Its weight counts meanwhile.

    Examples: cumulus hold 17 --hours 4; cumulus hold 17 --release
    """
    workers = opened(to_change=True).workers
    held = workers.release(job_id) if release else workers.hold(job_id, hours)
    click.echo(f"{held.worker} is {held.message}")
    if held.login:
        click.echo(held.login)


def _quota_cells(one: Quota) -> tuple[str, str, str]:
    return f"{one.name} (MB)" if one.name == "ram" else one.name, str(one.used), "none" if one.limit is None else str(one.limit)


def _fate(one: Orphan) -> str:
    return "removed  " if one.removed else "left     "
