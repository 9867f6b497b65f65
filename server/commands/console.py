"""What the commands share: the rows opened for reading, a table on a terminal, seconds as people read them."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from rich.table import Table

from server.errors import InvalidInput
from server.models import Job, open_database
from server.progress import Progress, Step
from server.settings import Settings, load_settings
from server.terminal import plain_console, print_table, progress_on

PATIENCE_S = 3.0  # nobody wonders earlier what a command is at


def open_rows() -> Settings:
    """Settings, with the database open."""
    settings = load_settings()
    open_database(settings.database)
    return settings


def find_job(job_id: int) -> Job:
    """A job's row. Raises InvalidInput where there is none."""
    job: Job | None = Job.get_or_none(Job.id == job_id)
    if job is None:
        raise InvalidInput(f"there is no job {job_id}")
    return job


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: as wide as the terminal, or as wide as it is for a file or a pipe. Cells are text, whatever is in them.

    No word is broken, so that a path or a command can be copied: where the words need more room the terminal breaks the lines.
    """
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*("\n".join(map(printable, cell.split("\n"))) for cell in row))
    print_table(table, plain_console(sys.stdout), wrap=sys.stdout.isatty())


def printable(text: str) -> str:
    """Text of somebody else as any terminal takes it, on one line."""
    return "".join(char if char.isprintable() else "?" for char in text)


def told_progress(patience_s: float = 0.0) -> Progress:
    """Where a command tells how far it is: standard error, so that what it prints can go into a file.

    ``patience_s``: no word of steps that end within so many seconds.
    """
    return progress_on(sys.stderr, patience_s=patience_s)


def asking_the_cloud() -> AbstractContextManager[Step]:
    """Around what waits for the cloud's answers: most come at once, and some take a minute."""
    return told_progress(PATIENCE_S).step("Asking the cloud")


def local_time(at: float) -> str:
    """Unix seconds as a date and a time of day here."""
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}"
