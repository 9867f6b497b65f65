"""``cumulus get``: a job's results, copied to where somebody works with them."""

import filecmp
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import click

from programs.border import tell
from programs.errors import explained
from programs.exits import ExitCode
from server.cli.shared.arguments import JOB
from server.cli.shared.opening import administrator, open_rows
from server.cli.shared.output import printable
from server.errors import CumulusError, InvalidInput
from server.services.jobs.lookup import JobLookup
from server.states import JobState
from server.storage.folders import JobFolder, Storage


@click.command()
@click.argument("job_id", type=JOB)
@click.option("--to", "target", type=click.Path(file_okay=False, path_type=Path), help="Folder; default: job-JOB_ID here.")
def get(job_id: int, target: Path | None) -> None:
    """Copy the results of a job that has ended into a folder; prints their paths.

    A file that is there already with another content is left alone. Exit code 1 if a file could not be copied, 3 if the job was
    not done.
    """
    found = JobLookup(Storage(open_rows().storage)).results(administrator(), job_id)
    copied = copy_results(found.folder, target or Path(f"job-{job_id}"))
    if found.state is not JobState.DONE:
        click.echo(f"job {job_id} is {found.state}: its results may be incomplete. {found.message}".rstrip(), err=True)
        sys.exit(ExitCode.JOB_FAILED)
    if found.warning:
        click.echo(f"job {job_id} is done with a warning: {found.warning}", err=True)
    if not copied:
        sys.exit(ExitCode.FAILED)


def copy_results(folder: JobFolder, target: Path) -> bool:
    """Copy all results into ``target``, and print the path of each, or why it could not be copied; False if one could not be."""
    outputs = folder.outputs()
    if not outputs:
        click.echo("the job has left no result files", err=True)
    done = True
    for path, _ in outputs:
        try:
            copied = _copy(folder.output_file(path), target, path)
        except (CumulusError, OSError) as error:
            done = False
            reason = error.message if isinstance(error, CumulusError) else explained(error)
            tell("cumulus", f"{printable(path)}: {reason}")
        else:
            click.echo(printable(str(copied)))
    return done


def _copy(source: Path, top: Path, path: str) -> Path:
    """One result in its place, whole or not at all. Raises InvalidInput where that would change a file, OSError."""
    top.mkdir(parents=True, exist_ok=True)
    target = top / path
    _make_folder(top, target.parent)
    if target.is_symlink() or target.exists():
        if target.is_file() and not target.is_symlink() and filecmp.cmp(source, target, shallow=False):
            return target
        raise _taken(target)
    beside = target.with_name(f".cumulus-{uuid4().hex}")
    try:
        shutil.copyfile(source, beside)
        _put(beside, target)
    finally:
        beside.unlink(missing_ok=True)
    return target


def _put(beside: Path, target: Path) -> None:
    """Give the file its name. Raises InvalidInput where somebody was quicker, OSError."""
    try:
        os.link(beside, target)  # never over another file
    except FileExistsError:
        raise _taken(target) from None
    except OSError:  # a file system without hard links
        beside.rename(target)


def _taken(target: Path) -> InvalidInput:
    return InvalidInput(f"{target} is there already, with another content")


def _make_folder(top: Path, folder: Path) -> None:
    """A folder below ``top``. Raises InvalidInput where a link leads out of it, OSError."""
    for part in _below(top, folder):
        if part.is_symlink():
            raise InvalidInput(f"{part} is a link; results are not copied through links")
        part.mkdir(exist_ok=True)


def _below(top: Path, folder: Path) -> Iterator[Path]:
    place = top
    for name in folder.relative_to(top).parts:
        place /= name
        yield place
