"""The queue on a terminal, or as JSON. Reads the rows, whether an agent runs or not."""

import json
import sys
from collections.abc import Iterable

import click
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agent.queue.lines import Line
from programs.tables import table_text

BAR = 20


def show(lines: Iterable[Line], *, as_json: bool) -> None:
    """Print what waits, in the order of arrival."""
    found = list(lines)
    if as_json:
        click.echo(json.dumps([line.for_programs() for line in found], indent=1))
        return
    if not found:
        click.echo("nothing waits")
        return
    table = Table("job", "owner", "file", "state", "sent", "", "", "why", box=None)
    for line in found:
        bar = ProgressBar(total=100, completed=line.percent, width=BAR)
        table.add_row(
            str(line.job),
            *map(_plain, (line.owner, line.name, line.state)),
            f"{line.percent} %",
            bar,
            _size(line.bytes),
            _plain(line.note),
        )
    click.echo(table_text(table, Console(), wrap=sys.stdout.isatty()), nl=False, color=True)


def _plain(text: str) -> Text:
    """Text of others: no markup, and nothing that a terminal would obey."""
    return Text("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text))


def _size(number: int) -> str:
    size, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
