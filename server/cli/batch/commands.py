"""``cumulus batch``: many jobs of one app, submitted, followed, cancelled and retried as one."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import click

from cumulus_client.batches import Batch, BatchDetails, BatchJob, BatchPlan, NewBatch, State, Submitted
from cumulus_client.client import Cumulus
from programs.exits import ExitCode
from programs.interruption import shielded
from server.cli.shared.arguments import FORM, TEXT, as_json_option
from server.cli.shared.backend import Rows, opened
from server.cli.shared.output import PATIENCE_S, printable, progress_on_stderr, show_json, show_table
from server.cli.shared.requests import asked
from server.services.times import local_time
from server.settings import load_settings

BATCH = click.IntRange(1, 999_999_999_999_999)
POLL_S = 2.0
MOST = 10_000


@click.group("batch")
def batch() -> None:
    """Many jobs of one app: one form for many files, or a sample sheet."""


@batch.command()
@click.argument("app", type=TEXT)
@click.argument("files", type=TEXT, nargs=-1)
@click.option(
    "--each", type=TEXT, default="", metavar="NAME", help="The field that gets a file of each job; default: the only one."
)
@click.option("--sheet", type=FORM, help="A sample sheet instead of FILES, CSV or SDRF, - for standard input.")
@click.option(
    "--column",
    "columns",
    type=TEXT,
    multiple=True,
    metavar="COLUMN=NAME",
    help="The field that a column is for; COLUMN=: none.",
)
@click.option("--input", "inputs", type=TEXT, multiple=True, metavar="NAME=PATH", help="A file from here that all jobs use.")
@click.option("--shared", "stored", type=TEXT, multiple=True, metavar="NAME=FILE", help="A stored file that all jobs use.")
@click.option("--set", "sets", type=TEXT, multiple=True, metavar="NAME=VALUE", help="A field of all jobs; lists as JSON.")
@click.option("--settings", "form", type=FORM, help="A form as JSON to begin with, - for standard input.")
@click.option("--preset", type=TEXT, default="", help="A preset to begin with.")
@click.option("--flavor", type=TEXT, default="", help="Machine size; default: the installation's.")
@click.option("--name", type=TEXT, default="", help="What the batch is called; default: after its first file.")
@click.option("--description", type=TEXT, default="")
@click.option("--key", type=TEXT, default="", help="Any text: the same call with the same key makes no second batch.")
@click.option("--owner", type=TEXT, default="", help="Default: you.")
@click.option("--check", "is_check", is_flag=True, help="Only say which jobs there would be.")
@click.option("--wait", "--follow", "wait", is_flag=True, help="Wait until all jobs have ended; exit code 3 if one fails.")
@as_json_option
def submit(
    app: str,
    files: tuple[str, ...],
    form: Any,
    sheet: Any,
    columns: tuple[str, ...],
    inputs: tuple[str, ...],
    stored: tuple[str, ...],
    sets: tuple[str, ...],
    *,
    is_check: bool,
    wait: bool,
    as_json: bool,
    **options: str,
) -> None:
    """Submit a job of APP for each of FILES, or for each row of a sample sheet; prints the batch's number.

    A column of a sheet is called like a field of the form, by its name or its label, or "label" or "flavor". Files are looked for
    here, beside the sheet, and then in the storage. Nothing is submitted where a row cannot be used; all that is wrong is named.

    Example: cumulus batch submit comet_2019.015 *.mzML --input database=human.fasta

    Example: cumulus batch submit diann_1.9.2 --sheet PXD000001.sdrf.tsv --shared fasta=human.fasta --check
    """
    from server.catalog.apps import parsed  # `cumulus batch list` does without, here and below
    from server.cli.batch import sending
    from server.cli.batch.form import common_form, read_columns, read_sheet_text
    from server.cli.shared.connection import known_settings, shared_files, taking_jobs

    settings = load_settings()
    known = parsed(opened(rows=Rows.IF_THERE).apps.form(app).xml)
    common = common_form(known, sets, inputs, shared_files(settings), stored, form)
    named = sending.matching(files)
    given = sending.by_name([*named, *common.files.values()])
    client = opened() if is_check else taking_jobs(known_settings())
    request = asked(
        NewBatch,
        app=app,
        files=[str(path) for path in named],
        form=common.values,
        sheet=read_sheet_text(sheet),
        columns=read_columns(columns),
        **options,
    )
    plan = client.batches.check(request)
    for text in plan.remarks:
        click.echo(printable(text), err=True)
    found = sending.found_files(plan, given, _folder_of(sheet))
    if is_check:
        _show_plan(plan, as_json=as_json)
        return
    sending.require_sendable(settings, found.values())
    request = request.model_copy(update={"sends": sending.names_of(found.values())})
    with shielded() as shield:  # a batch that was taken is cancelled, whenever the signal comes
        made = client.batches.submit(request)
        with sending.cancelled_batch_on_failure(client, made), shield.lowered():
            sending.send_files(settings, client, made, found)
    _show_submitted(made, as_json=as_json)
    if wait:
        _wait(client, made.batch)


@batch.command("list")
@click.option("--owner", type=TEXT, default="", help="Only batches of this owner.")
@click.option("--number", type=click.IntRange(1, MOST), default=50, show_default=True, help="How many.")
@as_json_option
def list_batches(owner: str, number: int, as_json: bool) -> None:
    """List the newest batches with the states of their jobs.

    Example: cumulus batch list --owner ada
    """
    client, cursor, found = opened(), "", list[Batch]()
    while len(found) < number:
        page = client.batches.list(owner, min(number - len(found), 200), cursor)
        found += page.batches
        if not (cursor := page.next):
            break
    if as_json:
        show_json([one.model_dump() for one in found])
    elif found:
        columns = ("batch", "owner", "app", "name", "submitted", "jobs", "states")
        show_table(columns, (_batch_cells(one) for one in found))
    else:
        click.echo("there is no batch yet")


@batch.command()
@click.argument("number", type=BATCH, metavar="BATCH")
@click.option("--state", "states", type=click.Choice(get_args(State)), multiple=True, help="Only jobs in this state.")
@click.option("--wait", is_flag=True, help="Wait until all jobs have ended; exit code 3 if one failed.")
@as_json_option
def show(number: int, states: tuple[State, ...], wait: bool, as_json: bool) -> None:
    """Show a batch: its jobs with what they found, failures first.

    Example: cumulus batch show 12 --state failed
    """
    client = opened()
    if wait:
        _follow(client, number)
    found = client.batches.get(number, list(states), MOST)
    if as_json:
        show_json(found.model_dump())
    else:
        click.echo(f"batch {found.id} of {found.owner}: {printable(found.name)}, {found.app}, {local_time(found.created)}")
        click.echo(_states(found))
        if found.jobs:
            _show_matrix(found.jobs)
    if wait:
        _exit(found)


@batch.command()
@click.argument("number", type=BATCH, metavar="BATCH")
def cancel(number: int) -> None:
    """End the jobs of a batch that have not ended, whatever they are doing.

    Example: cumulus batch cancel 12
    """
    click.echo(opened(to_change=True).batches.cancel(number))


@batch.command()
@click.argument("number", type=BATCH, metavar="BATCH")
@click.option("--wait", is_flag=True, help="Wait until all jobs have ended; exit code 3 if one fails.")
@as_json_option
def retry(number: int, wait: bool, as_json: bool) -> None:
    """Submit the failed jobs of a batch again, with the files that they had; prints the new jobs' numbers.

    Example: cumulus batch retry 12 --wait
    """
    client = opened(to_change=True)
    made = client.batches.retry(number)
    if as_json:
        show_json(made.model_dump())
    else:
        for job in made.jobs:
            click.echo(job.job)
    if wait:
        _wait(client, number)


@batch.command()
@click.argument("number", type=BATCH, metavar="BATCH")
def delete(number: int) -> None:
    """Delete a batch whose jobs have ended, with all of them and their results.

    Example: cumulus batch delete 12
    """
    click.echo(opened(to_change=True).batches.delete(number))


def _folder_of(sheet: Any) -> Path:
    name = getattr(sheet, "name", "")
    return Path(name).absolute().parent if isinstance(name, str) and name not in ("", "<stdin>") else Path.cwd()


def _show_submitted(made: Submitted, *, as_json: bool) -> None:
    if as_json:
        show_json(made.model_dump())
        return
    click.echo(made.batch)
    again = "" if made.is_new else ", submitted before"
    numbers = f"{made.jobs[0].job} to {made.jobs[-1].job}" if len(made.jobs) > 1 else str(made.jobs[0].job)
    click.echo(f"{_counted(len(made.jobs))}: {numbers}{again}", err=True)


def _show_plan(plan: BatchPlan, *, as_json: bool) -> None:
    if as_json:
        show_json(plan.model_dump())
        return
    cells = ((str(one.position), one.label, one.flavor, "; ".join(file.name for file in one.files)) for one in plan.jobs)
    show_table(("job", "label", "flavor", "files"), cells)
    click.echo(f"{_counted(len(plan.jobs))}; nothing was submitted", err=True)


def _show_matrix(jobs: Sequence[BatchJob]) -> None:
    from server.services.jobs.figures import in_a_line

    figures = list(dict.fromkeys(str(one.get("label") or one.get("name", "")) for job in jobs for one in job.figures))
    rows = (
        (
            job.label,
            f"{job.state} (archived)" if job.is_archived else job.state,
            f"{job.job}{f' (try {job.tries})' if job.tries > 1 else ''}",
            *(_figure(job, name) for name in figures),
            in_a_line(job.message, job.warning, []),
        )
        for job in jobs
    )
    show_table(("label", "state", "job", *figures, "message"), rows)


def _figure(job: BatchJob, name: str) -> str:
    values = [one["value"] for one in job.figures if str(one.get("label") or one.get("name", "")) == name]
    return f"{sum(values):,}" if values else ""


def _batch_cells(one: Batch) -> tuple[str, ...]:
    return str(one.id), one.owner, one.app, one.name, local_time(one.created), str(one.size), _states(one)


def _states(found: Batch) -> str:
    return ", ".join(f"{number:,} {state}" for state, number in sorted(found.states.items())) or "no jobs"


def _wait(client: Cumulus, number: int) -> None:
    _exit(_follow(client, number))


def _follow(client: Cumulus, number: int) -> BatchDetails:
    """Wait until no job of the batch is to come, and say meanwhile how many have ended."""
    with progress_on_stderr(PATIENCE_S).step(f"Waiting for batch {number}", "jobs") as step:
        while True:
            found = client.batches.get(number, limit=1)
            ended = sum(found.states.get(state, 0) for state in ("done", "failed", "cancelled"))
            step.advance(ended, sum(found.states.values()))
            if found.is_over:
                return found
            time.sleep(POLL_S)


def _exit(found: Batch) -> None:
    """Raises SystemExit where a job was not done."""
    if found.states.keys() - {"done"}:
        click.echo(_states(found), err=True)
        sys.exit(ExitCode.JOB_FAILED)


def _counted(number: int) -> str:
    return f"{number:,} job{'' if number == 1 else 's'}"
