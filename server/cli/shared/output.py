"""What commands print: tables, text of somebody else, JSON for programs, and how far they are."""

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

import click

from server.progress import Progress, Step

PATIENCE_S = 3.0  # nobody wonders earlier what a command is at


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: as wide as the terminal, or as wide as it is for a file or a pipe. Cells are text, whatever is in them.

    No word is broken, so that a path or a command can be copied: where the words need more room the terminal breaks the lines.
    """
    from rich.table import Table  # not before there is a table, here and below

    from server.cli.shared.terminal import plain_console, print_table

    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*("\n".join(map(printable, cell.split("\n"))) for cell in row))
    print_table(table, plain_console(sys.stdout), wrap=sys.stdout.isatty())


def printable(text: str) -> str:
    """Text of somebody else as any terminal takes it, on one line."""
    return "".join(char if char.isprintable() else "?" for char in text)


def progress_on_stderr(patience_s: float = 0.0) -> Progress:
    """Where a command tells how far it is: standard error, so that what it prints can go into a file.

    ``patience_s``: no word of steps that end within so many seconds.
    """
    from server.cli.shared.terminal import progress_on

    return progress_on(sys.stderr, patience_s=patience_s)


def asking_the_cloud() -> AbstractContextManager[Step]:
    """Around what waits for the cloud's answers: most come at once, and some take a minute."""
    return progress_on_stderr(PATIENCE_S).step("Asking the cloud")


def show_json(value: object) -> None:
    """Print what programs read."""
    click.echo(json.dumps(value, indent=1))
