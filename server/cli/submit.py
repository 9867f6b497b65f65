"""``cumulus submit``: a job with files of this computer, or one for each of several files."""

import sys
from collections.abc import Mapping
from typing import Any

import click

from cumulus_client.client import Cumulus
from programs.exits import ExitCode
from programs.interruption import shielded
from server.catalog.apps import parsed
from server.catalog.model import App
from server.cli.accounts.credentials import default_owner
from server.cli.shared.arguments import FORM, JOB, TEXT
from server.cli.shared.backend import Rows, opened
from server.cli.shared.connection import (
    cancelled_on_failure,
    is_complete,
    require_deliverable,
    send,
    shared_files,
    taking_jobs,
)
from server.cli.shared.following import follow
from server.cli.shared.inputs import prepare, read_form, split
from server.cli.shared.output import printable
from server.errors import InvalidInput
from server.settings import load_settings


@click.command()
@click.argument("app", type=TEXT)
@click.argument("files", type=TEXT, nargs=-1)
@click.option("--flavor", type=TEXT, help="Machine size; default: the preset's, or the installation's.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=PATH",
    help="A file for the field NAME of the form; again for more. PATH alone: a file that the form of --settings names.",
)
@click.option(
    "--shared",
    "stored",
    multiple=True,
    metavar="NAME=FILE",
    help="A file of the storage's shared data, by its name there; FILE alone: one that the form of --settings names.",
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="NAME=VALUE",
    help="The value of the field NAME of the form; lists as JSON. Fields that are not given keep their defaults.",
)
@click.option("--settings", "form", type=FORM, help="A form as JSON to begin with, - for standard input.")
@click.option("--preset", type=TEXT, default="", metavar="NAME", help="A preset to begin with.")
@click.option("--each", type=TEXT, default="", metavar="NAME", help="A batch: one job for each of FILES, in the field NAME.")
@click.option("--owner", type=TEXT, default=default_owner, show_default="you")
@click.option("--description", type=TEXT, default="")
@click.option("--after", type=JOB, help="Start when that job is done.")
@click.option("--workflow", type=TEXT, default="", help="Name of the workflow that this is a step of.")
@click.option("--wait", "--follow", "wait", is_flag=True, help="Show the log until the job ends; exit code 3 if it fails.")
@click.pass_context
def submit(
    ctx: click.Context,
    app: str,
    files: tuple[str, ...],
    flavor: str | None,
    inputs: tuple[str, ...],
    stored: tuple[str, ...],
    sets: tuple[str, ...],
    form: Any,
    preset: str,
    each: str,
    owner: str,
    description: str,
    after: int | None,
    workflow: str,
    wait: bool,
) -> None:
    """Submit a job of APP to the running controller, with its input files from this computer; prints the job's number.

    With --each and FILES it is a batch, whose number is printed. After `cumulus login` the files are sent to the controller
    there; where the connection breaks, the sending is continued.
    Examples: cumulus submit comet_2019.015 --input spectra=my.mzML --input database=my.fasta --wait; cumulus submit
    comet_2019.015 *.mzML --each spectra --preset plasma --input database=my.fasta
    """
    settings = load_settings()
    known = parsed(opened(rows=Rows.IF_THERE).apps.form(app).xml)
    if each:
        if after is not None or workflow:
            raise InvalidInput("a batch of --each starts after no job: leave out --after and --workflow")
        own, others = _of_field(known, each, inputs)
        common = {"inputs": others, "stored": stored, "sets": sets, "form": form, "preset": preset, "wait": wait}
        _submit_batch(ctx, {**common, "app": app, "files": (*files, *own), "each": each}, flavor, owner, description)
        return
    if files:
        raise InvalidInput(f"{printable(files[0])}: say which field it is for: --input NAME=PATH, or --each NAME for a batch")
    given = read_form(form) if form else {}
    values, size = _preset(opened(), preset, app) if preset else ({}, "")
    prepared = prepare(known, given, sets, inputs, shared_files(settings), stored, values)
    cumulus = taking_jobs(settings)
    require_deliverable(settings, prepared)
    with shielded() as shield:  # a job that was taken is cancelled, whenever the signal comes
        submitted = cumulus.submissions.submit(
            app,
            prepared.settings,
            flavor=flavor or size,
            description=description,
            start_after=after,
            workflow=workflow,
            owner=owner,
            complete=is_complete(settings, prepared),
        )
        with cancelled_on_failure(cumulus, submitted), shield.lowered():
            send(settings, cumulus, submitted, prepared)
    click.echo(submitted.id)
    if wait and not follow(cumulus, submitted.id):
        sys.exit(ExitCode.JOB_FAILED)


def _preset(cumulus: Cumulus, name: str, app: str) -> tuple[Mapping[str, Any], str]:
    """The form and the machine size of a preset; what of it does not fit the app is said. Raises Refused."""
    found = cumulus.presets.get(name, app)
    for one in found.misfits:
        click.echo(printable(f"left out: {one.field}: {one.why}"), err=True)
    return found.form, found.flavor


def _of_field(app: App, each: str, inputs: tuple[str, ...]) -> tuple[list[str], tuple[str, ...]]:
    """The files that --input names for the field of a batch, and what it says beside."""
    named = [(text, split(app, text)) for text in inputs]
    own = [path for _, (name, is_named, path) in named if is_named and name == each]
    return own, tuple(text for text, (name, is_named, _) in named if not (is_named and name == each))


def _submit_batch(ctx: click.Context, fields: Mapping[str, Any], flavor: str | None, owner: str, description: str) -> None:
    from server.cli.batch.commands import submit as submit_batch

    if not fields["files"]:
        raise InvalidInput("--each: no files are given")
    more = {"flavor": flavor or "", "owner": owner, "description": description, "sheet": None, "columns": ()}
    ctx.invoke(submit_batch, **fields, **more, name="", key="", is_check=False, as_json=False)
