"""``cumulus flavors``: the machine sizes of this installation, and how they compare with what the cloud has."""

import sys

import click

from programs.exits import ExitCode
from server.cli.shared.arguments import as_json_option
from server.cli.shared.clouds import asking_the_cloud, cloud_to_look_at
from server.cli.shared.opening import administrator
from server.cli.shared.output import printable, show_json, show_table
from server.services.flavors import DifferenceView, FlavorService, FlavorView, comparison_json, flavor_json
from server.settings import load_settings


@click.group(invoke_without_command=True)
@as_json_option
@click.pass_context
def flavors(ctx: click.Context, as_json: bool) -> None:
    """List the machine sizes, and how a machine of each would start now: warm, or cold and why."""
    if ctx.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError("--json stands behind the action")
        return
    settings = load_settings()
    with asking_the_cloud():
        found = FlavorService(settings, cloud_to_look_at(settings)).listed(administrator())
    if as_json:
        show_json(list(map(flavor_json, found)))
        return
    show_table(("flavor", "weight", "cpus", "GB", "starts"), map(_cells, found))


@flavors.command()
@click.option("--write", is_flag=True, help="Correct the file where that helps; comments, weights and order stay.")
@as_json_option
def sync(write: bool, as_json: bool) -> None:
    """Compare the machine sizes with what the cloud has, and say what to change; exit code 1 if anything differs."""
    settings = load_settings()
    with asking_the_cloud():
        found = FlavorService(settings, cloud_to_look_at(settings)).compared(administrator(), write=write)
    if as_json:
        show_json(comparison_json(found))
    elif found.takes_any_size:
        click.echo(f"the cloud {settings.cloud} has no sizes of its own: it takes any size")
    else:
        for one in found.differences:
            click.echo(printable(f"{settings.flavors.name}: {one.difference.flavor}: {one.difference.text}; {_cure(one)}"))
        if not found.differences:
            click.echo(f"all {found.known} machine sizes are as the cloud has them")
    sys.exit(ExitCode.OK if found.is_same else ExitCode.FAILED)


def _cure(one: DifferenceView) -> str:
    return "written" if one.written else one.difference.cure


def _cells(one: FlavorView) -> list[str]:
    flavor = one.flavor
    return [str(cell) or "-" for cell in (flavor.name, flavor.weight, flavor.cpus, flavor.memory_gb, one.next_boot)]
