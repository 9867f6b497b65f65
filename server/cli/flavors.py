"""``cumulus flavors``: the machine sizes of this installation, and how they compare with what the cloud has."""

import json
import sys
from dataclasses import asdict

import click

from programs.exits import ExitCode
from server.catalog.flavors import read_flavors
from server.catalog.flavorsfile import rewrite
from server.cli.shared.console import asking_the_cloud, cloud_to_look_at, printable, show_table
from server.settings import load_settings
from server.workers.clouds.capabilities import HasFlavors, HasPrewarming
from server.workers.flavor_check import Difference, compare

as_json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


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
    cloud, sizes = cloud_to_look_at(settings), read_flavors(settings.flavors)
    with asking_the_cloud():
        prewarming = cloud.prewarming if isinstance(cloud, HasPrewarming) else None
        boots = {name: prewarming.next_boot(flavor) if prewarming else "" for name, flavor in sizes.items()}
    found = [{**asdict(flavor), "next_boot": boots[name]} for name, flavor in sizes.items()]
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    names = ("name", "weight", "cpus", "memory_gb", "next_boot")
    show_table(("flavor", "weight", "cpus", "GB", "starts"), [[str(one[name]) or "-" for name in names] for one in found])


@flavors.command()
@click.option("--write", is_flag=True, help="Correct the file where that is the cure; comments, weights and order stay.")
@as_json_option
def sync(write: bool, as_json: bool) -> None:
    """Compare the machine sizes with what the cloud has, and say what to change; exit code 1 if anything differs."""
    settings = load_settings()
    known = read_flavors(settings.flavors)
    with asking_the_cloud():
        cloud = cloud_to_look_at(settings)
        sizes = cloud.flavors.listed() if isinstance(cloud, HasFlavors) else None
    found = [] if sizes is None else compare(list(known.values()), sizes, settings.worker_disk_gb)
    written = [one for one in found if one.cells] if write else []
    if written:
        rewrite(settings.flavors, {one.flavor: one.cells for one in written})
    if as_json:
        click.echo(
            json.dumps({"takes_any_size": sizes is None, "differences": [_as_json(one, written) for one in found]}, indent=1)
        )
    elif sizes is None:
        click.echo(f"the cloud {settings.cloud} has no sizes of its own: it takes any size")
    else:
        for one in found:
            click.echo(printable(f"{settings.flavors.name}: {one.flavor}: {one.text}; {_cure(one, written)}"))
        if not found:
            click.echo(f"all {len(known)} machine sizes are as the cloud has them")
    sys.exit(ExitCode.FAILED if len(found) > len(written) else ExitCode.OK)


def _cure(one: Difference, written: list[Difference]) -> str:
    return "written" if one in written else one.cure


def _as_json(one: Difference, written: list[Difference]) -> dict[str, object]:
    return {"flavor": one.flavor, "text": one.text, "cure": one.cure, "cells": one.cells, "written": one in written}
