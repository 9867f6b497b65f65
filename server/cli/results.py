"""``cumulus get``: a job's results, copied to where somebody works with them."""

import sys
from pathlib import Path

import click

from cumulus_client.errors import ApiError
from cumulus_client.jobs import ResultFile
from programs.border import tell
from programs.errors import Expected, explained
from programs.exits import ExitCode
from server.cli.shared.arguments import JOB, TEXT
from server.cli.shared.backend import opened
from server.cli.shared.copying import Copier, FileCopier, chosen
from server.cli.shared.output import PATIENCE_S, printable, progress_on_stderr

DONE = "done"


@click.command()
@click.argument("job_id", type=JOB)
@click.option("--to", "target", type=click.Path(file_okay=False, path_type=Path), help="Folder; default: job-JOB_ID here.")
@click.option("--include", "included", type=TEXT, multiple=True, metavar="GLOB", help="Only files like this; again for more.")
@click.option("--exclude", "excluded", type=TEXT, multiple=True, metavar="GLOB", help="No files like this; again for more.")
def get(job_id: int, target: Path | None, included: tuple[str, ...], excluded: tuple[str, ...]) -> None:
    """Copy the results of a job that has ended into a folder; prints their paths.

    A file that is there already with another content is left alone. What a broken connection has left is continued, also by the
    next call. A GLOB without a slash is compared with a file's name, one with a slash with its path. Exit code 1 if a file could
    not be copied, 3 if the job was not done.

    Example: cumulus get 12 --to results --include '*.tsv'
    """
    cumulus = opened()
    found = cumulus.results.list(job_id)
    if not found.files:
        click.echo("the job has left no result files", err=True)
    copier = Copier(cumulus.results, job_id, target or Path(f"job-{job_id}"))
    copied = [copied_file(copier, file) for file in chosen(found.files, included, excluded)]
    if found.files and not copied:
        click.echo("no result file is like that", err=True)
    if found.state != DONE:
        click.echo(f"job {job_id} is {found.state}: its results may be incomplete. {found.message}".rstrip(), err=True)
        sys.exit(ExitCode.JOB_FAILED)
    if found.warning:
        click.echo(f"job {job_id} is done with a warning: {found.warning}", err=True)
    if not all(copied):
        sys.exit(ExitCode.FAILED)


def copied_file(copier: FileCopier, file: ResultFile) -> bool:
    """Copy one file and print its path, or why it could not be copied; whether it was."""
    try:
        with progress_on_stderr(PATIENCE_S).step(f"Copying {printable(file.path)}", "MB") as step:
            copied = copier.copy(file, step.advance)
    except (ApiError, Expected) as error:
        tell("cumulus", f"{printable(file.path)}: {error.message}")
    except OSError as error:
        tell("cumulus", f"{printable(file.path)}: {explained(error)}")
    else:
        click.echo(printable(str(copied)))
        return True
    return False
