"""``cumulus import-former``: an installation of the former Cumulus server (2.x) continues as this one."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from server.cli.shared.arguments import as_json_option
from server.cli.shared.opening import administrator
from server.cli.shared.output import PATIENCE_S, printable, progress_on_stderr, show_json
from server.services.former_server.importing import FormerServerImport, plan_json
from server.services.former_server.plan import ImportPlan
from server.settings import load_settings

SHOWN = 10  # of each kind; --json has all
MACHINES = "its machine worker_job_{0} and volume volume_job_{0} may still be in the cloud: remove them there"


@click.command("import-former")
@click.argument("storage", type=click.Path(path_type=Path))
@click.argument("database", type=click.Path(path_type=Path), metavar="CUMULUS.DB")
@click.option("--dry-run", is_flag=True, help="Only say what would be done; writes nothing, anywhere.")
@as_json_option
def import_former(storage: Path, database: Path, *, dry_run: bool, as_json: bool) -> None:
    """Take over STORAGE and CUMULUS.DB of the former Cumulus server (2.x), with all jobs, results and shared data in place.

    The former server must not run. Its database and its files stay as they are: each job folder gets two small files more. What
    had not ended there is cancelled and never runs again. Safe to repeat; until it has ended, no controller starts there.
    Example: cumulus import-former /mnt/old /srv/cumulus.db --dry-run
    """
    taking = FormerServerImport(load_settings(), storage, database, progress_on_stderr(PATIENCE_S))
    plan = taking.planned(administrator()) if dry_run else taking.carry_out(administrator())
    _tell(plan, dry_run=dry_run, as_json=as_json)


def _tell(plan: ImportPlan, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        show_json({"dry_run": dry_run, **plan_json(plan)})
        return
    click.echo(f"{plan.rows} jobs of the former server; {'would be taken over' if dry_run else 'taken over'}:")
    for state, number in sorted(plan.jobs.items()):
        click.echo(f"{number:8} {state}")
    _tell_number("here already, left as they are", plan.there_already)
    _tell_list("deleted here since, not brought back", plan.deleted_since)
    _tell_map(
        "had not ended: cancelled, and never run again; their machines",
        {number: f"{status}; {MACHINES.format(number)}" for number, status in plan.unfinished.items()},
    )
    _tell_list("still run on a machine: wait for them", plan.at_work)
    _tell_list("other jobs here have their numbers", plan.taken_numbers)
    _tell_map("cannot be taken over", plan.left_out)
    _tell_map("have no folder: archived, only the list tells of them", plan.without_folder)
    _tell_list("folders that this user may not write into", plan.read_only)
    _tell_list("folders of no job, left alone", plan.folders_without_job)
    _tell_list("have no readable form", plan.forms_unreadable)
    _tell_list("started after a job that is not there", plan.followed_nothing)
    _tell_needs(plan)
    click.echo(
        f"{plan.data['known']} entries of the shared data are jobs' inputs; {plan.data['unknown']} have no owner and are kept"
    )
    if plan.due:
        click.echo(
            f"{plan.due} jobs are older than data_max_age_days, or archived: the first cleaning removes their content. "
            "Raise data_max_age_days before the first start to keep it"
        )
    click.echo(f"New jobs begin at number {plan.last + 1}")


def _tell_needs(plan: ImportPlan) -> None:
    for name, app in sorted(plan.apps.items()):
        if not app.known:
            click.echo(f"app missing: {printable(name)} ({app.jobs} jobs): they are listed, and cannot be run again")
        elif app.misfits:
            why = printable(app.why)
            click.echo(
                f"app {printable(name)}: {app.misfits} of {app.jobs} forms do not fit it any more, such as job {app.first}: {why}"
            )
    for name, flavor in sorted(plan.flavors.items()):
        if not flavor.known:
            click.echo(f"machine size missing: {printable(name) or 'none'} ({flavor.jobs} jobs)")


def _tell_number(what: str, number: int) -> None:
    if number:
        click.echo(f"{number:8} {what}")


def _tell_list(what: str, things: list[int] | list[str]) -> None:
    if things:
        click.echo(f"{len(things):8} {what}: {_few(str(thing) for thing in things[:SHOWN])}{_rest(len(things))}")


def _tell_map(what: str, things: Mapping[int, str]) -> None:
    _tell_number(what, len(things))
    for number, text in list(things.items())[:SHOWN]:
        click.echo(f"{'':9}job {number}: {printable(text)}")
    if len(things) > SHOWN:
        click.echo(f"{'':9}and {len(things) - SHOWN} more (--json has all)")


def _few(things: Iterable[str]) -> str:
    return ", ".join(map(printable, things))


def _rest(number: int) -> str:
    return f" and {number - SHOWN} more (--json has all)" if number > SHOWN else ""
