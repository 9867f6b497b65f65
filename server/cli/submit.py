"""``cumulus submit``: a job with files of this computer."""

import sys
from typing import Any

import click

from programs.errors import login
from programs.exits import ExitCode
from programs.interruption import shielded
from server.catalog.apps import parsed
from server.cli.shared.arguments import FORM, JOB, TEXT
from server.cli.shared.backend import Rows, opened
from server.cli.shared.connection import cancelled_on_failure, may_deliver, require_deliverable, send, taking_jobs
from server.cli.shared.following import follow
from server.cli.shared.inputs import prepare, read_form
from server.settings import load_settings
from server.storage.folders import Storage


@click.command()
@click.argument("app", type=TEXT)
@click.option("--flavor", type=TEXT, help="Machine size; default: the installation's.")
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
@click.option("--owner", type=TEXT, default=login, show_default="your login")
@click.option("--description", type=TEXT, default="")
@click.option("--after", type=JOB, help="Start when that job is done.")
@click.option("--workflow", type=TEXT, default="", help="Name of the workflow that this is a step of.")
@click.option("--wait", is_flag=True, help="Show the log until the job ends; exit code 3 if it fails.")
def submit(
    app: str,
    flavor: str | None,
    inputs: tuple[str, ...],
    stored: tuple[str, ...],
    sets: tuple[str, ...],
    form: Any,
    owner: str,
    description: str,
    after: int | None,
    workflow: str,
    wait: bool,
) -> None:
    """Submit a job of APP to the running controller, with its input files from this computer; prints the job's number.

    Example: cumulus submit comet_2019.015 --input spectra=my.mzML --input database=my.fasta --wait
    """
    settings = load_settings()
    given = read_form(form) if form else {}
    known = parsed(opened(rows=Rows.IF_THERE).apps.form(app).xml)
    prepared = prepare(known, given, sets, inputs, Storage(settings.storage).data, stored)
    cumulus = taking_jobs(settings)
    require_deliverable(settings, prepared)
    with shielded() as shield:  # a job that was taken is cancelled, whenever the signal comes
        submitted = cumulus.submissions.submit(
            app,
            prepared.settings,
            flavor=flavor or "",
            description=description,
            start_after=after,
            workflow=workflow,
            owner=owner,
            complete=not may_deliver(settings),
        )
        with cancelled_on_failure(cumulus, submitted), shield.lowered():
            send(settings, submitted, prepared)
    click.echo(submitted.id)
    if wait and not follow(cumulus, submitted.id):
        sys.exit(ExitCode.JOB_FAILED)
