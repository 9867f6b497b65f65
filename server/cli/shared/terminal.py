"""Progress on a terminal: a live line for each step that runs, and one plain line with its duration where it was.

Owns how that, and a table, looks at any width, and that the terminal is left in order whatever ends the program.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from server.cli.shared.tables import table_text
from server.progress import Counter, Lines, Progress, Step, duration

FRAMES, ASCII_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"
FRAMES_PER_S = 8
LEAST_TEXT, LEAST_NOTE, MOST_NOTE, LEAST_BAR, MOST_BAR = 10, 8, 40, 10, 30
NO_LIVE_LINES = ("", "dumb", "unknown")  # values of TERM


def progress_on(stream: TextIO, environment: Mapping[str, str] = os.environ, patience_s: float = 0.0) -> Progress:
    """Progress on a stream: live where that is a terminal that can go back in a line, else plain lines.

    ``patience_s``: no line stays of a step that ends within so many seconds.
    """
    if stream.isatty() and environment.get("TERM", "") not in NO_LIVE_LINES:
        return Terminal(plain_console(stream), patience_s=patience_s)
    return Lines(lambda text: print(text, file=stream, flush=True), patience_s=patience_s)


def plain_console(stream: TextIO) -> Console:
    """A console that prints text as it is."""
    return _Console(file=stream, markup=False, emoji=False, highlight=False)


def print_table(table: Table, console: Console, *, wrap: bool) -> None:
    """Print a table without a word of it broken. ``wrap``: cells of several words may take several lines to fit the width."""
    console.file.write(table_text(table, console, wrap=wrap))
    console.file.flush()


class _Console(Console):
    """Never hides the cursor: a program that is killed, or stopped by Ctrl-Z, could not bring it back."""

    def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002
        return False


@dataclass
class Terminal:
    """Progress on one terminal. Steps may run beside each other, also in several threads.

    ``patience_s``: no line stays of a step that ends within so many seconds.
    """

    console: Console
    clock: Callable[[], float] = time.monotonic
    patience_s: float = 0.0
    _steps: list[Counter] = field(default_factory=list)
    _lock: RLock = field(default_factory=RLock)
    _live: Live | None = None

    def say(self, text: str) -> None:
        """A line that stays. It is never wrapped here: the terminal does that, and a path can be copied in one piece."""
        self.console.print(Text(text), soft_wrap=True)

    @contextmanager
    def step(self, text: str, unit: str = "") -> Iterator[Step]:
        """A step: a live line, then one that stays."""
        counter, well = Counter(text, unit, self.clock()), False
        self._begin(counter)
        try:
            yield counter
            well = True
        finally:
            self._end(counter)
            if (now := self.clock()) - counter.began >= self.patience_s:
                self.say(counter.ended(now, well=well))

    def _begin(self, counter: Counter) -> None:
        with self._lock:
            self._steps.append(counter)
            if self._live is None:
                self._live = Live(
                    get_renderable=lambda: _Shown(tuple(self._steps), self.clock()),
                    console=self.console,
                    refresh_per_second=FRAMES_PER_S,
                    transient=True,
                    redirect_stdout=False,  # what a program reads is not what a person watches
                )
                self._live.start()

    def _end(self, counter: Counter) -> None:
        with self._lock:
            self._steps.remove(counter)
            live, self._live = (None, self._live) if self._steps else (self._live, None)
        if live:
            live.stop()


@dataclass(frozen=True)
class _Shown:
    """The live lines at one moment."""

    steps: tuple[Counter, ...]
    now: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for counter in self.steps:
            # A full line would make some terminals begin a new one.
            yield live_line(counter, self.now, options.max_width - 1, ascii_only=options.ascii_only)


def live_line(counter: Counter, now: float, width: int, *, ascii_only: bool = False) -> Text:
    """What a step is at, in one line of at most ``width`` cells: the less room there is, the less is said."""
    frames, dots = (ASCII_FRAMES, "...") if ascii_only else (FRAMES, "…")
    spent = now - counter.began
    frame = frames[int(spent * FRAMES_PER_S) % len(frames)]
    tail = next((one for one in _tails(counter, duration(spent)) if len(one) + LEAST_TEXT + 3 <= width), "")
    text = _cut(counter.text, width - len(tail) - (3 if tail else 2), dots)
    line = Text(f"{frame} {text}", style="bold", no_wrap=True, overflow="crop", end="\n")
    room = width - line.cell_len - len(tail) - 2
    if counter.total and room >= LEAST_BAR:
        # The note takes precedence over a longer bar.
        cells = max(LEAST_BAR, min(MOST_BAR, room - 2 - min(MOST_NOTE, cell_len(counter.latest))))
        line.append(" ").append_text(_bar(counter.done / counter.total, cells, ascii_only=ascii_only))
    line.append(f" {tail}" if tail else "", style="not bold")
    if counter.latest and (room := width - line.cell_len - 2) >= LEAST_NOTE:
        line.append(f"  {_cut(counter.latest, room, dots)}", style="not bold dim")
    line.truncate(width)
    return line


def _tails(counter: Counter, spent: str) -> Iterator[str]:
    """The figures, the fullest first."""
    for count in (counter.count(), counter.count(with_unit=False)):
        if count:
            yield f"{count}, {spent}"
    yield spent


def _bar(share: float, cells: int, *, ascii_only: bool) -> Text:
    full, rest = ("#", "-") if ascii_only else ("━", "─")
    done = round(min(1.0, max(0.0, share)) * cells)
    return Text(full * done, style="not bold green").append(rest * (cells - done), style="not bold dim")


def _cut(text: str, width: int, dots: str) -> str:
    """At most ``width`` cells of the text, with dots where something is left out."""
    if cell_len(text) <= width:
        return text
    while text and cell_len(text) + len(dots) > width:
        text = text[:-1]
    return text.rstrip() + dots
