"""The queue on a terminal, or as JSON. Reads the rows, whether an agent runs or not."""

import json
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence

import click

from agent.queue.lines import Line

BAR = 20
GAP = "  "
LEAST_WHY = 24  # cells for the last column, however narrow the terminal is
HEADERS = ("job", "owner", "file", "state", "sent", "", "", "why")


def show(lines: Iterable[Line], *, as_json: bool) -> None:
    """Print what waits, in the order of arrival."""
    found = list(lines)
    if as_json:
        click.echo(json.dumps([line.for_programs() for line in found], indent=1))
        return
    if not found:
        click.echo("nothing waits")
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in table([HEADERS, *map(_row, found)], width):
        click.echo(line)


def table(rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Lines with the rows in columns. ``width``: of the terminal in cells, where the last column wraps; None: no wrapping.

    No word is broken: a path can be copied in one piece at any width.
    """
    widths = [max(map(_cells, column)) for column in zip(*(row[:-1] for row in rows), strict=True)]
    indent = sum(widths) + len(GAP) * len(widths)
    room = None if width is None else max(LEAST_WHY, width - indent)
    lines = []
    for *cells, last in rows:
        first = "".join(cell + " " * (size - _cells(cell)) + GAP for cell, size in zip(cells, widths, strict=True))
        begin, *rest = (_wrapped(last, room) if room else [last]) or [""]
        lines += [(first + begin).rstrip(), *(" " * indent + text for text in rest)]
    return lines


def _row(line: Line) -> tuple[str, ...]:
    full = BAR * line.percent // 100
    bar = "━" * full + "─" * (BAR - full)
    name, owner, state, note = map(_plain, (line.name, line.owner, line.state, line.note))
    return str(line.job), owner, name, state, f"{line.percent} %", bar, _size(line.bytes), note


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _cells(text: str) -> int:
    """How wide a terminal shows a text."""
    return sum(0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def _plain(text: str) -> str:
    """Text of others without anything that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _size(number: int) -> str:
    size, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
