"""``cumulus flavors``: the machine sizes of this installation, and how they compare with what the cloud has."""

import sys

import click

from cumulus_client.flavors import Flavor, FlavorDifference
from programs.exits import ExitCode
from server.cli.shared.arguments import as_json_option
from server.cli.shared.backend import Rows, opened
from server.cli.shared.output import asking_the_cloud, printable, show_json, show_table


@click.group(invoke_without_command=True)
@as_json_option
@click.pass_context
def flavors(ctx: click.Context, as_json: bool) -> None:
    """List the machine sizes, and how a machine of each would start now: warm, or cold and why.

    Example: cumulus flavors
    """
    if ctx.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError("--json stands behind the action")
        return
    client = opened(rows=Rows.IF_THERE).flavors
    with asking_the_cloud():
        found = client.list().flavors
    if as_json:
        show_json([one.model_dump() for one in found])
        return
    show_table(("flavor", "weight", "cpus", "GB", "starts"), map(_cells, found))


@flavors.command()
@click.option("--write", is_flag=True, help="Correct the file where that helps; comments, weights and order stay.")
@as_json_option
def sync(write: bool, as_json: bool) -> None:
    """Compare the machine sizes with what the cloud has, and say what to change; exit code 1 if anything differs.

    Example: cumulus flavors sync --write
    """
    client = opened(rows=Rows.IF_THERE).flavors
    with asking_the_cloud():
        found = client.sync() if write else client.compare()
    if as_json:
        show_json(found.model_dump(include={"takes_any_size", "differences"}))
    elif found.takes_any_size:
        click.echo(f"the cloud {found.cloud} has no sizes of its own: it takes any size")
    else:
        for one in found.differences:
            click.echo(printable(f"{found.file}: {one.flavor}: {one.text}; {_remedy(one)}"))
        if not found.differences:
            click.echo(f"all {found.known} machine sizes are as the cloud has them")
    sys.exit(ExitCode.OK if found.same else ExitCode.FAILED)


def _remedy(one: FlavorDifference) -> str:
    return "written" if one.written else one.cure


def _cells(flavor: Flavor) -> list[str]:
    return [str(cell) or "-" for cell in (flavor.name, flavor.weight, flavor.cpus, flavor.memory_gb, flavor.next_boot)]
