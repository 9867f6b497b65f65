"""A table in which no word is broken: a path or a command can be copied at any width. Owns its text, not its destination."""

import re

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

UNBOUNDED = 1_000_000  # cells
_END_OF_LINE = re.compile(r"(?: |\x1b\[[0-9;]*m)+$", re.MULTILINE)


def table_text(table: Table, console: Console, *, wrap: bool) -> str:
    """The table as the console would print it. ``wrap``: cells of several words may take several lines to fit the width."""
    unbounded = console.options.update(max_width=UNBOUNDED)
    for column in table.columns:
        column.min_width = max(Measurement.get(console, unbounded, cell).minimum for cell in (column.header, *column.cells))
    if not wrap:
        console.width = Measurement.get(console, unbounded, table).maximum
    with console.capture() as captured:
        console.print(table, crop=False)
    # Spaces at the end would be empty lines where a row is wider than the terminal.
    return _END_OF_LINE.sub(lambda found: found[0].replace(" ", ""), captured.get())
